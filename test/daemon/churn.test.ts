/** vRNICs that come and go for ever leave nothing behind: no memory, descriptor, thread, endpoint or range of QPNs. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { ask } from '../../daemon/control-client.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const HOST = '192.0.2.1';
const ROUNDS = 1000;
const AT_ONCE = 4;
/** What the first rounds fill once: pools, tables, compiled code. */
const WARM_UP = 200;
const MEGABYTES_MAX = 48;
const CONFIGURATION = `
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

t.test('a thousand vRNICs are made and deleted', { skip: lacks('root', 'gcc'), timeout: 900_000 }, async (t) => {
  const namespace = await Namespace.create(t, 'churn');
  await namespace.addTap('eth0', `${HOST}/24`, 9000);
  const host = await UrnicHost.start(t, namespace, 'eth0', CONFIGURATION);
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
  for (let i = 0; i < ROUNDS; i += AT_ONCE) {
    if (i === WARM_UP) warm = heldBy(pid);
    await round(i);
  }
  const after = heldBy(pid);
  t.comment(JSON.stringify({ warm, after }));
  t.equal(await endpoints(), 1, 'their endpoints went with them');
  t.ok(after.descriptors <= warm!.descriptors + 2 * AT_ONCE, 'descriptors');
  t.ok(after.threads <= warm!.threads, 'threads');
  t.ok(after.megabytes <= warm!.megabytes + MEGABYTES_MAX, 'memory');
  t.notOk(existsSync(host.directoryOf('v0')));
  t.match(await host.urnic('store', 'show', '--entries', '--socket', host.socket), {
    code: 0,
    output: /^store memory\nanswers revision \d+ entries \d+\n(.*\n)*endpoints\/blue\/10\.0\.0\.1 revision/,
  });
  t.match(await host.urnic('vrnic', 'list', '--socket', host.socket), { code: 0, output: /^stays / });
});
