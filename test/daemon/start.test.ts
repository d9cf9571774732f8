/** How little a command loads before it does its work: a program that `urnic run` starts waits for all of it. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseConfiguration } from '../../daemon/configuration.ts';
import { Daemon } from '../../daemon/daemon.ts';
import { run } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';

const CLI = 'daemon/cli.js';
const TRACER = join(ROOT, 'dist/test/support/trace-modules.js');

const scratch = mkdtempSync(join(tmpdir(), 'urnic-start-'));
const socket = join(scratch, 'control.sock');
const CONFIGURATION = `
log: silent
tenants: [{ name: t, vni: 100, endpoints: [{ address: 10.0.0.1, host: 192.0.2.1 }] }]
vrnics: [{ name: v0, netdev: lo }]
`;
const skip = lacks('root');

interface Loaded {
  readonly code: number;
  /** Of npm. */
  readonly packages: string[];
  /** Modules of ours, from dist/. */
  readonly own: string[];
}

/** What a program of ours loads. */
async function loadedBy(main: string, ...args: string[]): Promise<Loaded> {
  const trace = join(scratch, 'trace');
  rmSync(trace, { force: true });
  const env = { ...process.env, MODULE_TRACE: trace };
  const { code } = await run([process.execPath, '--import', TRACER, join(ROOT, 'dist', main), ...args], { env });
  const urls = [...new Set(readFileSync(trace, 'utf8').trim().split('\n'))];
  const packages = new Set(urls.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []));
  return { code, packages: [...packages].sort(), own: urls.flatMap((url) => /\/dist\/(.*)/.exec(url)?.[1] ?? []) };
}

t.before(async () => {
  if (skip) return;
  const daemon = await Daemon.start(parseConfiguration(CONFIGURATION), socket);
  t.teardown(() => daemon.stop());
});

t.teardown(() => rmSync(scratch, { recursive: true }));

const COMMANDS = [
  ['--version'],
  ['--help'],
  ['run', '--socket', socket, '--vrnic', 'v0', 'true'],
  ['res', '--socket', socket, 'v0'],
  ['stat', '--socket', socket],
  ['tenant', 'list', '--socket', socket],
  ['endpoint', 'del', 't', '10.0.0.1', '--socket', socket],
  ['vrnic', 'list', '--socket', socket],
];

for (const args of COMMANDS)
  t.test(
    `urnic ${args.filter((word) => !['--socket', socket].includes(word)).join(' ')}: loads the parser of its arguments and little else`,
    { skip: args.includes(socket) && skip },
    async (t) => {
      const { code, packages, own } = await loadedBy(CLI, ...args);
      t.equal(code, 0);
      t.strictSame(packages, ['commander']);
      t.ok(own.length > 10 && own.length <= 40, `${own.length} modules of ours`);
    },
  );

t.test('urnic decode: what it needs besides is loaded when it runs', async (t) => {
  const { packages } = await loadedBy(CLI, 'decode', join(ROOT, 'test/golden/vxlan_write_bw.pcap'));
  t.strictSame(packages, ['commander', 'ip-address']);
});

// What they host runs in workers, which load the engine themselves.
for (const main of ['verbs/index.js', 'daemon/daemon.js'])
  t.test(`${main}: does not load the engine`, async (t) => {
    const { code, own } = await loadedBy(main);
    t.equal(code, 0);
    t.ok(own.includes('workers/supervisor.js'));
    t.notOk(own.some((name) => ['rnic/rnic.js', 'workers/worker-loop.js', 'workers/vrnic.js'].includes(name)));
  });
