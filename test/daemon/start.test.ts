/** How little a command loads before it does its work: a program that `urnic run` starts waits for all of it. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';

const CLI = 'daemon/cli.js';
const TRACER = join(ROOT, 'dist/test/support/trace-modules.js');

const scratch = mkdtempSync(join(tmpdir(), 'urnic-start-'));
const socket = join(scratch, 'control.sock');

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

t.teardown(() => rmSync(scratch, { recursive: true }));

t.before(async () => {
  for (const name of ['sys', 'uverbs']) {
    mkdirSync(join(scratch, 'vrnics/v0'), { recursive: true });
    writeFileSync(join(scratch, 'vrnics/v0', name), '');
  }
  const daemon = createServer((client) => {
    client.once('data', (request) => {
      const { op } = JSON.parse(String(request)) as { op: string };
      client.end(`${JSON.stringify({ ok: true, value: op === 'resources' ? { contexts: [], programs: [] } : [] })}\n`);
    });
  });
  await new Promise<void>((resolve) => daemon.listen(socket, resolve));
  daemon.unref();
});

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
