/**
 * What an unmodified program asks of the kernel and of the daemon for each message, counted by strace as the difference of a long run and a short one: a program that polls
 * asks nothing, one by events one read for each event, and a sleeping worker is woken by one write at most for each post.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { exclusive } from '../support/exclusive.ts';
import { type Teardown, twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { runPair, UrnicHost } from './lab.ts';

const ADDRESS = '192.0.2.1';
const FEW = 50;
const MANY = 250;
const MESSAGES = MANY - FEW;
/** Of the C library and the program, in a whole run: more memory for a longer one, a lock that was not free. */
const STRAY_CALLS = MESSAGES / 10;

function cannotTrace(): string | false {
  return spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0 && 'ptrace is not allowed here';
}
const skip = lacks('root', 'gcc', 'strace', 'ibv_rc_pingpong', 'ib_write_lat') || cannotTrace();

interface Calls {
  /** Requests on the control socket. */
  readonly commands: number;
  /** Writes to the worker's eventfd. */
  readonly doorbells: number;
  /** Reads of event pipes. */
  readonly events: number;
  readonly others: number;
}

/** @param trace a line for each call, with what its descriptor is. A call that another thread's interrupts has a second line, which does not begin so. */
function count(trace: string): Calls {
  const matches = (call: RegExp): number => trace.match(call)?.length ?? 0;
  const commands = matches(/^\d+ +sendto\(\d+<UNIX-STREAM/gm);
  const doorbells = matches(/^\d+ +write\(\d+<anon_inode:\[eventfd\]>/gm);
  const events = matches(/^\d+ +read\(\d+<pipe:/gm);
  const replies = matches(/^\d+ +recv(?:msg|from)\(\d+<UNIX-STREAM/gm);
  return { commands, doorbells, events, others: matches(/^\d+ +\w+\(/gm) - commands - replies - doorbells - events };
}

/** Client and server are two programs on one vRNIC; the client is counted. */
async function callsOf(t: Teardown, host: UrnicHost, program: string, messages: number): Promise<Calls> {
  const server = [...program.split(' '), '-n', String(messages)];
  const trace = join(host.folder, 'trace');
  const strace = ['strace', '-f', '-yy', '-qq', '-s', '0', '-o', trace];
  const [served, asked] = await runPair(t, host, host, { server, client: [...strace, ...server, ADDRESS] });
  if (asked.code !== 0 || served.code !== 0) throw new Error(`${program}:\n${asked.output}\n${served.output}`);
  return count(readFileSync(trace, 'utf8'));
}

/** A short run, and a long one. */
async function runsOf(t: Teardown & Test, spin: string, program: string): Promise<readonly [few: Calls, many: Calls]> {
  await exclusive(t, 'machine');
  const [here] = await twoHosts(t);
  const settings = `workers: 1\nspin: ${spin}\nvrnics:\n  - { name: v, netdev: eth0 }\n`;
  const host = await UrnicHost.start(t, here, 'eth0', settings);
  return [await callsOf(t, host, program, FEW), await callsOf(t, host, program, MANY)];
}

/** Commands make objects, and nothing else; what the C library does it does not for each message. */
function expectNothingElse(t: Test, few: Calls, many: Calls): void {
  t.ok(few.commands > 0, 'the count is not blind: the program has made its objects by commands');
  t.equal(many.commands, few.commands, `no command for ${MESSAGES} messages`);
  const others = many.others - few.others;
  t.ok(others < STRAY_CALLS, `${others} other calls for ${MESSAGES} messages`);
}

const POLLING = 'ib_write_lat -d rxe0 -x 1 -F';
const BY_EVENTS = 'ibv_rc_pingpong -d rxe0 -g 1 -e';

t.test(
  'polling program: no system call for a message while the worker polls',
  { skip, timeout: 900_000 },
  async (t) => {
    const [few, many] = await runsOf(t, 'always', POLLING);
    t.equal(many.doorbells, 0);
    t.equal(many.events, few.events);
    expectNothingElse(t, few, many);
  },
);

t.test(
  'polling program: one write at most for a post wakes a sleeping worker',
  { skip, timeout: 900_000 },
  async (t) => {
    const [few, many] = await runsOf(t, '0', POLLING);
    t.ok(many.doorbells > 0 && many.doorbells <= MANY, `${many.doorbells} doorbells for ${MANY} messages`);
    t.equal(many.events, few.events);
    expectNothingElse(t, few, many);
  },
);

t.test('program by events: one read for each, and arming is no command', { skip, timeout: 900_000 }, async (t) => {
  const [few, many] = await runsOf(t, '0', BY_EVENTS);
  t.ok(
    many.events > 0 && many.events <= 2 * MANY + STRAY_CALLS,
    `${many.events} events for ${MANY} messages sent and as many received`,
  );
  t.ok(many.doorbells <= MANY, `${many.doorbells} doorbells for ${MANY} messages`);
  expectNothingElse(t, few, many);
});
