/** urnic pingpong against libibverbs' pingpong programs on a real Linux rxe, both ways. */
import t, { type Test } from 'tap';
import { Capture } from '../support/capture.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { type Lab, listening, OURS, openLab, PEER, urnic } from './lab.ts';
import { watched } from './watched.ts';

type Type = 'rc' | 'uc' | 'ud' | 'srq';
type Way = 'client' | 'server';

interface Round {
  readonly type: Type;
  readonly gid: 0 | 1;
  readonly size: number;
  readonly mtu: number;
  readonly iters: number;
  /** Packets are lost, the peer's or ours. */
  readonly loses?: boolean;
}

/** Where the peer serves, and where we do: both at once. */
const PORTS = { client: 18_515, server: 18_516 } as const;
const SRQ_QPS = 4;
const PEER_MILLIS = 90_000;
const flagsOf = ({ size, mtu, iters, gid, type }: Round, way: Way): string[] =>
  ['-s', String(size), '-n', String(iters), '-g', String(gid), '-p', String(PORTS[way])].concat(
    type === 'ud' ? [] : ['-m', String(mtu)],
    type === 'srq' ? ['-q', String(SRQ_QPS)] : [],
  );
const title = ({ type, gid, size, mtu, iters }: Round): string =>
  `${type} ${size} B, path MTU ${mtu}, GID ${gid}, ${iters} iterations`;
/** Longer than rxe waits for an acknowledgement that was lost, some times over: it asks for ever, and nobody would be there. */
const LINGER_MILLIS = 500;
const ours = (round: Round, way: Way, ...more: string[]): string[] => {
  const lingers = round.loses ? ['--linger', String(LINGER_MILLIS)] : [];
  return urnic('pingpong', '--netdev', 'tap0', '--type', round.type, ...lingers, ...flagsOf(round, way), ...more);
};
const done = ({ iters }: Round): RegExp => new RegExp(`${iters} iters in `);

/** We connect, the peer serves. */
async function asClient({ here, peer }: Lab, round: Round): Promise<string> {
  const flags = flagsOf(round, 'client').join(' ');
  const serving = peer.exec(`ibv_${round.type}_pingpong -d rxe0 ${flags}`, { timeoutMillis: PEER_MILLIS });
  await peer.listens(PORTS.client);
  const asking = here.run(ours(round, 'client', PEER), { timeoutMillis: PEER_MILLIS });
  const [asked, served] = await Promise.all([asking, serving]);
  return check(asked.code, asked.output, served.code, served.output, round);
}

/** We serve, the peer connects. */
async function asServer(t: Test, { here, peer }: Lab, round: Round): Promise<string> {
  const server = here.spawn(t, ours(round, 'server'));
  await listening(here, PORTS.server, server);
  const theirs = await peer.exec(`ibv_${round.type}_pingpong -d rxe0 ${flagsOf(round, 'server').join(' ')} ${OURS}`, {
    timeoutMillis: PEER_MILLIS,
  });
  const code = await server.end(60_000);
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

async function oneWay(t: Test, lab: Lab, round: Round, way: Way): Promise<void> {
  const said = way === 'client' ? asClient(lab, round) : asServer(t, lab, round);
  t.equal(await said, '', `${way}: ${title(round)}`);
}

async function bothWays(t: Test, lab: Lab, round: Round): Promise<void> {
  await Promise.all(WAYS.map((way) => oneWay(t, lab, round, way)));
}

/** Each of them one way, the next one the other, two at a time. */
async function byTurns(t: Test, lab: Lab, rounds: readonly Round[]): Promise<void> {
  for (let i = 0; i < rounds.length; i += WAYS.length) {
    const some = rounds.slice(i, i + WAYS.length);
    await Promise.all(some.map((round, k) => oneWay(t, lab, round, WAYS[k]!)));
  }
}

const WAYS = ['client', 'server'] as const;
const GIDS = [1, 0] as const;
/** With a path MTU of 1024. */
const SIZES = [1, 1000, 65_536, 1 << 20];
const MTUS = [256, 512, 2048, 4096];
const DISTURBANCES = ['loss 1%', 'loss 5%', 'duplicate 10%', 'delay 2ms reorder 25%'];
/** One packet in so many, on its way to the peer. */
const LOST_BEHIND_US = [
  [100, ['rc']],
  [20, ['rc', 'srq']],
] as const;
/** The shortest and the longest messages and packets, and some between. */
const SHAPES = [
  { gid: 1, size: 1, mtu: 256, iters: 50 },
  { gid: 0, size: 65_536, mtu: 512, iters: 5 },
  { gid: 1, size: 1 << 20, mtu: 4096, iters: 2 },
] as const;

t.setTimeout(1_500_000);
const LONG = { timeout: 900_000 };

t.test('pingpong with Linux rxe', { skip: lacksPeer() || lacks('tcpdump', 'tshark'), timeout: 900_000 }, async (t) => {
  const lab = await openLab(t);

  /** A subtest whose frames the referee judges. */
  const judged = (title: string, connections: number, run: (t: Test) => Promise<void>): Promise<unknown> =>
    t.test(title, LONG, async (t) => {
      const seen = await watched(t, lab, () => run(t));
      t.equal(seen.connections, connections, 'RC connections were judged');
      t.ok(seen.packets > 100, `${seen.packets} packets were judged`);
    });

  const sizes = (gid: 0 | 1): Round[] =>
    SIZES.map((size) => ({ type: 'rc', gid, size, mtu: 1024, iters: size > 100_000 ? 2 : 20 }));
  const mtus = (gid: 0 | 1, all = MTUS): Round[] =>
    all.map((mtu) => ({ type: 'rc', gid, size: 10_000, mtu, iters: 10 }));
  await judged('rc: every size over IPv4, as client and as server', SIZES.length * 2, async (t) => {
    for (const round of sizes(1)) await bothWays(t, lab, round);
  });
  await judged('rc: every size over link-local IPv6, as client or as server', SIZES.length, (t) =>
    byTurns(t, lab, sizes(0)),
  );
  await judged('rc: every path MTU, as client by one family and as server by the other', MTUS.length * 2, async (t) => {
    await byTurns(t, lab, mtus(0));
    await byTurns(t, lab, mtus(1, [...MTUS.slice(1), MTUS[0]!]));
  });

  await t.test('rc: Wireshark finds nothing wrong with the trace', LONG, async (t) => {
    const capture = await Capture.start(t, lab.here, 'tap0');
    const output = await asClient(lab, { type: 'rc', gid: 1, size: 10_000, mtu: 1024, iters: 20 });
    t.equal(output, '');
    t.ok(await capture.end(), 'the capture is whole');
    t.strictSame(await capture.complaints(), []);
  });

  for (const [i, disturbance] of DISTURBANCES.entries()) {
    const connections = (1 + SRQ_QPS) * WAYS.length;
    await judged(`rc and srq: the packets of the peer suffer ${disturbance}`, connections, async (t) => {
      t.teardown(() => lab.peer.disturbOutgoing(''));
      await lab.peer.disturbOutgoing(disturbance);
      const round = { mtu: 1024, loses: disturbance.startsWith('loss') };
      await bothWays(t, lab, { ...round, type: 'rc', gid: GIDS[(i + 1) & 1]!, size: 20_000, iters: 20 });
      await bothWays(t, lab, { ...round, type: 'srq', gid: GIDS[i & 1]!, size: 3000, iters: 50 });
    });
  }

  for (const [oneIn, types] of LOST_BEHIND_US) {
    const connections = types.reduce((sum, type) => sum + (type === 'srq' ? SRQ_QPS : 1), 0) * WAYS.length;
    await judged(`${types.join(' and ')}: one in ${oneIn} of our packets is lost`, connections, async (t) => {
      t.teardown(() => lab.peer.loseIncoming(0));
      await lab.peer.loseIncoming(oneIn);
      for (const type of types)
        await bothWays(t, lab, {
          mtu: 1024,
          loses: true,
          type,
          gid: 1,
          size: type === 'rc' ? 20_000 : 3000,
          iters: 30,
        });
    });
  }

  await judged('uc and ud: the packets of the peer suffer delay 2ms reorder 25%', 0, async (t) => {
    t.teardown(() => lab.peer.disturbOutgoing(''));
    await lab.peer.disturbOutgoing('delay 2ms reorder 25%');
    for (const type of ['uc', 'ud'] as const)
      await bothWays(t, lab, { type, gid: 1, size: 1000, mtu: 1024, iters: 50 });
  });

  const shared = (GIDS.length * WAYS.length + SHAPES.length) * SRQ_QPS;
  await judged('srq: four QPs with one receive queue, as client and as server', shared, async (t) => {
    for (const gid of GIDS) await bothWays(t, lab, { type: 'srq', gid, size: 3000, mtu: 1024, iters: 100 });
    await byTurns(
      t,
      lab,
      SHAPES.map((shape) => ({ type: 'srq', ...shape })),
    );
  });

  await judged('uc and ud, as client and as server, IPv4 and link-local IPv6', 0, async (t) => {
    for (const gid of GIDS) {
      await bothWays(t, lab, { type: 'uc', gid, size: 20_000, mtu: 1024, iters: 50 });
      await bothWays(t, lab, { type: 'ud', gid, size: 2048, mtu: 1024, iters: 50 });
    }
    await byTurns(
      t,
      lab,
      SHAPES.map((shape) => ({ type: 'uc', ...shape })),
    );
    await byTurns(
      t,
      lab,
      [1, 4096].map((size) => ({ type: 'ud', gid: 1, size, mtu: 4096, iters: 20 })),
    );
  });
});
