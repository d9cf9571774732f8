/** RC: how gaps are closed: seen on the wire, packet by packet. SPEC-CHECKLIST §2.2, §6. */
import t from 'tap';
import { SendFlag, WcStatus, WrOpcode } from '../../rnic/constants.ts';
import * as Aeth from '../../wire/aeth.ts';
import { type SeenPacket, seePacket } from '../referee/packet.ts';
import { completionsOf, connectedPair, finish, type Pair } from '../support/sim/pair.ts';

const MTU = 1024;
const ACKNOWLEDGE = 0x11;
const READ_REQUEST = 0x0c;
const FETCH_ADD = 0x14;

/** What both hosts sent so far. */
const seen = (pair: Pair): SeenPacket[] =>
  pair.world.trace!.map(({ octets, timeMicros }, i) => seePacket(octets, i, timeMicros)!);

/** Loses those of the frames sent from now on whose numbers are given. */
function lose(pair: Pair, ...numbers: readonly number[]): void {
  const { wire } = pair.world;
  const send = wire.send.bind(wire);
  let number = 0;
  wire.send = (to, frame, now) => {
    if (!numbers.includes(number++)) send(to, frame, now);
  };
}

function post(pair: Pair, opcode: WrOpcode, length: number, wrId = 0): void {
  const { a, b, qpA } = pair;
  const remote = { remoteAddress: 32_768, rKey: b.key };
  a.postSend(qpA, { wrId, opcode, flags: SendFlag.SIGNALED, sges: [a.sge(0, length)], ...remote });
}

const isSuccess = (pair: Pair): boolean =>
  completionsOf(pair.qpA.sendCq).every(({ status }) => status === WcStatus.SUCCESS);

t.test('responder: a gap earns one NAK that names the expected PSN; the sender repairs the one packet', (t) => {
  const pair = connectedPair();
  lose(pair, 3);
  post(pair, WrOpcode.RDMA_WRITE, 12 * MTU);
  finish(pair);
  const packets = seen(pair);
  const first = packets[0]!.psn;
  const naks = packets.filter(
    (packet) => packet.opcode === ACKNOWLEDGE && packet.syndrome === Aeth.NAK_PSN_SEQUENCE_ERROR,
  );
  t.same(
    naks.map((nak) => nak.psn),
    [(first + 3) & 0xff_ffff],
  );
  const requests = packets.filter((packet) => packet.opcode !== ACKNOWLEDGE);
  t.equal(requests.length, 13, 'twelve packets and one again');
  t.equal(requests[12]!.psn, (first + 3) & 0xff_ffff);
  t.ok(isSuccess(pair));
  t.equal(pair.b.rnic.counters.get('reorder_held'), 8);
  t.end();
});

t.test('sender: a peer that keeps nothing gets all from the gap on again, at once (R-037, R-039)', (t) => {
  const pair = connectedPair({ reorderWindow: 0 });
  lose(pair, 3);
  post(pair, WrOpcode.RDMA_WRITE, 12 * MTU);
  finish(pair);
  const requests = seen(pair).filter((packet) => packet.opcode !== ACKNOWLEDGE);
  // The packet that was missing alone, then, its acknowledgement having said no more, the eight behind it.
  t.equal(requests.length, 12 + 1 + 8);
  t.ok(requests.at(-1)!.timeMicros < 100, 'without waiting for the timer');
  t.equal(pair.a.rnic.counters.get('local_ack_timeout_err'), 0);
  t.ok(isSuccess(pair));
  t.end();
});

t.test(
  'sender: one lost READ response is asked for again at once, from the first that is missing (R-043, R-044, R-116)',
  (t) => {
    const pair = connectedPair();
    lose(pair, 1 + 5);
    post(pair, WrOpcode.RDMA_READ, 20 * MTU);
    finish(pair);
    const requests = seen(pair).filter((packet) => packet.opcode === READ_REQUEST);
    t.equal(requests.length, 2);
    const [first, again] = [requests[0]!, requests[1]!];
    t.equal(again.psn, (first.psn + 5) & 0xff_ffff);
    t.equal(again.reth!.address, first.reth!.address + BigInt(5 * MTU));
    t.equal(again.reth!.length, MTU);
    t.ok(again.timeMicros < 100);
    t.ok(isSuccess(pair));
    t.end();
  },
);

t.test(
  'sender: READ responses that come early are kept, and only what is missing is asked for again (R-043, R-116)',
  (t) => {
    const pair = connectedPair();
    const { a, b } = pair;
    // Three READs of ten packets: the first loses its third and fifth answer, the second its last, the third none.
    lose(pair, 3 + 2, 3 + 4, 3 + 19);
    for (let i = 0; i < 3; i++) post(pair, WrOpcode.RDMA_READ, 10 * MTU, i);
    finish(pair);
    const packets = seen(pair);
    const requests = packets.filter((packet) => packet.opcode === READ_REQUEST);
    const first = requests[0]!.psn;
    t.same(
      requests.slice(3).map(({ psn, reth }) => [(psn - first) & 0xff_ffff, reth!.length]),
      [
        [2, 3 * MTU],
        [19, MTU],
      ],
    );
    const answers = packets.filter(({ opcode }) => opcode >= 0x0d && opcode <= 0x10);
    t.equal(answers.length, 30 + 3 + 1);
    t.equal(a.rnic.counters.get('local_ack_timeout_err'), 0);
    t.same(
      completionsOf(pair.qpA.sendCq).map(({ wrId, status }) => [wrId, status]),
      [0, 1, 2].map((wrId) => [wrId, WcStatus.SUCCESS]),
    );
    t.same(a.bytes.subarray(0, 10 * MTU), b.bytes.subarray(32_768, 32_768 + 10 * MTU));
    t.end();
  },
);

t.test('sender: a READ request that was lost is sent again alone: the peer keeps those behind it', (t) => {
  const pair = connectedPair();
  lose(pair, 1);
  for (let i = 0; i < 4; i++) post(pair, WrOpcode.RDMA_READ, 4 * MTU, i);
  finish(pair);
  const requests = seen(pair).filter((packet) => packet.opcode === READ_REQUEST);
  t.equal(requests.length, 5);
  t.equal(requests[4]!.psn, requests[1]!.psn);
  t.equal(pair.a.rnic.counters.get('local_ack_timeout_err'), 0);
  t.equal(completionsOf(pair.qpA.sendCq).length, 4);
  t.end();
});

t.test('sender: from a peer that keeps nothing, lost READ requests are all had in the end', (t) => {
  const pair = connectedPair({ reorderWindow: 0 });
  lose(pair, 1);
  for (let i = 0; i < 4; i++) post(pair, WrOpcode.RDMA_READ, 4 * MTU, i);
  finish(pair);
  t.equal(completionsOf(pair.qpA.sendCq).filter(({ status }) => status === WcStatus.SUCCESS).length, 4);
  // One is repaired in vain; when the timer has said so, what is missing is sent again together.
  t.equal(pair.a.rnic.counters.get('local_ack_timeout_err'), 1);
  t.end();
});

t.test('responder: an atomic whose answer was lost is not done twice (R-056)', (t) => {
  const pair = connectedPair();
  const { a, b, qpA } = pair;
  b.view.setBigUint64(8, 40n, true);
  lose(pair, 1);
  const request = { wrId: 0, opcode: WrOpcode.ATOMIC_FETCH_AND_ADD, flags: SendFlag.SIGNALED, compareAdd: 2n };
  a.postSend(qpA, { ...request, sges: [a.sge(0, 8)], remoteAddress: 8, rKey: b.key });
  finish(pair);
  t.equal(seen(pair).filter((packet) => packet.opcode === FETCH_ADD).length, 2);
  t.equal(b.view.getBigUint64(8, true), 42n);
  t.equal(a.view.getBigUint64(0, true), 40n);
  t.ok(isSuccess(pair));
  t.end();
});

t.test('sender: an RNR NAK is waited out, whatever its code, and the message arrives (R-095, R-108)', (t) => {
  for (const minRnrTimer of [0, 1, 14, 31]) {
    const pair = connectedPair({ b: { minRnrTimer } });
    const { a, b, qpA, qpB } = pair;
    a.postSend(qpA, { wrId: 0, opcode: WrOpcode.SEND, flags: SendFlag.SIGNALED, sges: [a.sge(0, 8)] });
    finish(pair, 8);
    b.postReceive(qpB, 0, [b.sge(0, 8)]);
    finish(pair);
    const [first, again] = seen(pair).filter((packet) => packet.opcode === 4);
    t.ok(again!.timeMicros - first!.timeMicros >= Aeth.rnrMicros(minRnrTimer));
    t.equal(completionsOf(qpB.recvCq).length, 1);
    t.ok(isSuccess(pair));
  }
  t.end();
});

t.test('sender: an answer to nothing outstanding changes nothing (R-046, R-047)', (t) => {
  const pair = connectedPair({ faults: { duplicate: 1 } });
  for (let i = 0; i < 8; i++) post(pair, WrOpcode.RDMA_WRITE, 100, i);
  finish(pair);
  const completions = completionsOf(pair.qpA.sendCq);
  t.same(
    completions.map(({ wrId }) => wrId),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
  t.ok(pair.a.rnic.counters.get('drop_response') > 0);
  t.end();
});

t.test(
  'responder: a packet marked by the network is answered with one CNP in 50 µs, and the sender slows down (R-028, R-029)',
  (t) => {
    const pair = connectedPair();
    const { wire } = pair.world;
    const send = wire.send.bind(wire);
    wire.send = (to, frame, now) => {
      const marked = frame.slice();
      // Congestion Experienced: the type of service is outside the ICRC.
      marked[15] = marked[15]! | 3;
      send(to, marked, now);
    };
    post(pair, WrOpcode.RDMA_WRITE, 30 * MTU);
    finish(pair);
    t.ok(isSuccess(pair));
    const cnps = seen(pair).filter((packet) => packet.opcode === 0x81);
    t.ok(cnps.length >= 1);
    for (const [i, cnp] of cnps.entries()) if (i > 0) t.ok(cnp.timeMicros - cnps[i - 1]!.timeMicros >= 50);
    t.ok(pair.b.rnic.counters.get('np_ecn_marked_roce_packets') >= 30);
    t.equal(pair.a.rnic.counters.get('rp_cnp_handled'), cnps.length);
    t.end();
  },
);
