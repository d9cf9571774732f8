/**
 * Three hosts, two tenants with the same addresses that talk at once, and every underlay, transport (RC, UC, UD, the connection manager) and address family, inside and outside:
 * TypeScript programs, end to end over veths.
 */
import t, { type Test } from 'tap';
import { QpnRanges } from '../../daemon/qpn-ranges.ts';
import {
  Access,
  Context,
  type Mr,
  type Pd,
  PortSpace,
  type Qp,
  QpType,
  SendFlag,
  WcStatus,
  WrOpcode,
} from '../../verbs/index.ts';
import { macOf, type Tenant, type Underlay } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import { gidText, toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { hostsOnSwitch, type Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';

const BYTES = 20_000;
const GRH_BYTES = 40;
const Q_KEY = 0x1234;
const PSN = 5;
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_READ | Access.REMOTE_WRITE | Access.REMOTE_ATOMIC;
const FAMILIES = ['ipv4', 'ipv6'] as const;
type Family = (typeof FAMILIES)[number];
/** The same in all tenants of a family. */
const ADDRESSES = {
  ipv4: ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'],
  ipv6: ['fd00::1', 'fd00::2', 'fd00::3', 'fd00::4'],
};
/** Which of the three hosts each endpoint lives on. */
const HOMES = [0, 0, 1, 2];
const TENANT_COUNT = 2;
const CM_PORT = 7471;
/** Ports by their names' beginnings. */
const PORTS: Record<Underlay, string> = { vxlan: 'udp_vxlan', translate: 'af_packet', local: 'local' };

interface Host {
  readonly name: string;
  readonly context: Context;
  readonly tenant: Tenant;
  readonly gid: Uint8Array;
}

const vtepOf = (outer: Family, home: number): Uint8Array =>
  toGid(outer === 'ipv4' ? `192.0.2.${home + 1}` : `fd99::${home + 1}`);

function tenantOf(vni: number, inner: Family, outer: Family): Tenant {
  const endpoints = ADDRESSES[inner].map((text, i) => {
    const address = toGid(text);
    return { address, mac: macOf(vni, address), host: vtepOf(outer, HOMES[i]!) };
  });
  return { name: `t${vni}`, vni, endpoints, rules: [] };
}

async function start(
  t: Test,
  supervisor: Supervisor,
  ranges: QpnRanges,
  tenant: Tenant,
  i: number,
  namespace: Namespace,
): Promise<Host> {
  const name = `${tenant.name}-${i}`;
  const { address, mac, host } = tenant.endpoints[i]!;
  const port = { kind: 'vxlan', netdev: 'eth0', local: host, mtu: 4400 } as const;
  const path = `/var/run/netns/${namespace.name}`;
  const place = { tenant, mac, gids: [Gid.linkLocalOf(mac), address], namespace: path };
  await supervisor.startVrnic({ name, port, ...place, ...ranges.allot(name, path, true) });
  const context = new Context(await connect(await supervisor.endpoint(name)));
  t.teardown(() => context.close());
  return { name, context, tenant, gid: address };
}

interface Side {
  readonly pd: Pd;
  readonly qp: Qp;
  readonly mr: Mr;
  close(): Promise<void>;
}

async function open({ context }: Host, type: QpType): Promise<Side> {
  const pd = await context.allocPd();
  const cq = await context.createCq(16, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
  const qp = await pd.createQp({ type, sendCq: cq, recvCq: cq });
  await qp.toInit(type === QpType.UD ? { qKey: Q_KEY } : { accessFlags: RIGHTS });
  const close = async () => {
    await qp.destroy();
    await mr.dereg();
  };
  return { pd, qp, mr, close };
}

/** @param underlay undefined: as the tenant says. */
async function connected(from: Host, to: Host, type: QpType, underlay?: Underlay): Promise<[Side, Side]> {
  const [a, b] = await Promise.all([open(from, type), open(to, type)]);
  const join = async (one: Side, gid: Uint8Array, qpNum: number): Promise<void> => {
    await one.qp.toRtr({ gid, qpNum, psn: PSN }, { sgidIndex: 1, ...(underlay && { underlay }) });
    await one.qp.toRts(PSN);
  };
  await Promise.all([join(a, to.gid, b.qp.qpNum), join(b, from.gid, a.qp.qpNum)]);
  return [a, b];
}

/** A WRITE of several packets. */
async function write(t: Test, from: Host, to: Host, type: QpType, underlay?: Underlay): Promise<void> {
  const [a, b] = await connected(from, to, type, underlay);
  const octets = Uint8Array.from({ length: BYTES }, (_, i) => (i * 7 + type) & 0xff);
  a.mr.bytes.set(octets);
  b.qp.postRecv({ sgList: [] });
  a.qp.postSend({
    opcode: WrOpcode.RDMA_WRITE_WITH_IMM,
    sendFlags: SendFlag.SIGNALED,
    immData: 1,
    remoteAddr: b.mr.addr,
    rKey: b.mr.rKey,
    sgList: [{ mr: a.mr, length: BYTES }],
  });
  t.match(await a.qp.sendCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.match(await b.qp.recvCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.equal(Buffer.compare(b.mr.bytes, octets), 0, 'arrives whole');
  await Promise.all([a.close(), b.close()]);
}

/** A READ of several packets, and atomics on what was read. */
async function fetch(t: Test, from: Host, to: Host, underlay?: Underlay): Promise<void> {
  const [a, b] = await connected(from, to, QpType.RC, underlay);
  const octets = Uint8Array.from({ length: BYTES }, (_, i) => (i * 11) & 0xff);
  b.mr.bytes.set(octets);
  const far = { sendFlags: SendFlag.SIGNALED, remoteAddr: b.mr.addr, rKey: b.mr.rKey };
  a.qp.postSend({ ...far, opcode: WrOpcode.RDMA_READ, sgList: [{ mr: a.mr, length: BYTES }] });
  t.match(await a.qp.sendCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.equal(Buffer.compare(a.mr.bytes, octets), 0, 'READ brings all');
  const word = ({ mr: { bytes } }: Side): bigint => new BigUint64Array(bytes.buffer, bytes.byteOffset, 1)[0]!;
  const was = word(b);
  const sgList = [{ mr: a.mr, length: 8 }];
  a.qp.postSend({ ...far, opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, compareAdd: 3n, sgList });
  t.match(await a.qp.sendCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.strictSame([word(a), word(b)], [was, was + 3n], 'FETCH_ADD');
  a.qp.postSend({ ...far, opcode: WrOpcode.ATOMIC_CMP_AND_SWP, compareAdd: was + 3n, swap: 7n, sgList });
  t.match(await a.qp.sendCq.next(), [{ status: WcStatus.SUCCESS }]);
  t.strictSame([word(a), word(b)], [was + 3n, 7n], 'CMP_SWAP');
  await Promise.all([a.close(), b.close()]);
}

/** A datagram; its receiver sees the tenant's addresses. */
async function send(t: Test, from: Host, to: Host): Promise<void> {
  const [a, b] = await Promise.all([open(from, QpType.UD), open(to, QpType.UD)]);
  for (const { qp } of [a, b]) {
    await qp.toRtr();
    await qp.toRts(PSN);
  }
  const ah = await a.pd.createAh({ dgid: to.gid, sgidIndex: 1 });
  b.qp.postRecv({ sgList: [{ mr: b.mr, length: 1000 + GRH_BYTES }] });
  a.mr.bytes.fill(0x5a, 0, 1000);
  const remote = { ah, remoteQpn: b.qp.qpNum, remoteQKey: Q_KEY };
  a.qp.postSend({
    opcode: WrOpcode.SEND,
    sendFlags: SendFlag.SIGNALED,
    ...remote,
    sgList: [{ mr: a.mr, length: 1000 }],
  });
  t.match(await b.qp.recvCq.next(), [{ status: WcStatus.SUCCESS, byteLen: 1000 + GRH_BYTES, srcQp: a.qp.qpNum }]);
  const bytes = Gid.isMappedIpv4(from.gid) ? 4 : 16;
  const at = GRH_BYTES - 2 * bytes;
  t.strictSame(b.mr.bytes.slice(at, at + bytes), from.gid.slice(16 - bytes), 'from the tenant’s address');
  t.strictSame(b.mr.bytes.slice(at + bytes, GRH_BYTES), to.gid.slice(16 - bytes), 'to the tenant’s address');
  await ah.destroy();
  await Promise.all([a.close(), b.close()]);
}

/** A connection by address, and a message. */
async function meet(t: Test, from: Host, to: Host): Promise<void> {
  const prepare = async (
    { context }: Host,
    id: Awaited<ReturnType<ReturnType<Context['createEventChannel']>['createId']>>,
  ) => {
    const pd = await context.allocPd();
    const cq = await context.createCq(16, await context.createCompChannel());
    const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
    return { mr, cq, qp: await id.createQp(pd, { sendCq: cq, recvCq: cq }) };
  };
  const channel = to.context.createEventChannel();
  const listening = await channel.createId(PortSpace.TCP);
  const server = { address: gidText(to.gid), port: CM_PORT };
  await listening.bindAddr(server);
  await listening.listen(1);
  const asking = await from.context.createEventChannel().createId(PortSpace.TCP);
  await asking.resolveAddr(server);
  await asking.resolveRoute();
  const ours = await prepare(from, asking);
  const answered = asking.connect();
  const request = await channel.getCmEvent();
  const theirs = await prepare(to, request.id);
  theirs.qp.postRecv({ sgList: [{ mr: theirs.mr, length: 1000 }] });
  await request.id.accept();
  t.equal((await answered).name, 'ESTABLISHED');
  t.match(await request.id.addresses(), { remote: { address: gidText(from.gid) } });
  ours.mr.bytes.fill(0x3c, 0, 1000);
  ours.qp.postSend({ opcode: WrOpcode.SEND, sendFlags: SendFlag.SIGNALED, sgList: [{ mr: ours.mr, length: 1000 }] });
  t.match(await theirs.cq.next(), [{ status: WcStatus.SUCCESS, byteLen: 1000 }]);
  t.equal(theirs.mr.bytes[999], 0x3c);
  await asking.disconnect();
  for (const id of [asking, request.id, listening]) await id.destroy();
}

t.test('underlays', { skip: lacks('root'), timeout: 600_000 }, async (t) => {
  const [, ...hosts] = await hostsOnSwitch(t, 3);
  for (const [i, host] of hosts.entries()) await host.ip('addr', 'add', `fd99::${i + 1}/64`, 'dev', 'eth0', 'nodad');
  // Each VTEP's vRNICs share a worker; a worker lives in one namespace.
  const supervisor = new Supervisor({ workers: hosts.length * FAMILIES.length, spin: 20 });
  const ranges = new QpnRanges();
  t.teardown(() => supervisor.stop());
  const sent = async (host: Host): Promise<Record<Underlay, number>> => {
    const { ports } = await supervisor.statistics(host.name);
    const of = (kind: string): number => Object.entries(ports).find(([name]) => name.startsWith(kind))![1].txFrames;
    return { vxlan: of(PORTS.vxlan), translate: of(PORTS.translate), local: of(PORTS.local) };
  };
  /** What `talk` sends goes by `underlay` and by nothing else. */
  const goesBy = async (t: Test, from: Host, underlay: Underlay, talk: () => Promise<void>): Promise<void> => {
    const before = await sent(from);
    await talk();
    const after = await sent(from);
    for (const one of ['vxlan', 'local', 'translate'] as const)
      if (one === underlay) t.ok(after[one] > before[one], `by ${one}`);
      else t.equal(after[one], before[one], `not by ${one}`);
  };

  let vni = 100;
  for (const outer of FAMILIES)
    for (const inner of FAMILIES)
      await t.test(`two tenants of ${inner} between hosts of ${outer}`, async (t) => {
        const tenants: Host[][] = [];
        for (let i = 0; i < TENANT_COUNT; i++) {
          const tenant = tenantOf(vni++, inner, outer);
          const all: Host[] = [];
          for (const [i, home] of HOMES.entries())
            all.push(await start(t, supervisor, ranges, tenant, i, hosts[home]!));
          tenants.push(all);
        }
        /** The same in both tenants at once, between the endpoints with these numbers. */
        const both = (
          t: Test,
          a: number,
          b: number,
          underlay: Underlay,
          talk: (from: Host, to: Host) => Promise<void>,
        ) => Promise.all(tenants.map((all) => goesBy(t, all[a]!, underlay, () => talk(all[a]!, all[b]!))));
        for (const [a, b, underlay] of [
          [0, 1, 'local'],
          [0, 1, 'vxlan'],
          [0, 2, 'translate'],
          [2, 3, 'translate'],
          [0, 3, 'vxlan'],
          [3, 2, 'vxlan'],
        ] as const)
          for (const type of [QpType.RC, QpType.UC] as const)
            await t.test(`${type === QpType.RC ? 'RC' : 'UC'}: ${underlay}, ${a} to ${b}`, (t) =>
              both(t, a, b, underlay, (from, to) => write(t, from, to, type, underlay)),
            );
        for (const [a, b, underlay] of [
          [0, 2, 'translate'],
          [3, 2, 'vxlan'],
        ] as const)
          await t.test(`READ and atomics: ${underlay}, ${a} to ${b}`, (t) =>
            both(t, a, b, underlay, (from, to) => fetch(t, from, to, underlay)),
          );
        await t.test('memory to another host is refused in words', async (t) => {
          const [one, , far] = tenants[0]!;
          const { qp } = await open(one!, QpType.RC);
          const options = { sgidIndex: 1, underlay: 'local' } as const;
          const refused = qp.toRtr({ gid: far!.gid, qpNum: 1, psn: PSN }, options);
          await t.rejects(refused, { code: 'EHOSTUNREACH', message: /lives on host .*: not local/ });
          await qp.destroy();
        });
        for (const [a, b, underlay] of [
          [0, 1, 'local'],
          [2, 0, 'vxlan'],
          [2, 3, 'vxlan'],
        ] as const) {
          await t.test(`UD: ${underlay}, ${a} to ${b}`, (t) =>
            both(t, a, b, underlay, (from, to) => send(t, from, to)),
          );
          await t.test(`CM: ${underlay}, ${a} to ${b}`, (t) =>
            both(t, a, b, underlay, (from, to) => meet(t, from, to)),
          );
        }
        for (const underlay of ['translate', 'vxlan'] as const)
          await t.test(`as the tenant says: ${underlay}`, async (t) => {
            for (const { name, tenant } of tenants.flat()) await supervisor.setTenant(name, { ...tenant, underlay });
            await both(t, 2, 0, underlay, (from, to) => write(t, from, to, QpType.UC));
            await both(t, 0, 3, underlay, (from, to) => fetch(t, from, to));
          });
        for (const all of tenants)
          for (const { name } of all) {
            const { counters } = await supervisor.statistics(name);
            for (const drop of ['drop_spoofed', 'drop_underlay', 'drop_address']) t.equal(counters[drop], 0, drop);
          }
      });
});
