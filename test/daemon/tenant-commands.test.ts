/** The commands of tenants and of vRNICs against a daemon: what they change, and what they print. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Background, type Ran, run } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';

t.setTimeout(300_000);
const CLI = join(ROOT, 'dist/daemon/cli.js');

/** A daemon whose only vRNIC rests; runs commands against it. */
async function daemonWith(t: Test, tenants: string): Promise<(...args: string[]) => Promise<Ran>> {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-commands-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [config, socket] = [join(folder, 'urnic.yaml'), join(folder, 'control.sock')];
  writeFileSync(config, `tenants: ${tenants}\nvrnics: [{ name: v, netdev: lo, start: use }]\n`);
  const daemon = new Background([process.execPath, CLI, 'up', '-c', config, '--socket', socket]);
  t.teardown(() => daemon.stop());
  await daemon.matches(/"ready"/);
  return (...args) => run([process.execPath, CLI, ...args, '--socket', socket]);
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
