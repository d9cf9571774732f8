/** UC and UD between two hosts: whole messages or none, and datagrams behind their IP header. SPEC-CHECKLIST R-064 … … R-138. */
import t from 'tap';
import { QpState, QpType, SendFlag, WcFlag, WcOpcode, WcStatus, WrOpcode } from '../../rnic/constants.ts';
import { ADDRESS_B, completionsOf, connectedPair, finish } from '../support/sim/pair.ts';
import { Random } from '../support/sim/random.ts';

const MTU = 1024;
const BUFFER_BYTES = 8192;
const BUFFERS = 4;

t.test('uc: at 10 % loss and reordering every message that arrives is whole and its own', (t) => {
  const faults = { loss: 0.1, reorder: 0.02, lateMicros: 40, duplicate: 0.02 };
  const pair = connectedPair({ type: QpType.UC, faults });
  const { a, b, qpA, qpB } = pair;
  const random = new Random(3);
  const sent: { at: number; length: number }[] = [];
  let posted = 0;
  let delivered = 0;
  let wrong = 0;
  for (let i = 0; i < 400; i++) {
    for (; posted < delivered + BUFFERS; posted++) {
      b.postReceive(qpB, posted, [b.sge((posted % BUFFERS) * BUFFER_BYTES, BUFFER_BYTES)]);
    }
    const length = random.below(6 * MTU);
    const at = random.below(40_000);
    sent.push({ at, length });
    const sges = [a.sge(at, length)];
    a.postSend(qpA, { wrId: i, opcode: WrOpcode.SEND_WITH_IMM, flags: SendFlag.SIGNALED, sges, immediate: i });
    finish(pair, 200);
    for (const completion of completionsOf(qpB.recvCq)) {
      const message = sent[completion.immediate]!;
      const to = (completion.wrId % BUFFERS) * BUFFER_BYTES;
      const placed = Buffer.from(b.bytes.subarray(to, to + message.length));
      const same = placed.equals(a.bytes.subarray(message.at, message.at + message.length));
      if (completion.wrId !== delivered || completion.byteLen !== message.length || !same) wrong++;
      delivered++;
    }
    t.equal(completionsOf(qpA.sendCq)[0]?.status, WcStatus.SUCCESS, 'sent is done');
  }
  t.equal(wrong, 0);
  t.ok(delivered > 150 && delivered < 390, `${delivered} of 400 arrived`);
  t.ok(b.rnic.counters.get('drop_uc_sequence') > 0);
  t.end();
});

t.test('uc: a READ is refused, and receiving goes on in SQE', (t) => {
  const pair = connectedPair({ type: QpType.UC });
  const { a, b, qpA, qpB } = pair;
  a.postReceive(qpA, 7, [a.sge(0, 64)]);
  a.postSend(qpA, { wrId: 0, opcode: WrOpcode.RDMA_READ, flags: 0, sges: [a.sge(0, 8)], rKey: b.key });
  a.postSend(qpA, { wrId: 1, opcode: WrOpcode.SEND, flags: 0, sges: [a.sge(0, 8)] });
  b.postSend(qpB, { wrId: 0, opcode: WrOpcode.SEND, flags: 0, sges: [b.sge(0, 8)] });
  finish(pair);
  const statuses = completionsOf(qpA.sendCq).map((completion) => completion.status);
  t.same(statuses, [WcStatus.LOC_QP_OP_ERR, WcStatus.WR_FLUSH_ERR]);
  t.equal(a.execute({ op: 'queryQp', qp: qpA.handle }).attributes.qpState, QpState.SQE);
  t.equal(completionsOf(qpA.recvCq)[0]?.wrId, 7);
  t.end();
});

t.test('uc: sixteen wrong keys end the QP (T-06)', (t) => {
  const pair = connectedPair({ type: QpType.UC });
  const { a, b, qpA, qpB } = pair;
  const wrong = { opcode: WrOpcode.RDMA_WRITE, flags: 0, sges: [a.sge(0, 8)], remoteAddress: 0, rKey: 12_345 };
  const state = (): QpState => b.execute({ op: 'queryQp', qp: qpB.handle }).attributes.qpState;
  for (let i = 0; i < 15; i++) a.postSend(qpA, { wrId: i, ...wrong });
  finish(pair);
  t.equal(state(), QpState.RTS);
  t.equal(b.rnic.counters.get('drop_access'), 15);
  a.postSend(qpA, { wrId: 15, ...wrong });
  finish(pair);
  t.equal(state(), QpState.ERR);
  t.end();
});

const Q_KEY = 0x1111_1111;

function datagramPair() {
  const pair = connectedPair();
  const [qpA, qpB] = [pair.a.createQp(QpType.UD, 15, false), pair.b.createQp(QpType.UD, 15, false)];
  pair.a.open(qpA, Q_KEY, 5);
  pair.b.open(qpB, Q_KEY, 9);
  const to = { destQpn: qpB.qpNum, qKey: Q_KEY, ahNum: pair.a.createAh(ADDRESS_B), flags: SendFlag.SIGNALED };
  return { ...pair, qpA, qpB, to };
}

t.test(
  'ud: a datagram lies behind 20 octets of zero and its IPv4 header; one too large for the WQE leaves it alone',
  (t) => {
    const pair = datagramPair();
    const { a, b, qpA, qpB, to } = pair;
    b.bytes.fill(0xa5);
    b.postReceive(qpB, 3, [b.sge(0, 60)]);
    a.postSend(qpA, { wrId: 0, opcode: WrOpcode.SEND, sges: [a.sge(0, 21)], ...to });
    a.postSend(qpA, { wrId: 1, opcode: WrOpcode.SEND_WITH_IMM, immediate: 0x0403_0201, sges: [a.sge(0, 20)], ...to });
    finish(pair);
    t.equal(b.rnic.counters.get('drop_recv_too_small'), 1);
    t.match(completionsOf(qpB.recvCq), [
      {
        wrId: 3,
        status: WcStatus.SUCCESS,
        opcode: WcOpcode.RECV,
        byteLen: 60,
        immediate: 0x0403_0201,
        srcQp: qpA.qpNum,
        wcFlags: WcFlag.GRH | WcFlag.WITH_IMM,
      },
    ]);
    t.ok(b.bytes.subarray(0, 20).every((octet) => octet === 0));
    t.same([...b.bytes.subarray(32, 40)], [10, 0, 0, 1, 10, 0, 0, 2]);
    t.ok(Buffer.from(b.bytes.subarray(40, 60)).equals(a.bytes.subarray(0, 20)));
    t.end();
  },
);

t.test('ud: a wrong Q_Key, no WQE, more than the MTU, no such address handle', (t) => {
  const pair = datagramPair();
  const { a, b, qpA, qpB, to } = pair;
  const send = { opcode: WrOpcode.SEND, sges: [a.sge(0, 8)], ...to };
  a.postSend(qpA, { wrId: 0, ...send });
  finish(pair);
  t.equal(b.rnic.counters.get('out_of_buffer'), 1);
  b.postReceive(qpB, 0, [b.sge(0, 4096)]);
  a.postSend(qpA, { wrId: 1, ...send, qKey: 7 });
  finish(pair);
  t.equal(b.rnic.counters.get('drop_qkey'), 1);
  a.postSend(qpA, { wrId: 2, ...send, qKey: 0x8000_0000 });
  finish(pair);
  t.equal(completionsOf(qpB.recvCq).length, 1, 'R-133: the top bit stands for the own Q_Key');
  a.postSend(qpA, { wrId: 3, ...send, sges: [a.sge(0, 4097)] });
  finish(pair);
  const last = completionsOf(qpA.sendCq);
  t.same(
    last.map((completion) => completion.status),
    [WcStatus.SUCCESS, WcStatus.SUCCESS, WcStatus.SUCCESS, WcStatus.LOC_LEN_ERR],
  );
  a.modify(qpA, 1, { qpState: QpState.RTS });
  a.postSend(qpA, { wrId: 4, ...send, ahNum: 99 });
  finish(pair);
  t.equal(completionsOf(qpA.sendCq)[0]?.status, WcStatus.LOC_QP_OP_ERR);
  t.end();
});
