/** The distribution's RDMA programs, as they are, between two urnic hosts over veth: libibverbs' pingpongs, perftest, librdmacm's tools. PROGRAMS=all for all that perftest can be asked. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { exclusive } from '../support/exclusive.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { runPair, UrnicHost } from './lab.ts';
import { CHOSEN, everything } from './perftest-grid.ts';

const SERVER = '192.0.2.1';
const CLIENT = '192.0.2.2';
const skip = lacks('root', 'gcc', 'ibv_rc_pingpong', 'ib_write_bw', 'rping');

/** Client command; the server's is the same without the server's address. */
const words = (text: string): string[] => text.split(' ');
/** Of one program: `-a` asks for twenty-three sizes up to 8 MiB. */
const LIMIT_MILLIS = 120_000;
/** perftest's client may connect before its own server listens: the kernel refuses that, too. Datagrams hear of it by SIDR_REP, status 1. */
const CAME_TOO_EARLY = /RDMA_CM_EVENT_REJECTED|RDMA_CM_EVENT_UNREACHABLE; error: 1\b/;
const VERBS = '-d rxe0 -g 1';
const PERF = '-d rxe0 -x 1 -F';

const PAIRS: readonly (readonly [title: string, server: string, client: string])[] = [
  ...['rc', 'uc', 'srq'].map((type) => {
    const program = `ibv_${type}_pingpong ${VERBS}${type === 'srq' ? '' : ' -c'} -n 200`;
    return [`ibv_${type}_pingpong`, program, `${program} ${SERVER}`] as const;
  }),
  ['ibv_rc_pingpong by events', `ibv_rc_pingpong ${VERBS} -e -n 200`, `ibv_rc_pingpong ${VERBS} -e -n 200 ${SERVER}`],
  ['ibv_ud_pingpong', `ibv_ud_pingpong ${VERBS} -n 200`, `ibv_ud_pingpong ${VERBS} -n 200 ${SERVER}`],
  ...(process.env.PROGRAMS === 'all' ? everything() : CHOSEN).map((line) => {
    const [program, ...flags] = words(line);
    const command = `${program} ${PERF} ${flags.join(' ')}`;
    return [line, command, `${command} ${SERVER}`] as const;
  }),
  ['rping', `rping -s -a ${SERVER} -C 20 -V -v`, `rping -c -a ${SERVER} -C 20 -V -v`],
  ['ucmatose', 'ucmatose', `ucmatose -s ${SERVER}`],
  ['udaddy', 'udaddy', `udaddy -s ${SERVER}`],
  ['rdma_client and rdma_server', 'rdma_server', `rdma_client -s ${SERVER}`],
  ['mckey', `mckey -m 224.0.1.5 -b ${SERVER}`, `mckey -m 224.0.1.5 -s -b ${CLIENT}`],
  ['rstream (rsockets)', 'rstream -T b -S 16384 -I 20', `rstream -T b -S 16384 -I 20 -s ${SERVER}`],
];

t.test('unmodified programs between two urnic hosts', { skip, timeout: 3_600_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here);
  const b = await UrnicHost.start(t, there);
  for (const [title, server, client] of PAIRS) {
    await t.test(title, async (t) => {
      const run = () => runPair(t, a, b, { server: words(server), client: words(client), timeoutMillis: LIMIT_MILLIS });
      let [served, asked] = await run();
      if (CAME_TOO_EARLY.test(asked.output)) [served, asked] = await run();
      t.equal(asked.code, 0, asked.output.slice(-2000));
      t.equal(served.code, 0, served.output.slice(-2000));
      if (title === 'rping') t.match(asked.output, /ping data: rdma-ping-19/);
    });
  }
  await t.test('nothing of them is left in the daemon', async (t) => {
    const { code, output } = await a.urnic('res', '--json', '--socket', a.socket);
    t.equal(code, 0, output);
    t.strictSame(JSON.parse(output), { v: { contexts: [], programs: [] } });
  });
});

t.test('an unmodified program through urnic run', { skip, timeout: 900_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here] = await twoHosts(t);
  const host = await UrnicHost.start(t, here);
  const run = (...command: string[]) => host.urnic('run', '--socket', host.socket, '--', ...command);
  const devices = await run('ibv_devinfo', '-v');
  t.equal(devices.code, 0, devices.output);
  t.match(devices.output, /hca_id:\s+rxe0[\s\S]*PORT_ACTIVE[\s\S]*GID\[\s*1\]:\s+::ffff:192\.0\.2\.1/);
  t.match((await run('ibv_devices')).output, /rxe0/);
  t.equal((await run('sh', '-c', 'exit 7')).code, 7, 'its exit status is the program’s');
  t.match(await run('/bin/su', '--version'), { code: 1, output: /setuid/ });
  t.match(await run('no-such-program'), { code: 1, output: /no such program/ });
  const hello = join(host.folder, 'static');
  execFileSync('gcc', ['-static', '-xc', '-o', hello, '-'], { input: 'int main(void) { return 3; }' });
  t.match(await run(hello), { code: 3, output: '' });
  const preloaded = await host.urnic('run', '--socket', host.socket, '--sandbox', 'preload', '--', hello);
  t.match(preloaded, { code: 3, output: /statically linked: it will see no vRNIC/ });
  t.notMatch((await run('true')).output, /statically/);
  const nowhere = await host.urnic('run', '--directory', '/nonexistent', '--', 'ibv_devices');
  t.match(nowhere, { code: 1, output: /no vRNIC at/ });
});
