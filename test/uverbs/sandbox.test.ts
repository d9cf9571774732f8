/** `urnic run --sandbox`: a statically linked program, stock programs without the shim, and the files that the kernel would show. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Ran, type Teardown, twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { CLI, endsByItself, PINGPONG_PORT, UrnicHost, untilTrue } from './lab.ts';

const ADDRESS = '192.0.2.1';
const isFit = process.arch === 'x64' || 'system calls are answered on x86-64 only';
const skip = isFit === true ? lacks('root', 'gcc', 'ibv_rc_pingpong', 'rping') : isFit;

async function oneHost(t: Teardown): Promise<UrnicHost> {
  const [here] = await twoHosts(t);
  return UrnicHost.start(t, here);
}

const command = (host: UrnicHost, way: string, ...words: string[]): string[] => [
  ...[process.execPath, CLI, 'run', '--socket', host.socket, '--sandbox', way, '--', ...words],
];
const run = (host: UrnicHost, way: string, ...words: string[]): Promise<Ran> =>
  host.namespace.run(command(host, way, ...words));

/** A server, and a client that is tried until the server listens. */
function both(host: UrnicHost, server: string, client: string): Promise<Ran> {
  const sandboxed = (program: string): string => command(host, 'seccomp', ...program.split(' ')).join(' ');
  const script = `${sandboxed(server)} & until ${sandboxed(client)}; do kill -0 $! && sleep 0.2; done; wait $!`;
  return host.namespace.run(['sh', '-ec', script], { timeoutMillis: 120_000 });
}

async function untilEmpty(host: UrnicHost): Promise<string> {
  for (let tries = 0; ; tries++) {
    const { output } = await host.urnic('res', '--json', '--socket', host.socket);
    if (output.trim() === EMPTY || tries === 100) return output.trim();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
const EMPTY = '{"v":{"contexts":[],"programs":[]}}';

/** Of verbs-client.c. */
function compile(host: UrnicHost, flags: string, libraries = ''): string {
  const program = join(host.folder, 'verbs-client');
  const source = join(ROOT, 'test/uverbs/verbs-client.c');
  const linked = `-lrdmacm -libverbs ${libraries} -lpthread`.split(/\s+/);
  execFileSync('gcc', [...flags.split(' '), '-o', program, source, ...linked], { stdio: 'ignore' });
  return program;
}

t.test('a statically linked program is run by seccomp without being asked', { skip, timeout: 300_000 }, async (t) => {
  const host = await oneHost(t);
  const program = compile(
    host,
    '-w -static -DRDMA_STATIC_PROVIDERS=rxe -DBY_SECCOMP',
    '-lrxe-rdmav34 -libverbs -lnl-route-3 -lnl-3',
  );
  const { code, output } = await host.urnic('run', '--socket', host.socket, '--', program, ADDRESS);
  t.equal(code, 0, output);
  for (const line of [
    'the child was refused',
    'duplicates work',
    'the child used it',
    'rxe0 is active',
    '20 rounds',
    'bound to rxe0',
    'ADDR_RESOLVED',
    'done',
  ])
    t.match(output, line);
  const bare = await host.namespace.run([program, ADDRESS]);
  t.equal(output.match(/20 rounds/g)?.length, 2, 'once more after it has become itself');
  t.match(bare, { code: 1, output: /failed: devices/ }, 'by itself it sees nothing');
  t.equal(await untilEmpty(host), EMPTY);
});

t.test(
  'by preload a program duplicates its descriptors, forks and becomes itself again',
  { skip, timeout: 300_000 },
  async (t) => {
    const host = await oneHost(t);
    const program = compile(host, '-w');
    const { code, output } = await run(host, 'preload', program, ADDRESS);
    t.equal(code, 0, output);
    for (const line of ['the child opened its own', 'duplicates work', 'the child used it', 'ADDR_RESOLVED', 'done'])
      t.match(output, line);
    t.equal(output.match(/20 rounds/g)?.length, 2, 'once more after it has become itself');
    t.equal(await untilEmpty(host), EMPTY);
  },
);

t.test('stock programs run by seccomp alone', { skip, timeout: 600_000 }, async (t) => {
  const host = await oneHost(t);
  const devices = await run(host, 'seccomp', 'ibv_devinfo', '-v');
  t.match(devices, { code: 0, output: /hca_id:\s+rxe0[\s\S]*PORT_ACTIVE[\s\S]*GID\[\s*1\]:\s+::ffff:192\.0\.2\.1/ });
  t.match(await run(host, 'seccomp', 'sh', '-c', 'echo hi; exit 7'), { code: 7, output: 'hi\n' });
  t.match(await run(host, 'seccomp', 'sh', '-c', 'kill -TERM $$'), { code: 143 });
  for (const how of ['-c', '-e']) {
    const pingpong = `ibv_rc_pingpong -d rxe0 -g 1 -n 100 ${how}`;
    const { code, output } = await both(host, pingpong, `${pingpong} ${ADDRESS}`);
    t.equal(code, 0, `${pingpong}\n${output}`);
    t.match(output, /100 iters in/);
  }
  const pinged = await both(host, `rping -s -a ${ADDRESS} -C 5 -V`, `rping -c -a ${ADDRESS} -C 5 -V -v`);
  t.equal(pinged.code, 0, pinged.output);
  t.match(pinged.output, /ping data: rdma-ping-4/);
  t.equal(await untilEmpty(host), EMPTY);

  const polls = 'ibv_rc_pingpong -d rxe0 -g 1 -n 100000000';
  const server = host.namespace.spawn(t, command(host, 'seccomp', ...polls.split(' ')));
  await untilTrue(() => host.listens(PINGPONG_PORT));
  const client = host.namespace.spawn(t, command(host, 'seccomp', ...polls.split(' '), ADDRESS));
  await untilTrue(async () => ((await host.resources()).match(/"state":3/g) ?? []).length === 2);
  await host.daemon.stop('SIGKILL');
  t.strictSame(await Promise.all([server, client].map(endsByItself)), [true, true], 'both hear of the daemon’s end');
  t.match(server.output + client.output, /Failed status fatal error/);
});

t.test('a program, or its supervisor, that is killed leaves nothing', { skip, timeout: 300_000 }, async (t) => {
  const host = await oneHost(t);
  for (const victim of ['program', 'supervisor']) {
    const background = host.namespace.spawn(t, command(host, 'seccomp', 'rping', '-s', '-a', ADDRESS));
    const attached = async (): Promise<number[]> =>
      [...(await host.urnic('res', '--json', '--socket', host.socket)).output.matchAll(/"pid":(\d+)/g)].map(
        ([, digits]) => Number(digits),
      );
    let pids = await attached();
    for (let tries = 0; pids.length === 0 && tries < 100; tries++) pids = await attached();
    t.equal(pids.length, 1, 'the daemon knows the program, not its supervisor');
    if (victim === 'program') process.kill(pids[0]!, 'SIGKILL');
    else await background.stop('SIGKILL');
    const code = await background.end();
    if (victim === 'program') t.equal(code, 137);
    t.equal(await untilEmpty(host), EMPTY);
    t.notOk(existsSync(`/proc/${pids[0]}/exe`), 'it does not live on');
  }
});

t.test(
  'by overlay, programs that make their own system calls see the files, and others use the device',
  { skip: skip || lacks('busybox'), timeout: 300_000 },
  async (t) => {
    const host = await oneHost(t);
    const file = '/sys/class/infiniband/rxe0/ports/1/gids/1';
    t.match(await run(host, 'overlay', 'busybox', 'cat', file), { code: 0, output: /ffff:c000:0201/ });
    t.match(await run(host, 'overlay', 'busybox', 'ls', '/sys/class/net'), { code: 0, output: /eth0/ });
    t.match(await run(host, 'overlay', 'ibv_devinfo'), { code: 0, output: /PORT_ACTIVE/ });
    const outside = await host.namespace.run(['cat', '/sys/class/infiniband/rxe0/node_desc']);
    t.not(outside.output, 'urnic\n', 'nobody else sees them');
  },
);
