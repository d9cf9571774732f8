/** Programs that mean harm: garbage on the control socket, corrupted queues, stolen handles. The daemon answers or hangs up, and others notice nothing. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Role } from '../../verbs/uverbs/protocol.ts';
import { twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { commandsFrom, flood, hello, whole } from './fuzz-commands.ts';
import { floodLinks } from './fuzz-link.ts';
import { runPair, UrnicHost } from './lab.ts';

const skip = lacks('root', 'gcc', 'ibv_rc_pingpong');
const COMMANDS = Number(process.env.FUZZ_COMMANDS ?? 100_000);
/** Of each command. */
const FLOOD = 320;
/** At a time: fewer than may wait. */
const BURST = 32;
/** When there was no answer; the daemon says so only of what it did not think of. */
const EIO = -5;
const LINK_COMMANDS = Number(process.env.FUZZ_LINK_COMMANDS ?? 10_000);

t.test('a hostile program', { skip, timeout: 900_000 }, async (t) => {
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here);
  const b = await UrnicHost.start(t, there);
  const { pid } = a.daemon.child;
  const othersWork = async (t: Test): Promise<void> => {
    const program = ['ibv_rc_pingpong', '-d', 'rxe0', '-g', '1', '-c', '-n', '100'];
    const [served, asked] = await runPair(t, a, b, { server: program, client: [...program, '192.0.2.1'] });
    t.strictSame([served.code, asked.code], [0, 0], served.output + asked.output);
  };

  await t.test('random commands, valid in part', async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const counts = await flood(join(a.directory, 'uverbs'), COMMANDS, seed);
    t.equal(counts.unanswered, 0, `seed ${seed}`);
    t.ok(counts.refused > COMMANDS / 4 && counts.granted > 0, JSON.stringify(counts));
    t.comment(`seed ${seed}: ${JSON.stringify(counts)}`);
    await othersWork(t);
  });

  await t.test('random commands of TypeScript programs, valid in part', async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const counts = await floodLinks(join(a.directory, 'uverbs'), LINK_COMMANDS, seed);
    t.equal(counts.unanswered, 0, `seed ${seed}`);
    t.ok(counts.refused > LINK_COMMANDS / 4 && counts.granted > 0, JSON.stringify(counts));
    t.comment(`seed ${seed}: ${JSON.stringify(counts)}`);
    await othersWork(t);
  });

  await t.test('what is no protocol at all', async (t) => {
    const length = (octets: number): Buffer => Buffer.from(Uint32Array.of(octets, 1, 1, 0).buffer);
    for (const octets of [Buffer.from('GET / HTTP/1.0\r\n\r\n'), Buffer.alloc(100), length(3), length(2 ** 31)]) {
      const socket = connect(join(a.directory, 'uverbs'));
      socket.on('error', () => {});
      await once(socket, 'connect');
      socket.write(octets);
      await once(socket, 'close');
    }
    await othersWork(t);
  });

  await t.test('a flood of each command: answered, every one of them', async (t) => {
    for (const [index, kind] of commandsFrom(5).kinds.entries()) {
      const link = await hello(join(a.directory, 'uverbs'), Role.CONTEXT);
      for (let sent = 0; sent < FLOOD; sent++) {
        const { result } = await link.call(kind());
        if (result === EIO) t.fail(`command ${index}: no answer, or none that was meant`);
      }
      link.close();
    }
    await othersWork(t);
  });

  await t.test('requests whose answers nobody reads, and more of them than may wait', async (t) => {
    const { queryQp } = commandsFrom(1);
    for (const role of [Role.CONTEXT, Role.LINK, Role.CM]) {
      const hasty = await hello(join(a.directory, 'uverbs'), role);
      const closed = hasty.closed();
      hasty.send(Buffer.concat(Array.from({ length: FLOOD }, () => whole(queryQp(1)))));
      await closed;
      const deaf = await hello(join(a.directory, 'uverbs'), role);
      deaf.deafen();
      while (!deaf.isClosed) {
        for (let i = 0; i < BURST; i++) deaf.send(whole(queryQp(i)));
        await sleep(2);
      }
    }
    await othersWork(t);
  });

  await t.test('a token that nobody gave is refused, and so is what belongs to another context', async (t) => {
    const path = join(a.directory, 'uverbs');
    const stranger = await hello(path, Role.ATTACH, Buffer.alloc(16));
    t.equal(stranger.result, -13);
    const one = await hello(path, Role.CONTEXT);
    const other = await hello(path, Role.CONTEXT);
    const { allocPd, deallocPd, createCq, destroyCq, createSrq, destroySrq, createQp, queryQp, destroyQp } =
      commandsFrom(1);
    const make = async (command: Buffer): Promise<number> => {
      const made = await one.call(command);
      t.equal(made.result, 0);
      return made.poked(0);
    };
    const pd = await make(allocPd());
    const cq = await make(createCq());
    const srq = await make(createSrq(pd));
    const qp = await make(createQp(pd, cq));
    const uses = [
      createSrq(pd),
      createQp(pd, cq),
      queryQp(qp),
      destroyQp(qp),
      destroySrq(srq),
      destroyCq(cq),
      deallocPd(pd),
    ];
    for (const command of uses) t.equal((await other.call(command)).result, -22);
    for (const command of uses.slice(3)) t.equal((await one.call(command)).result, 0);
    for (const link of [stranger, one, other]) link.close();
  });

  await t.test('a program that corrupts its queues while they are worked on', async (t) => {
    const program = join(a.folder, 'scribbler');
    execFileSync('gcc', ['-O1', '-o', program, join(ROOT, 'test/uverbs/scribbler.c'), '-libverbs', '-lpthread']);
    for (const seed of [1, 2, 3]) {
      const [ran] = await Promise.all([a.run([program, '3', String(seed)]), othersWork(t)]);
      t.equal(ran.code, 0, ran.output);
    }
    await othersWork(t);
  });

  t.equal(a.daemon.child.pid, pid);
  t.equal(a.daemon.child.exitCode, null, 'the daemon is the one that started');
  t.notMatch(a.daemon.output, /a worker ended/);
  const { output } = await a.urnic('res', '--json', '--socket', a.socket);
  t.strictSame(JSON.parse(output), { v: { contexts: [], programs: [] } }, 'nothing of them is left');
});
