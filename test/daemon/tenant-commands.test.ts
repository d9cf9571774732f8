/** The commands of tenants and of vRNICs against a daemon: what they change, and what they print. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import t, { type Test } from 'tap';
import { addDevice } from '../../daemon/commands/device.ts';
import { addStore } from '../../daemon/commands/store.ts';
import { addTenant } from '../../daemon/commands/tenant.ts';
import { addVrnic } from '../../daemon/commands/vrnic.ts';
import { DaemonDevice, openDevice, QpType } from '../../verbs/index.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Background, type Ran, run } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';

t.setTimeout(300_000);
const CLI = join(ROOT, 'dist/daemon/cli.js');

interface Lab {
  readonly folder: string;
  readonly urnic: (...args: string[]) => Promise<Ran>;
}

/** A daemon whose only vRNIC rests; runs commands against it. */
const daemonWith = async (t: Test, tenants: string): Promise<Lab['urnic']> => (await labWith(t, tenants)).urnic;

async function labWith(t: Test, tenants: string): Promise<Lab> {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-commands-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [config, socket] = [join(folder, 'urnic.yaml'), join(folder, 'control.sock')];
  writeFileSync(config, `tenants: ${tenants}\nvrnics: [{ name: v, netdev: lo, start: use }]\n`);
  const daemon = new Background([process.execPath, CLI, 'up', '-c', config, '--socket', socket]);
  t.teardown(() => daemon.stop());
  await daemon.matches(/"ready"/);
  return { folder, urnic: (...args) => run([process.execPath, CLI, ...args, '--socket', socket]) };
}

/** An RC QP of the vRNIC whose peer is itself. */
async function connectToItself(t: Test, folder: string, vrnic: string, address: string): Promise<number> {
  const context = await openDevice(new DaemonDevice(join(folder, 'vrnics', vrnic)));
  t.teardown(() => context.close());
  const cq = await context.createCq(16);
  const qp = await (await context.allocPd()).createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
  await qp.toInit({});
  await qp.toRtr({ gid: toGid(address), qpNum: qp.qpNum, psn: 0 }, { sgidIndex: 1 });
  return qp.qpNum;
}

/** Commands that ask a daemon and have --json: `rule add`. */
function commandsWithJson(): string[] {
  const all = (command: Command): Command[] => [command, ...command.commands.flatMap(all)];
  const program = new Command();
  for (const add of [addDevice, addTenant, addStore, addVrnic]) add(program);
  return all(program)
    .filter(({ options }) => options.some(({ long }) => long === '--json'))
    .map((command) => [command.parent!.name(), command.name()].join(' ').trim());
}

t.test('urnic endpoint add: --group puts into a group, --no-group takes out, neither leaves it there', async (t) => {
  const endpoint = '{ address: 10.0.0.1, host: 192.0.2.1, limit: { rate: 1gbit } }';
  const urnic = await daemonWith(t, `[{ name: blue, vni: 100, endpoints: [${endpoint}] }]`);
  const groupAfter = async (...args: string[]): Promise<string | undefined> => {
    t.match(await urnic('endpoint', 'add', 'blue', '10.0.0.1', '--host', '192.0.2.1', ...args), { code: 0 });
    const [{ endpoints }] = JSON.parse((await urnic('tenant', 'list', '--json')).output);
    t.strictSame(endpoints[0].limit, { rate: 1e9 }, 'the rest is kept');
    return endpoints[0].group;
  };
  t.equal(await groupAfter('--group', 'none'), 'none', 'a name as any other');
  t.equal(await groupAfter(), 'none');
  t.equal(await groupAfter('--no-group'), undefined);
  t.equal(await groupAfter(), undefined);
});

t.test('urnic endpoint add: --quotas gives, --no-quotas takes away, neither leaves them', async (t) => {
  const endpoint = '{ address: 10.0.0.1, host: 192.0.2.1, quotas: { qps: 4 } }';
  const urnic = await daemonWith(t, `[{ name: blue, vni: 100, endpoints: [${endpoint}] }]`);
  const add = ['endpoint', 'add', 'blue', '10.0.0.1', '--host', '192.0.2.1'];
  const quotasAfter = async (...args: string[]): Promise<string> => {
    t.match(await urnic(...add, ...args), { code: 0 });
    return (await urnic('endpoint', 'list')).output.replace(/.* mac \S+/, '').trim();
  };
  t.equal(await quotasAfter(), 'quotas qps 4');
  t.equal(await quotasAfter('--quotas', '{mrs: 7, pinnedBytes: 1mb}'), 'quotas mrs 7 pinnedBytes 1048576');
  t.match(await urnic(...add, '--quotas', '{qps: -1}'), { code: 1, output: /endpoint\.quotas\.qps/ });
  t.match(await urnic(...add, '--quotas', '{qps'), { code: 1, output: /\{qps: Flow map/ });
  t.match(await urnic(...add, '--kind', 'tap', '--netdev', 'vm0'), { code: 1, output: /quotas are of vRNICs/ });
  t.equal(await quotasAfter('--no-quotas'), '');
});

t.test('urnic tenant list: a line says what each tenant was given', async (t) => {
  const given =
    'mtu: 1400, dscp: 0, ecn: false, limit: { rate: 1gbit, guarantee: 1mbit }, quotas: { qps: 64, pinnedBytes: 1mb }';
  const urnic = await daemonWith(t, `[{ name: blue, vni: 100, ${given} }, { name: red, vni: 200 }]`);
  t.strictSame((await urnic('tenant', 'list')).output.trimEnd().split('\n'), [
    'blue vni 100 endpoints 0 rules 0 underlay auto mtu 1400 dscp 0 ecn false limit rate 1gbit burst 1250000b guarantee 1mbit quotas qps 64 pinnedBytes 1048576',
    'red vni 200 endpoints 0 rules 0 underlay auto',
  ]);
});

t.test('urnic vrnic add and delete: --json says which vRNIC, and nothing is printed without', async (t) => {
  const urnic = await daemonWith(t, '[{ name: blue, vni: 100, endpoints: [{ address: 10.0.0.1, host: 127.0.0.1 }] }]');
  const place = ['--netdev', 'lo', '--start', 'use', '--tenant', 'blue', '--address', '10.0.0.1'];
  const { output } = await urnic('vrnic', 'add', 'w', ...place, '--json');
  t.strictSame(JSON.parse(output), { name: 'w', isRunning: false, netdev: 'lo', tenant: 'blue' });
  t.match(JSON.parse((await urnic('vrnic', 'list', '--json')).output), [{ name: 'v' }, JSON.parse(output)]);
  t.strictSame(JSON.parse((await urnic('vrnic', 'delete', 'w', '--json')).output), { name: 'w' });
  t.strictSame(await urnic('vrnic', 'add', 'w', ...place), { code: 0, output: '' });
  t.strictSame(await urnic('vrnic', 'delete', 'w'), { code: 0, output: '' });
});

t.test('urnic conn list: of nobody, of nothing that there is, and of two at once', async (t) => {
  const urnic = await daemonWith(t, '[{ name: blue, vni: 100 }]');
  for (const of of [[], ['--tenant', 'blue']]) {
    t.strictSame(await urnic('conn', 'list', ...of), { code: 0, output: '' });
    t.strictSame(await urnic('conn', 'list', ...of, '--json'), { code: 0, output: '[]\n' });
  }
  const refused = async (of: string[], text: RegExp) =>
    t.match(await urnic('conn', 'list', ...of), { code: 1, output: text });
  await refused(['--tenant', 'red'], /no tenant named "red"/);
  await refused(['--vrnic', 'w'], /no vRNIC named "w"/);
  await refused(['v'], /vRNIC v does not run/);
  await refused(['v', '--tenant', 'blue'], /give a vRNIC, or --tenant/);
  await refused(['v', '--vrnic', 'w'], /give a vRNIC, or --tenant/);
});

t.test('urnic limit set --flood, and tenant set: how much goes to everybody', async (t) => {
  const endpoint = '{ address: 10.0.0.1, host: 192.0.2.1 }';
  const urnic = await daemonWith(t, `[{ name: blue, vni: 100, limit: { flood: 500 }, endpoints: [${endpoint}] }]`);
  const shown = async (): Promise<string> => (await urnic('limit', 'show')).output;
  t.equal(await shown(), 'blue flood 500\n');
  t.match(await urnic('limit', 'set', 'blue', '10.0.0.1', '--flood', '0', '--rate', '1gbit'), { code: 0 });
  t.match(await urnic('tenant', 'set', 'blue', 'limit={flood: 20000}'), { code: 0 });
  t.equal(await shown(), 'blue flood 20000\nblue 10.0.0.1 rate 1gbit burst 1250000b flood 0\n');
  t.match(await urnic('limit', 'set', 'blue', '--flood', '1e9'), { code: 1, output: /whole number, 0 … 10000000/ });
  t.match(await urnic('tenant', 'set', 'blue', 'limit={flood: some}'), { code: 1, output: /limit\.flood/ });
  t.match(await urnic('limit', 'del', 'blue'), { code: 0 });
  t.equal(await shown(), 'blue 10.0.0.1 rate 1gbit burst 1250000b flood 0\n');
});

t.test(
  '--json: every command that has it prints one value, with all its members',
  { skip: lacks('root') },
  async (t) => {
    const place = (last: number): string => `{ address: 10.0.0.${last}, host: 127.0.0.1 }`;
    const { folder, urnic } = await labWith(t, `[{ name: blue, vni: 100, endpoints: [${place(1)}, ${place(2)}] }]`);
    const where = '--netdev lo --tenant blue --address 10.0.0.1';
    t.match(await urnic(...`vrnic add w ${where}`.split(' ')), { code: 0 });
    const qpn = await connectToItself(t, folder, 'w', '10.0.0.1');
    const untold = new Set(commandsWithJson());
    const tells = async (command: string, args: string, wanted: object): Promise<void> => {
      untold.delete(command);
      const { code, output } = await urnic(...command.split(' '), ...args.split(' ').filter(Boolean), '--json');
      t.equal(code, 0, output);
      t.match(JSON.parse(output), wanted, command);
    };
    const ended = { ended: 0 };
    const qp = { qpn, destQpn: qpn, type: QpType.RC, state: 2, sqPsn: Number, rqPsn: 0 };
    const counts = { pds: 1, mrs: 0, mws: 0, cqs: 1, srqs: 0, ahs: 0 };
    const device = {
      name: 'w',
      device: { maxQp: Number, nodeGuid: String },
      port: { state: 4 },
      gids: [String, String],
    };
    await tells('devinfo', 'w', { w: device });
    await tells('link', '', { w: device });
    await tells('stat', '', { w: { counters: { sent_pkts: 0 }, ports: { local: { txFrames: 0 } } } });
    await tells('res', 'w', { w: { contexts: [{ context: Number, ...counts, qps: [qp] }], programs: [] } });
    const ends = { local: '10.0.0.1', remote: '10.0.0.1' };
    const connection = { tenant: 'blue', vrnic: 'w', qpn, destQpn: qpn, transport: 'rc', ...ends, underlay: 'local' };
    for (const of of ['', 'w', '--tenant blue', '--tenant 100']) await tells('conn list', of, [connection]);

    await tells('tenant add', 'red mtu=1400 dscp=3 ecn=true quotas={"qps":4} --vni 200', ended);
    await tells('tenant set', 'red dscp=4', ended);
    const own = '--group g --mac 02:00:00:00:00:09 --also fd00::9 --quotas {"qps":1}';
    await tells('endpoint add', `red 10.0.0.9 --host 192.0.2.9 ${own}`, ended);
    await tells('endpoint move', 'red 10.0.0.9 --host 192.0.2.8', ended);
    await tells('rule add', 'red wall --action deny --source 10.0.0.0/24 --direction in --transport ud', ended);
    await tells('limit set', 'red 10.0.0.9 --rate 1gbit --burst 64kb --guarantee 1mbit --flood 7', ended);
    const endpoint = {
      address: '10.0.0.9',
      also: ['fd00::9'],
      host: '192.0.2.8',
      mac: '02:00:00:00:00:09',
      group: 'g',
      limit: { rate: 1e9, burst: 65_536, guarantee: 1e6, flood: 7 },
      quotas: { qps: 1 },
    };
    const between = { source: '10.0.0.0/24', destination: 'any' };
    const rule = { id: 'wall', priority: 100, action: 'deny', ...between, direction: 'in', transport: 'ud' };
    const settings = { mtu: 1400, dscp: 4, ecn: true, quotas: { qps: 4 }, underlay: 'auto' };
    const red = { name: 'red', vni: 200, ...settings, endpoints: [endpoint], rules: [rule] };
    const held = { qps: 1, cqs: 1, mrs: 0, pinnedBytes: Number };
    for (const list of ['tenant list', 'endpoint list', 'rule list', 'limit show'])
      await tells(list, '', [{ name: 'blue', vni: 100, endpoints: { length: 2 }, rules: [], held }, red]);
    await tells('store show', '', { kind: 'memory', answers: true, revision: Number, hosts: [], entries: Array });

    await tells('limit del', 'red 10.0.0.9', ended);
    await tells('rule del', 'red wall', ended);
    await tells('endpoint del', 'red 10.0.0.9', ended);
    await tells('tenant delete', 'red', ended);
    await tells('vrnic list', '', [
      { name: 'v', isRunning: false, netdev: 'lo' },
      { name: 'w', tenant: 'blue' },
    ]);
    await tells('vrnic delete', 'w', { name: 'w' });
    await tells('vrnic add', `w ${where} --start use`, { name: 'w', isRunning: false, netdev: 'lo', tenant: 'blue' });
    t.strictSame([...untold], [], 'all of them');
  },
);

t.test(
  'urnic capture and conn list: a tenant by its VNI is the one of that name',
  { skip: lacks('root') },
  async (t) => {
    const tenant = (name: string, vni: number): string =>
      `{ name: ${name}, vni: ${vni}, endpoints: [{ address: 10.0.0.1, host: 127.0.0.1 }] }`;
    const { folder, urnic } = await labWith(t, `[${tenant('blue', 100)}, ${tenant('red', 200)}]`);
    for (const name of ['blue', 'red'])
      t.match(await urnic(...`vrnic add of-${name} --netdev lo --tenant ${name} --address 10.0.0.1`.split(' ')), {
        code: 0,
      });
    /** What a capture without a frame says: the interfaces that it is of. */
    const captured = async (tenant: string): Promise<string> => {
      const file = join(folder, 'trace.pcapng');
      const { code, output } = await urnic('capture', '--tenant', tenant, file, '--seconds', '0');
      t.match({ code, output }, { code: 0, output: `capturing tenant ${tenant} to ` });
      return readFileSync(file, 'latin1');
    };
    const red = await captured('red');
    t.match(red, /of-red/);
    t.notMatch(red, /of-blue/);
    t.equal(await captured('200'), red);
    for (const what of [
      ['capture', join(folder, 'none')],
      ['conn', 'list'],
    ])
      t.match(await urnic(...what, '--tenant', '300'), { code: 1, output: /no tenant has VNI 300/ });
  },
);
