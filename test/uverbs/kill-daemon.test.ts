/** Daemons that are killed at any moment: programs at work hear an error, and the next daemon serves as the first did. DAEMON_KILL_ROUNDS=1000 for the long run. */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type Background, twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { holdingsOf } from './holdings.ts';
import { CLI, endsByItself, NOTHING, PINGPONG_PORT, runPair, UrnicHost, untilTrue } from './lab.ts';

const skip = lacks('root', 'gcc', 'ibv_rc_pingpong', 'ib_write_bw', 'rping');
const ROUNDS = Number(process.env.DAEMON_KILL_ROUNDS ?? 4);
const SERVER = '192.0.2.1';
const KILLED = 'SIGKILL';
const RTR = 2;

const PROGRAMS = [
  ['ibv_rc_pingpong -d rxe0 -g 1 -n 100000000 -e', `ibv_rc_pingpong -d rxe0 -g 1 -n 100000000 -e ${SERVER}`],
  ['rping -s -P', `rping -c -a ${SERVER} -C 100000000`],
  ['ibv_srq_pingpong -d rxe0 -g 1 -n 100000000 -e', `ibv_srq_pingpong -d rxe0 -g 1 -n 100000000 -e ${SERVER}`],
  ['ibv_rc_pingpong -d rxe0 -g 1 -n 100000000', `ibv_rc_pingpong -d rxe0 -g 1 -n 100000000 ${SERVER}`],
  ['ib_write_bw -d rxe0 -x 1 -F -D 300', `ib_write_bw -d rxe0 -x 1 -F -D 300 ${SERVER}`],
] as const;
const typescript = (host: UrnicHost, more: string): readonly [string, string] => {
  const command = `${process.execPath} ${CLI} pingpong --device ${host.directory} -g 1 -n 100000000${more}`;
  return [command, `${command} ${SERVER}`];
};

/** All QPs are connected: before that ibv_srq_pingpong reads on and on from a TCP peer that has ended, on any device. */
const atWork = async (host: UrnicHost): Promise<boolean> => {
  const states = [...(await host.resources()).matchAll(/"state":(\d)/g)].map(([, state]) => Number(state));
  return states.length >= 2 && states.every((state) => state >= RTR);
};

t.test('daemons that are killed', { skip, timeout: 7_200_000 }, async (t) => {
  const [here] = await twoHosts(t);
  const host = await UrnicHost.start(t, here);
  const programs = [...PROGRAMS, typescript(host, ' -e'), typescript(host, '')];
  const start = async (
    [server, client]: readonly [string, string],
    delay: (server: Background) => Promise<unknown>,
  ) => {
    await untilTrue(async () => !(await host.listens(PINGPONG_PORT)));
    const first = host.spawn(t, server.split(' '));
    await delay(first);
    return [first, host.spawn(t, client.split(' '))] as const;
  };

  /** Both at work: both must end by themselves, and say that something is wrong. */
  const atWorkRound = async (pair: readonly Background[], name: string): Promise<void> => {
    if (!(await untilTrue(() => atWork(host)))) t.fail(`${name}: does not work\n${pair[0]!.output}`);
    await sleep(Math.random() * 100);
    await host.daemon.stop(KILLED);
    const ended = await Promise.all(pair.map(endsByItself));
    if (ended.includes(false)) t.fail(`${name}: hangs: ${ended}\n${pair[0]!.output}\n${pair[1]!.output}`);
    if (pair.some(({ child }) => child.exitCode === 0)) t.fail(`${name}: says that all is well\n${pair[0]!.output}`);
  };
  /** At any point of their beginning: who waits for somebody that will not come is ended. */
  const earlyRound = async (pair: readonly Background[]): Promise<void> => {
    await sleep(Math.random() * 300);
    await host.daemon.stop(KILLED);
    for (const program of pair) await program.stop(KILLED);
  };
  const round = async (number: number): Promise<void> => {
    const commands = programs[number % programs.length]!;
    const isEarly = number % 3 === 2;
    const pair = await start(commands, (server) =>
      isEarly ? sleep(Math.random() * 100) : listens(host, server, commands[0]),
    );
    await (isEarly ? earlyRound(pair) : atWorkRound(pair, commands[0]));
    await host.restart();
  };

  await untilTrue(async () => (await host.resources()) === NOTHING);
  const before = holdingsOf(host.daemon.child.pid!);
  const files = readdirSync(host.directory);
  for (let number = 0; number < ROUNDS; number++) await round(number);
  t.equal(await host.resources(), NOTHING);
  t.strictSame(readdirSync(host.directory), files);
  const after = holdingsOf(host.daemon.child.pid!);
  t.comment(`${ROUNDS} rounds: ${JSON.stringify({ before, after })}`);
  t.equal(after.mappings, before.mappings, 'queue files');
  const short = ['ibv_rc_pingpong', '-d', 'rxe0', '-g', '1', '-c', '-n', '100'];
  const [served, asked] = await runPair(t, host, host, { server: short, client: [...short, SERVER] });
  t.strictSame([served.code, asked.code], [0, 0], served.output + asked.output);
});

/** The pingpongs meet over TCP; rping's server has its id in the daemon. */
const listens = (host: UrnicHost, server: Background, command: string): Promise<unknown> =>
  command.startsWith('rping') ? server.waits() : untilTrue(() => host.listens(PINGPONG_PORT));
