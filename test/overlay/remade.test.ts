/** A tenant’s VNI, or the MAC of an endpoint, changes under vRNICs that run: they are made anew, and their programs hear it as when a device is pulled out. */
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import {
  Access,
  AsyncEvent,
  type Context,
  DaemonDevice,
  type Mr,
  openDevice,
  type Qp,
  QpType,
  SendFlag,
  WcStatus,
  WrOpcode,
} from '../../verbs/index.ts';
import type { Underlay } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { gidText, toGid } from '../../workers/linux/netdev.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const HOST = '192.0.2.1';
const NAMES = ['v1', 'v2', 'v3'];
const CONFIGURATION = `
tenants:
  - name: blue
    vni: 100
    endpoints:${NAMES.map((_, i) => `\n      - { address: 10.0.0.${i + 1}, host: ${HOST} }`).join('')}
vrnics:${NAMES.map((name, i) => `\n  - { name: ${name}, tenant: blue, address: 10.0.0.${i + 1}, netdev: eth0${i === 2 ? ', start: use' : ''} }`).join('')}
`;
const BYTES = 4096;
const PSN = 5;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;

interface Side {
  readonly context: Context;
  readonly gid: Uint8Array;
  readonly mr: Mr;
  readonly qp: Qp;
  next(): Promise<{ status: number }[]>;
}

async function open(t: Test, host: UrnicHost, name: string): Promise<Side> {
  const context = await openDevice(new DaemonDevice(host.directoryOf(name)));
  t.teardown(() => context.close());
  const pd = await context.allocPd();
  const cq = await context.createCq(16, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
  await qp.toInit({ accessFlags: RIGHTS });
  return { context, gid: toGid(`10.0.0.${name.at(-1)}`), mr, qp, next: () => cq.next() };
}

/** A new connection, and a WRITE over it. */
async function talk(t: Test, host: UrnicHost, from: string, to: string, underlay: Underlay): Promise<[Side, Side]> {
  const [a, b] = [await open(t, host, from), await open(t, host, to)];
  for (const [side, peer] of [
    [a, b],
    [b, a],
  ] as const) {
    await side.qp.toRtr({ gid: peer.gid, qpNum: peer.qp.qpNum, psn: PSN }, { sgidIndex: 1, underlay });
    await side.qp.toRts(PSN);
  }
  a.mr.bytes.fill(7);
  const remote = { remoteAddr: b.mr.addr, rKey: b.mr.rKey };
  const sgList = [{ mr: a.mr, length: BYTES }];
  a.qp.postSend({ opcode: WrOpcode.RDMA_WRITE, sendFlags: SendFlag.SIGNALED, ...remote, sgList });
  t.match(await a.next(), [{ status: WcStatus.SUCCESS }]);
  t.ok(b.mr.bytes.every((octet) => octet === 7));
  return [a, b];
}

const codeOf = async ({ context }: Side): Promise<number> => (await context.getAsyncEvent()).code;

t.test('vRNICs whose identity changes', { skip: lacks('root', 'gcc'), timeout: 300_000 }, async (t) => {
  const namespace = await Namespace.create(t, 'remade');
  await namespace.addTap('eth0', `${HOST}/24`, 9000);
  const host = await UrnicHost.start(t, namespace, 'eth0', CONFIGURATION);
  const command = (...args: string[]) => host.urnic(...args, '--socket', host.socket);
  const linkLocalOf = async (name: string): Promise<string> => {
    const context = await openDevice(new DaemonDevice(host.directoryOf(name)));
    const gid = gidText(await context.queryGid(0));
    await context.close();
    return gid;
  };

  await t.test('another VNI: programs hear DEVICE_FATAL, and new ones talk by it', async (t) => {
    const old = [...(await talk(t, host, 'v1', 'v2', 'local')), ...(await talk(t, host, 'v3', 'v1', 'vxlan'))];
    const codes = old.map(codeOf);
    t.match(await command('tenant', 'set', 'blue', 'vni=300'), { code: 0, output: '4 connections ended\n' });
    for (const code of codes) t.equal(await code, AsyncEvent.DEVICE_FATAL);
    await talk(t, host, 'v1', 'v2', 'local');
    await talk(t, host, 'v2', 'v3', 'vxlan');
    for (const vrnic of NAMES) {
      const { counters, ports } = (await ask(host.socket, { op: 'statistics', vrnic })) as {
        counters: Record<string, number>;
        ports: Record<string, object>;
      };
      t.ok(Object.keys(ports).some((name) => /^udp_vxlan.*\/300$/.test(name)));
      for (const drop of ['drop_vni', 'drop_inner_address', 'drop_spoofed']) t.equal(counters[drop], 0, drop);
    }
  });

  await t.test('another MAC: that vRNIC is made anew, its peers’ connections to it end, others stay', async (t) => {
    const [one, two] = await talk(t, host, 'v1', 'v2', 'vxlan');
    const [three, stays] = await talk(t, host, 'v3', 'v1', 'vxlan');
    const codes = [codeOf(one), codeOf(two)];
    const mac = '02:aa:00:00:00:02';
    const added = await command('endpoint', 'add', 'blue', '10.0.0.2', '--host', HOST, '--mac', mac);
    t.match(added, { code: 0, output: '2 connections ended\n' });
    t.strictSame(await Promise.all(codes), [AsyncEvent.QP_FATAL, AsyncEvent.DEVICE_FATAL]);
    const bytes = Uint8Array.from(mac.split(':'), (octet) => Number.parseInt(octet, 16));
    t.equal(await linkLocalOf('v2'), gidText(Gid.linkLocalOf(bytes)));
    for (const underlay of ['vxlan', 'local'] as const) await talk(t, host, 'v1', 'v2', underlay);
    const remote = { remoteAddr: stays.mr.addr, rKey: stays.mr.rKey };
    const sgList = [{ mr: three.mr, length: BYTES }];
    three.qp.postSend({ opcode: WrOpcode.RDMA_WRITE, sendFlags: SendFlag.SIGNALED, ...remote, sgList });
    t.match(await three.next(), [{ status: WcStatus.SUCCESS }]);
  });
});
