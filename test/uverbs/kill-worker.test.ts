/**
 * A worker thread that dies at any moment: programs that were at work hear an error, nothing of them is left, and the vRNIC comes back. WORKER_KILL_ROUNDS=1000 for the
 * long run.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type Background, twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { holdingsOf } from './holdings.ts';
import { CLI, endsByItself, NOTHING, PINGPONG_PORT, runPair, UrnicHost, untilTrue } from './lab.ts';

const skip = lacks('root', 'gcc', 'ibv_rc_pingpong', 'ib_write_bw', 'rping');
const ROUNDS = Number(process.env.WORKER_KILL_ROUNDS ?? 10);
const SERVER = '192.0.2.1';
const LOOK_MILLIS = 50;
const RTR = 2;
const KILLED = 'SIGKILL';

const PROGRAMS = [
  'ibv_rc_pingpong -d rxe0 -g 1 -n 100000000',
  'ibv_rc_pingpong -d rxe0 -g 1 -n 100000000 -e',
  'ib_write_bw -d rxe0 -x 1 -F -D 300',
  'ib_send_bw -d rxe0 -x 1 -F -n 5000000 -e',
];
const typescript = (host: UrnicHost, more: string): string =>
  `${process.execPath} ${CLI} pingpong --device ${host.directory} -g 1 -n 100000000${more}`;

/** How many QPs are at work. */
async function atWork(host: UrnicHost): Promise<number> {
  return [...(await host.resources()).matchAll(/"state":(\d)/g)].filter(([, state]) => Number(state) >= RTR).length;
}

const isEmpty = async (host: UrnicHost): Promise<boolean> => (await host.resources()) === NOTHING;
const isBack = (host: UrnicHost): Promise<boolean> =>
  untilTrue(async () => (await host.run(['ibv_devinfo'])).code === 0);
const killWorker = (host: UrnicHost): unknown => host.daemon.child.kill('SIGUSR2');

t.test(
  'workers that die: programs hear of it, nothing is left, the vRNIC comes back',
  { skip, timeout: 7_200_000 },
  async (t) => {
    const [here] = await twoHosts(t);
    const mortal = join(ROOT, 'dist/test/uverbs/mortal-daemon.js');
    const host = await UrnicHost.start(t, here, 'eth0', undefined, mortal);
    const programs = [...PROGRAMS, typescript(host, ''), typescript(host, ' -e')];
    const start = async (command: string): Promise<[Background, Background]> => {
      // That of the program before may not be gone yet.
      await untilTrue(async () => !(await host.listens(PINGPONG_PORT)));
      const server = host.spawn(t, command.split(' '));
      await untilTrue(() => host.listens(PINGPONG_PORT));
      return [server, host.spawn(t, [...command.split(' '), SERVER])];
    };

    /** Both at work: both must end by themselves. */
    const atWorkRound = async (command: string): Promise<void> => {
      const pair = await start(command);
      if (!(await untilTrue(async () => (await atWork(host)) >= 2)))
        t.fail(`${command}: does not work\n${pair[0].output}`);
      await sleep(Math.random() * 200);
      killWorker(host);
      const ended = await Promise.all(pair.map(endsByItself));
      if (ended.includes(false)) t.fail(`${command}: hangs: ${ended}\n${pair[0].output}\n${pair[1].output}`);
      if (pair.some(({ child }) => child.exitCode === 0))
        t.fail(`${command}: says that all is well\n${pair[0].output}`);
    };
    /** At any point of their beginning: who waits for somebody that will not come is ended. */
    const earlyRound = async (command: string): Promise<void> => {
      const pair = [host.spawn(t, command.split(' ')), host.spawn(t, [...command.split(' '), SERVER])];
      await sleep(Math.random() * 300);
      killWorker(host);
      await sleep(LOOK_MILLIS);
      for (const program of pair) await program.stop(KILLED);
    };
    const round = async (number: number): Promise<void> => {
      const command = programs[number % programs.length]!;
      await (number % 3 === 2 ? earlyRound(command) : atWorkRound(command));
      if (!(await isBack(host))) t.fail(`${command}: the vRNIC did not come back\n${host.daemon.output.slice(-2000)}`);
    };

    for (let number = 0; number < programs.length; number++) await round(number);
    await untilTrue(() => isEmpty(host));
    const before = holdingsOf(host.daemon.child.pid!);
    for (let number = 0; number < ROUNDS; number++) await round(number);
    t.equal((await untilTrue(() => isEmpty(host))) || (await host.resources()), true);
    const after = holdingsOf(host.daemon.child.pid!);
    t.comment(`${ROUNDS} rounds: ${JSON.stringify({ before, after })}`);
    // A few are opened when they are first needed; one that stays open in each round would be as many as there were rounds.
    t.ok(after.descriptors - before.descriptors < ROUNDS / 2, 'descriptors');
    t.ok(after.threads - before.threads < ROUNDS / 2, 'threads');
    t.equal(after.mappings, before.mappings, 'queue files');
    const short = ['ibv_rc_pingpong', '-d', 'rxe0', '-g', '1', '-c', '-n', '100'];
    const [served, asked] = await runPair(t, host, host, { server: short, client: [...short, SERVER] });
    t.strictSame([served.code, asked.code], [0, 0], served.output + asked.output);
  },
);
