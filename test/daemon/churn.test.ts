/** vRNICs that come and go for ever leave nothing behind: no memory, descriptor, thread, endpoint or range of QPNs. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import { macOf } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const VNI = 100;
const HOST = '192.0.2.1';
const AT_ONCE = 4;
/** What the first rounds fill once: pools, tables, compiled code. */
const WARM_UP = 0.2;
/** Of which one vRNIC in use has 2.8. */
const MEGABYTES_MAX = 160;
const configuration = (workers: number): string => `
workers: ${workers}
tenants:
  - { name: blue, vni: 100, endpoints: [{ address: 10.0.0.1, host: ${HOST} }] }
vrnics:
  - { name: stays, tenant: blue, address: 10.0.0.1, netdev: eth0 }
`;

interface Held {
  readonly descriptors: number;
  readonly threads: number;
  readonly megabytes: number;
}

function heldBy(pid: number): Held {
  const resident = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    megabytes: resident,
  };
}

async function churn(t: Test, workers: number, count: number): Promise<void> {
  const namespace = await Namespace.create(t, 'churn');
  await namespace.addTap('eth0', `${HOST}/24`, 9000);
  const host = await UrnicHost.start(t, namespace, 'eth0', configuration(workers));
  const pid = host.daemon.child.pid!;
  const endpoints = async (): Promise<number> => {
    const [blue] = (await ask(host.socket, { op: 'tenants' })) as { endpoints: object[] }[];
    return blue!.endpoints.length;
  };
  const definition = (i: number) => ({
    name: `v${i}`,
    netdev: 'eth0',
    tenant: 'blue',
    // Each of them has an address that none had before.
    address: `10.0.${(i >> 8) + 1}.${i & 255}`,
  });
  const round = async (from: number): Promise<void> => {
    const all = Array.from({ length: AT_ONCE }, (_, i) => definition(from + i));
    await Promise.all(all.map((one) => ask(host.socket, { op: 'addVrnic', definition: one })));
    await Promise.all(all.map(({ name }) => ask(host.socket, { op: 'deleteVrnic', vrnic: name })));
  };
  let warm: Held | undefined;
  for (let i = 0; i < count; i += AT_ONCE) {
    if (i >= count * WARM_UP) warm ??= heldBy(pid);
    await round(i).catch((error: Error) => {
      throw new Error(`${error.message}\n${host.daemon.output.slice(-2000)}`);
    });
  }
  t.equal(await endpoints(), 1, 'their endpoints went with them');
  const isAsBefore = (): boolean => {
    const { descriptors, threads } = heldBy(pid);
    return descriptors <= warm!.descriptors + AT_ONCE && threads <= warm!.threads;
  };
  t.ok(await eventually(isAsBefore), 'descriptors and threads');
  const after = heldBy(pid);
  t.comment(JSON.stringify({ warm, after }));
  t.ok(after.megabytes <= warm!.megabytes + MEGABYTES_MAX, 'memory');
  t.notOk(existsSync(host.directoryOf('v0')));
  t.match(await host.urnic('store', 'show', '--entries', '--socket', host.socket), {
    code: 0,
    output: /^store memory\nanswers revision \d+ entries \d+\n(.*\n)*endpoints\/blue\/10\.0\.0\.1 revision/,
  });
  t.match(await host.urnic('vrnic', 'list', '--socket', host.socket), { code: 0, output: /^stays / });
}

/** Without a daemon around it, one worker for all: the last of them has an address that none had before. */
async function churnSupervisor(t: Test, count: number): Promise<void> {
  await exclusive(t, 'vxlan-port');
  const supervisor = new Supervisor({ workers: 1, spin: 0 });
  t.teardown(() => supervisor.stop());
  const local = toGid('127.9.0.1');
  const start = (name: string, text: string): Promise<void> => {
    const address = toGid(text);
    const mac = macOf(VNI, address);
    const tenant = { name: 'blue', vni: VNI, endpoints: [{ address, mac, host: local }], rules: [] };
    const port = { kind: 'vxlan', netdev: 'lo', local, mtu: 1450 } as const;
    return supervisor.startVrnic({ name, port, mac, gids: [Gid.linkLocalOf(mac), address], tenant });
  };
  await start('stays', '10.0.0.1');
  let warm: Held | undefined;
  for (let i = 0; i < count; i++) {
    if (i === count * WARM_UP) warm = heldBy(process.pid);
    await start('comes', `10.1.${i >> 8}.${i & 255}`);
    await supervisor.stopVrnic('comes');
  }
  const after = heldBy(process.pid);
  t.comment(JSON.stringify({ warm, after }));
  t.equal(after.descriptors, warm!.descriptors);
  t.equal(after.threads, warm!.threads);
  t.ok(after.megabytes <= warm!.megabytes + MEGABYTES_MAX, 'memory');
}

t.test('a thousand vRNICs come and go in a worker', { timeout: 900_000 }, (t) => churnSupervisor(t, 1000));
t.test(
  'vRNICs are added and deleted by command, and their workers come and go with them',
  { skip: lacks('root', 'gcc'), timeout: 900_000 },
  (t) => churn(t, 2, 24),
);
