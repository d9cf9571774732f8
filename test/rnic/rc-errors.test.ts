/** RC: who is told what when something is wrong. SPEC-CHECKLIST §2.3, §2.4. */
import t, { type Test } from 'tap';
import { QpState, SendFlag, WcStatus, WrOpcode } from '../../rnic/constants.ts';
import { completionsOf, connectedPair, finish, type Pair, type PairOptions } from '../support/sim/pair.ts';
import type { SendRequest } from '../support/sim/work.ts';

const { SUCCESS, WR_FLUSH_ERR, LOC_LEN_ERR, LOC_PROT_ERR, LOC_ACCESS_ERR, LOC_QP_OP_ERR } = WcStatus;
const { REM_INV_REQ_ERR, REM_ACCESS_ERR, REM_OP_ERR, RETRY_EXC_ERR, RNR_RETRY_EXC_ERR } = WcStatus;
const { RTS, ERR } = QpState;

const WRONG_KEY = 0x1234_5678;

interface Case extends PairOptions {
  readonly name: string;
  /** Octets of the receive WQEs that B posts, in B's memory from 0 on. */
  readonly receives?: readonly number[];
  readonly receiveKey?: number;
  readonly requests: (pair: Pair) => readonly Partial<SendRequest>[];
  readonly sends: readonly WcStatus[];
  readonly received?: readonly WcStatus[];
  readonly states: readonly [QpState, QpState];
}

const stateOf = (pair: Pair, side: 'a' | 'b'): QpState =>
  pair[side].execute({ op: 'queryQp', qp: (side === 'a' ? pair.qpA : pair.qpB).handle }).attributes.qpState;

function judge(t: Test, test: Case): void {
  const pair = connectedPair(test);
  const { a, b, qpA, qpB } = pair;
  for (const [wrId, length] of (test.receives ?? []).entries()) {
    b.postReceive(qpB, wrId, [{ ...b.sge(0, length), lKey: test.receiveKey ?? b.key }]);
  }
  const defaults = { opcode: WrOpcode.RDMA_WRITE, flags: SendFlag.SIGNALED, remoteAddress: 4096, rKey: b.key };
  for (const [wrId, request] of test.requests(pair).entries()) {
    a.postSend(qpA, { wrId, ...defaults, sges: [a.sge(0, 8)], ...request });
  }
  finish(pair);
  const sends = completionsOf(qpA.sendCq);
  t.same(
    sends.map((completion) => completion.status),
    test.sends,
    'send completions',
  );
  t.same(
    sends.map((completion) => completion.wrId),
    test.sends.map((_, i) => i),
    'in order',
  );
  t.same(
    completionsOf(qpB.recvCq).map((completion) => completion.status),
    test.received ?? [],
    'receive completions',
  );
  t.same([stateOf(pair, 'a'), stateOf(pair, 'b')], test.states, 'states');
}

const READ = WrOpcode.RDMA_READ;
const SEND = WrOpcode.SEND;
const CASES: readonly Case[] = [
  {
    name: 'R-110: a wrong R_Key ends the WRITE with REM_ACCESS_ERR and flushes what follows, on both sides',
    receives: [8],
    requests: () => [{}, { rKey: WRONG_KEY }, {}],
    sends: [SUCCESS, REM_ACCESS_ERR, WR_FLUSH_ERR],
    received: [WR_FLUSH_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-150: a wrong lKey ends only our QP, after what was before it',
    requests: ({ a }) => [{}, { sges: [{ ...a.sge(0, 8), lKey: WRONG_KEY }], rKey: WRONG_KEY }, {}],
    sends: [SUCCESS, LOC_PROT_ERR, WR_FLUSH_ERR],
    states: [ERR, RTS],
  },
  {
    name: 'R-147: an unsignalled work request tells of its error',
    requests: () => [{ flags: 0, rKey: WRONG_KEY }],
    sends: [REM_ACCESS_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-074: a SEND longer than the receive WQE',
    receives: [4],
    requests: () => [{ opcode: SEND }],
    sends: [REM_INV_REQ_ERR],
    received: [LOC_LEN_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-098: a receive WQE with a wrong lKey',
    receives: [8],
    receiveKey: WRONG_KEY,
    requests: () => [{ opcode: SEND }],
    sends: [REM_OP_ERR],
    received: [LOC_PROT_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-091: a WRITE with immediate data and a wrong R_Key spoils the receive WQE',
    receives: [8],
    requests: () => [{ opcode: WrOpcode.RDMA_WRITE_WITH_IMM, rKey: WRONG_KEY }],
    sends: [REM_ACCESS_ERR],
    received: [LOC_ACCESS_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-107: rnr_retry 3 gives up after the fourth RNR NAK',
    a: { rnrRetry: 3 },
    requests: () => [{ opcode: SEND }],
    sends: [RNR_RETRY_EXC_ERR],
    states: [ERR, RTS],
  },
  {
    name: 'R-083: an unaligned atomic is an invalid request even with a wrong R_Key',
    requests: () => [{ opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, remoteAddress: 3, rKey: WRONG_KEY }],
    sends: [REM_INV_REQ_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-142: an atomic of other than 8 octets',
    requests: ({ a }) => [{ opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, sges: [a.sge(0, 16)] }],
    sends: [LOC_LEN_ERR],
    states: [ERR, RTS],
  },
  {
    name: 'R-114: a READ into a wrong lKey ends when its data comes; the peer stays',
    requests: ({ a }) => [{ opcode: READ, sges: [{ ...a.sge(0, 8), lKey: WRONG_KEY }] }],
    sends: [LOC_PROT_ERR],
    states: [ERR, RTS],
  },
  {
    name: 'a READ with both keys wrong: the remote error wins',
    requests: ({ a }) => [{ opcode: READ, sges: [{ ...a.sge(0, 8), lKey: WRONG_KEY }], rKey: WRONG_KEY }],
    sends: [REM_ACCESS_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-076: empty WRITEs and READs need no valid R_Key',
    requests: () => [
      { sges: [], rKey: WRONG_KEY },
      { opcode: READ, sges: [], rKey: WRONG_KEY },
    ],
    sends: [SUCCESS, SUCCESS],
    states: [RTS, RTS],
  },
  {
    name: 'R-067: an empty WRITE still needs the right on the QP',
    b: { accessFlags: 0 },
    requests: () => [{ sges: [] }],
    sends: [REM_INV_REQ_ERR],
    states: [ERR, ERR],
  },
  {
    name: 'R-142: an opcode that nobody knows',
    requests: () => [{ opcode: 63 as WrOpcode }],
    sends: [LOC_QP_OP_ERR],
    states: [ERR, RTS],
  },
  {
    name: 'R-146: a READ cannot be inline',
    requests: () => [{ opcode: READ, flags: SendFlag.INLINE | SendFlag.SIGNALED, inline: new Uint8Array(8) }],
    sends: [LOC_QP_OP_ERR],
    states: [ERR, RTS],
  },
];

for (const test of CASES)
  t.test(`rc: ${test.name}`, (t) => {
    judge(t, test);
    t.end();
  });

t.test('rc: R-079: a WRITE whose range ends outside the region writes nothing', (t) => {
  const pair = connectedPair();
  const before = pair.b.bytes.slice();
  const request = { wrId: 0, opcode: WrOpcode.RDMA_WRITE, flags: SendFlag.SIGNALED, rKey: pair.b.key };
  const { length } = pair.b.bytes;
  pair.a.postSend(pair.qpA, { ...request, sges: [pair.a.sge(0, 8192)], remoteAddress: length - 8191 });
  finish(pair);
  t.equal(completionsOf(pair.qpA.sendCq)[0]?.status, REM_ACCESS_ERR);
  t.ok(Buffer.from(before).equals(pair.b.bytes));
  t.end();
});

for (const [retryCnt, strictTimers] of [
  [0, true],
  [1, true],
  [3, true],
  [7, true],
  [7, false],
] as const)
  t.test(
    `rc: R-103, R-104: retry_cnt ${retryCnt}, strict ${strictTimers}: a dead peer is given up after ${retryCnt + 1} timeouts`,
    (t) => {
      const pair = connectedPair({ strictTimers, a: { retryCnt, timeout: 10 }, faults: { loss: 1 } });
      const request = { wrId: 0, opcode: WrOpcode.RDMA_WRITE, flags: 0, sges: [pair.a.sge(0, 8)] };
      pair.a.postSend(pair.qpA, { ...request, remoteAddress: 0, rKey: pair.b.key });
      let endedAt = 0;
      pair.world.run(
        1e6,
        () => {
          const done = completionsOf(pair.qpA.sendCq);
          if (done.length !== 0) endedAt = pair.world.now;
          return done.some((completion) => completion.status === RETRY_EXC_ERR);
        },
        1000,
      );
      const bound = 4.096 * 2 ** 10 * (retryCnt + 1);
      t.ok(endedAt >= bound - 1 && endedAt <= bound + 1001, `${endedAt} µs, due at ${bound}`);
      if (strictTimers) t.equal(pair.world.wire.sent, retryCnt + 1, 'transmissions');
      t.end();
    },
  );
