/** urnic pingpong against libibverbs' pingpong programs on a real Linux rxe, both ways. */
import t, { type Test } from 'tap';
import { connectionsOf } from '../referee/connections.ts';
import { readFrames } from '../referee/pcap-frames.ts';
import { judge } from '../referee/referee.ts';
import { Capture } from '../support/capture.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { type Lab, listening, OURS, openLab, PEER, urnic } from './lab.ts';

type Type = 'rc' | 'uc' | 'ud' | 'srq';

interface Round {
  readonly type: Type;
  readonly gid: 0 | 1;
  readonly size: number;
  readonly mtu: number;
  readonly iters: number;
  /** Packets of the peer are lost. */
  readonly loses?: boolean;
}

const PORT = 18_515;
const PEER_MILLIS = 90_000;
const flagsOf = ({ size, mtu, iters, gid, type }: Round): string[] =>
  ['-s', String(size), '-n', String(iters), '-g', String(gid), '-p', String(PORT)].concat(
    type === 'ud' ? [] : ['-m', String(mtu)],
    type === 'srq' ? ['-q', '4'] : [],
  );
const title = ({ type, gid, size, mtu, iters }: Round): string =>
  `${type} ${size} B, path MTU ${mtu}, GID ${gid}, ${iters} iterations`;
const done = ({ iters }: Round): RegExp => new RegExp(`${iters} iters in `);

/** We connect, the peer serves. */
async function asClient({ here, peer }: Lab, round: Round): Promise<string> {
  const flags = flagsOf(round).join(' ');
  const serving = peer.exec(`ibv_${round.type}_pingpong -d rxe0 ${flags}`, { timeoutMillis: PEER_MILLIS });
  await peer.must(`for i in $(seq 400); do ss -Hltn 'sport = :${PORT}' | grep -q . && exit 0; sleep 0.1; done; exit 1`);
  const command = urnic('pingpong', '--netdev', 'tap0', '--type', round.type, ...flagsOf(round), PEER);
  const [ours, theirs] = await Promise.all([here.run(command, { timeoutMillis: PEER_MILLIS }), serving]);
  return check(ours.code, ours.output, theirs.code, theirs.output, round);
}

/** We serve, the peer connects. */
async function asServer(t: Test, { here, peer }: Lab, round: Round): Promise<string> {
  const server = here.spawn(t, urnic('pingpong', '--netdev', 'tap0', '--type', round.type, ...flagsOf(round)));
  await listening(here, PORT, server);
  const theirs = await peer.exec(`ibv_${round.type}_pingpong -d rxe0 ${flagsOf(round).join(' ')} ${OURS}`, {
    timeoutMillis: PEER_MILLIS,
  });
  const code = await server.end(20_000);
  return check(code, server.output, theirs.code, theirs.output, round);
}

/** Empty when both sides finished; otherwise what they said. */
function check(ourCode: number, ourOutput: string, theirCode: number, theirOutput: string, round: Round): string {
  const [we, they] = [ourCode === 0 && done(round).test(ourOutput), theirCode === 0 && done(round).test(theirOutput)];
  // Who has all that it waits for leaves. When its last acknowledgement is lost nobody is there to repeat it, and the other side's last SEND ends so.
  const isAlone =
    round.loses === true && (we || they) && /RETRY_EXC_ERR|retry counter exceeded/.test(ourOutput + theirOutput);
  return (we && they) || isAlone ? '' : `urnic: exit ${ourCode}\n${ourOutput}\nrxe: exit ${theirCode}\n${theirOutput}`;
}

async function bothWays(t: Test, lab: Lab, round: Round): Promise<void> {
  t.equal(await asClient(lab, round), '', `client: ${title(round)}`);
  t.equal(await asServer(t, lab, round), '', `server: ${title(round)}`);
}

const GIDS = [1, 0] as const;
const SIZES = [1, 1000, 4096, 65_536, 1 << 20];
const MTUS = [256, 512, 1024, 2048, 4096];
const DISTURBANCES = ['loss 1%', 'loss 5%', 'duplicate 10%', 'delay 2ms reorder 25%'];
/** The shortest and the longest messages and packets, and some between. */
const SHAPES = [
  { gid: 1, size: 1, mtu: 256, iters: 50 },
  { gid: 0, size: 65_536, mtu: 512, iters: 10 },
  { gid: 1, size: 1 << 20, mtu: 4096, iters: 5 },
] as const;

t.setTimeout(1_500_000);
const LONG = { timeout: 900_000 };

t.test('pingpong with Linux rxe', { skip: lacksPeer() || lacks('tcpdump', 'tshark'), timeout: 900_000 }, async (t) => {
  const lab = await openLab(t);

  await t.test(
    'rc: every size and every path MTU, as client and as server, IPv4 and link-local IPv6',
    LONG,
    async (t) => {
      for (const gid of GIDS) {
        for (const size of SIZES)
          await bothWays(t, lab, { type: 'rc', gid, size, mtu: 1024, iters: size > 100_000 ? 5 : 50 });
        for (const mtu of MTUS) await bothWays(t, lab, { type: 'rc', gid, size: 10_000, mtu, iters: 20 });
      }
    },
  );

  await t.test('rc: Wireshark and the referee find nothing wrong with the trace', LONG, async (t) => {
    const capture = await Capture.start(t, lab.here, 'tap0');
    const output = await asClient(lab, { type: 'rc', gid: 1, size: 10_000, mtu: 1024, iters: 20 });
    t.equal(output, '');
    t.ok(await capture.end(), 'the capture is whole');
    t.strictSame(await capture.complaints(), []);
    const frames = readFrames(capture.path);
    const { violations, packets } = judge(frames, connectionsOf(frames, 1024));
    t.strictSame(violations, []);
    t.ok(packets >= 400, `${packets} packets judged`);
  });

  for (const [i, disturbance] of DISTURBANCES.entries()) {
    await t.test(`rc and srq: the packets of the peer suffer ${disturbance}`, LONG, async (t) => {
      await lab.peer.disturbOutgoing(disturbance);
      const round = { mtu: 1024, loses: disturbance.startsWith('loss') };
      for (const gid of GIDS) await bothWays(t, lab, { ...round, type: 'rc', gid, size: 20_000, iters: 20 });
      const srq = { ...round, type: 'srq', gid: GIDS[i & 1]!, size: 3000, iters: 50 } as const;
      // Under loss the client, who is done first, is rxe: docs/interop.md says what has been seen the other way round.
      if (!round.loses) t.equal(await asClient(lab, srq), '', `client: ${title(srq)}`);
      t.equal(await asServer(t, lab, srq), '', `server: ${title(srq)}`);
      await lab.peer.disturbOutgoing('');
    });
  }

  await t.test('uc and ud: the packets of the peer suffer delay 2ms reorder 25%', LONG, async (t) => {
    await lab.peer.disturbOutgoing('delay 2ms reorder 25%');
    for (const type of ['uc', 'ud'] as const)
      await bothWays(t, lab, { type, gid: 1, size: 1000, mtu: 1024, iters: 50 });
    await lab.peer.disturbOutgoing('');
  });

  await t.test('srq: four QPs with one receive queue, as client and as server', LONG, async (t) => {
    for (const gid of GIDS) await bothWays(t, lab, { type: 'srq', gid, size: 3000, mtu: 1024, iters: 100 });
    for (const shape of SHAPES) await bothWays(t, lab, { type: 'srq', ...shape });
  });

  await t.test('uc and ud, as client and as server, IPv4 and link-local IPv6', LONG, async (t) => {
    for (const gid of GIDS) {
      await bothWays(t, lab, { type: 'uc', gid, size: 20_000, mtu: 1024, iters: 50 });
      await bothWays(t, lab, { type: 'ud', gid, size: 2048, mtu: 1024, iters: 50 });
    }
    for (const shape of SHAPES) await bothWays(t, lab, { type: 'uc', ...shape });
    for (const size of [1, 4096]) await bothWays(t, lab, { type: 'ud', gid: 1, size, mtu: 4096, iters: 20 });
  });
});
