/** Drills: which PSN an RC responder takes, which it takes again, which it asks for. SPEC-CHECKLIST §2.2. */
import { drill, REMOTE } from './language/drill.ts';
import { ack, filled, nak, type Packet } from './language/packet.ts';

const write = (psn: number, more: Partial<Packet> = {}): Packet => ({
  opcode: 'RDMA_WRITE_ONLY',
  psn,
  payload: 8,
  ackReq: true,
  ...more,
});

for (const psn of [0, 0x7f_ffff, 0x80_0000, 0xff_ffff]) {
  drill(`R-032: the first PSN is the one that modify_qp was given: 0x${psn.toString(16)}`, (d) => {
    d.qp('rc', { rqPsn: psn, sqPsn: psn });
    d.inject(write(psn));
    d.expect.packet(ack(psn, { msn: 1 }));
    d.post.write();
    d.expect.packet({ opcode: 'RDMA_WRITE_ONLY', psn });
  });
}

drill('R-031: PSNs count modulo 2^24: after 0xFFFFFF comes 0', ({ qp, inject, expect }) => {
  qp('rc', { rqPsn: 0xff_fffe });
  inject(write(0xff_fffe), write(0xff_ffff), write(0));
  expect.packet(ack(0, { msn: 3 }));
  inject(write(0xff_ffff));
  expect.packet(ack(0, { msn: 3 }));
  expect.counter('duplicate_request', 1);
});

drill('R-036: the 2^23 PSNs before the expected one are duplicates, all others are ahead', ({ qp, inject, expect }) => {
  qp('rc', { rqPsn: 0x10_0000 });
  inject(write(0x10_0000 - 1));
  inject(write(0x10_0000 - 2 ** 23));
  expect.packet(ack(0x0f_ffff), ack(0x0f_ffff));
  expect.counter('duplicate_request', 2);
  inject(write(0x10_0000 + 2 ** 23 - 1));
  expect.packet(nak('PSN_SEQUENCE_ERROR', 0x10_0000));
  inject(write(0x10_0001));
  expect.counter('out_of_sequence', 2);
});

for (const reorderWindow of [0, 32]) {
  drill(`R-037: a gap earns one NAK, then silence (${reorderWindow} packets are held)`, { reorderWindow }, (d) => {
    d.qp('rc');
    d.inject(write(1));
    d.expect.packet(nak('PSN_SEQUENCE_ERROR', 0, { msn: 0 }));
    for (let psn = 2; psn <= 100; psn++) d.inject(write(psn));
    d.expect.nothing();
    d.expect.counter('out_of_sequence', 100);
    d.expect.counter('send_seq_err', 1);
  });
}

drill('R-038: the expected PSN opens the way for the next NAK', { reorderWindow: 0 }, ({ qp, inject, expect }) => {
  qp('rc');
  inject(write(1));
  expect.packet(nak('PSN_SEQUENCE_ERROR', 0));
  inject(write(0));
  expect.packet(ack(0));
  inject(write(5));
  expect.packet(nak('PSN_SEQUENCE_ERROR', 1));
});

drill('R-048: the MSN counts messages, not packets; a READ counts when it is accepted', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 512, payload: 256, ackReq: true });
  expect.packet(ack(0, { msn: 0 }));
  inject({ opcode: 'RDMA_WRITE_LAST', psn: 1, payload: 256, ackReq: true });
  expect.packet(ack(1, { msn: 1 }));
  inject({ opcode: 'RDMA_READ_REQUEST', psn: 2, length: 512 });
  expect.packet(
    { opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 2, msn: 2 },
    { opcode: 'RDMA_READ_RESPONSE_LAST', psn: 3, msn: 2 },
  );
  inject({ opcode: 'RDMA_READ_REQUEST', psn: 2, length: 512 });
  expect.packet({ opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 2, msn: 2 }, { opcode: 'RDMA_READ_RESPONSE_LAST', msn: 2 });
  inject({ opcode: 'FETCH_ADD', psn: 4, swapOrAdd: 1n });
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 4, msn: 3 });
  inject(write(4 - 4));
  expect.packet(ack(1, { msn: 3 }));
});

drill('R-049: the MSN of a NAK does not count the message that it refuses', ({ qp, inject, expect }) => {
  qp('rc');
  inject(write(0));
  expect.packet(ack(0, { msn: 1 }));
  inject(write(1, { rKey: 1 }));
  expect.packet(nak('REMOTE_ACCESS_ERROR', 1, { msn: 1 }));
  expect.event('QP_ACCESS_ERR');
  expect.state('ERR');
});

drill('R-050: who asks for an ACK gets one; others wait for the next that asks', ({ qp, inject, expect }) => {
  qp('rc');
  inject(write(0, { ackReq: false }));
  inject(write(1, { ackReq: false }));
  expect.nothing();
  inject(write(2, { ackReq: true }));
  expect.packet(ack(2, { msn: 3 }));
});

drill('R-050: what goes wrong is reported behind what went well', ({ qp, inject, expect }) => {
  qp('rc');
  inject(write(0), write(1), write(2, { rKey: 1 }));
  expect.packet(nak('REMOTE_ACCESS_ERROR', 2, { msn: 2 }));
  expect.event('QP_ACCESS_ERR');
});

drill('R-052: answers leave in the order of the requests', ({ qp, inject, expect }) => {
  qp('rc');
  inject(
    write(0),
    { opcode: 'RDMA_READ_REQUEST', psn: 1, length: 512 },
    { opcode: 'FETCH_ADD', psn: 3, swapOrAdd: 1n },
    write(4),
  );
  expect.packet(
    ack(0),
    { opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 1 },
    { opcode: 'RDMA_READ_RESPONSE_LAST', psn: 2 },
    { opcode: 'ATOMIC_ACKNOWLEDGE', psn: 3 },
    ack(4),
  );
});

drill('R-053: a repeated WRITE is not written again; its ACK names the latest', ({ qp, inject, expect, memory }) => {
  qp('rc');
  inject(write(0, { payload: 'before' }), write(1, { va: REMOTE + 64 }));
  expect.packet(ack(1, { msn: 2 }));
  memory.bytes.set(new TextEncoder().encode('after!'), REMOTE - 0x1_0000);
  inject(write(0, { payload: 'before' }));
  expect.packet(ack(1, { msn: 2 }));
  expect.memory(REMOTE, 'after!');
});

drill('R-053: a repeated SEND takes no second receive WQE', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.recv();
  post.recv();
  const send: Packet = { opcode: 'SEND_ONLY', psn: 0, payload: 'once', ackReq: true };
  inject(send);
  expect.packet(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 4 });
  inject(send);
  expect.packet(ack(0));
});

const read = (psn: number, more: Partial<Packet> = {}): Packet => ({
  opcode: 'RDMA_READ_REQUEST',
  psn,
  va: REMOTE,
  length: 1024,
  ...more,
});
const RESPONSES: readonly Packet[] = [
  { opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 0, payload: 256 },
  { opcode: 'RDMA_READ_RESPONSE_MIDDLE', psn: 1, payload: 256 },
  { opcode: 'RDMA_READ_RESPONSE_MIDDLE', psn: 2, payload: 256 },
  { opcode: 'RDMA_READ_RESPONSE_LAST', psn: 3, payload: 256 },
];

drill(
  'R-054: a READ may be asked for again from its middle: VA goes on with the PSN',
  ({ qp, inject, expect, memory }) => {
    qp('rc');
    inject(read(0));
    expect.packet(...RESPONSES);
    inject(read(2, { va: REMOTE + 512, length: 512 }));
    expect.packet(
      { opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 2, payload: memory.octets(REMOTE + 512, 256) },
      { opcode: 'RDMA_READ_RESPONSE_LAST', psn: 3, payload: memory.octets(REMOTE + 768, 256) },
    );
  },
);

for (const [what, psn, more] of [
  ['more than was asked for', 0, { length: 1025 }],
  ['another key', 0, { rKey: 1 }],
  ['another address', 2, { va: REMOTE + 256, length: 512 }],
] as const) {
  drill(`R-054: a repeated READ of ${what} is passed over in silence`, ({ qp, inject, expect }) => {
    qp('rc');
    inject(read(0));
    expect.packet(...RESPONSES);
    inject(read(psn, more));
    expect.nothing();
    expect.counter('drop_duplicate_read', 1);
    expect.state('RTS');
  });
}

drill('R-055: a READ that is repeated after its region went brings nothing, and ends nothing', (d) => {
  d.qp('rc');
  const region = d.region({ bytes: 1024, address: 0x40_0000 });
  const request = read(0, { va: 0x40_0000, rKey: region.key });
  d.inject(request);
  d.expect.packet(...RESPONSES);
  d.execute({ op: 'deregMr', mr: region.mr });
  d.inject(request);
  d.expect.nothing();
  d.expect.counter('drop_duplicate_read', 1);
  d.expect.state('RTS');
});

drill('R-056: a repeated atomic gets its first answer again, and adds nothing', ({ qp, inject, expect, memory }) => {
  qp('rc');
  memory.setWord(REMOTE, 40n);
  const add: Packet = { opcode: 'FETCH_ADD', psn: 0, va: REMOTE, swapOrAdd: 2n };
  inject(add);
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0, original: 40n });
  expect.word(REMOTE, 42n);
  inject(add);
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0, original: 40n });
  expect.word(REMOTE, 42n);
});

drill('R-056: an atomic that is no longer kept is passed over in silence', ({ qp, inject, expect }) => {
  qp('rc', { maxDestRdAtomic: 1 });
  const add = (psn: number): Packet => ({ opcode: 'FETCH_ADD', psn, swapOrAdd: 1n });
  inject(add(0));
  inject(add(1));
  expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0 }, { opcode: 'ATOMIC_ACKNOWLEDGE', psn: 1 });
  inject(add(0));
  expect.nothing();
  expect.counter('drop_duplicate_atomic', 1);
});

for (const depth of [1, 2, 16]) {
  drill(`R-057: with max_dest_rd_atomic ${depth} the last ${depth} results are kept, and no more`, (d) => {
    d.qp('rc', { maxDestRdAtomic: depth });
    const add = (psn: number): Packet => ({ opcode: 'FETCH_ADD', psn, swapOrAdd: 1n });
    for (let psn = 0; psn <= depth; psn++) d.inject(add(psn));
    d.sent();
    for (let psn = 1; psn <= depth; psn++) {
      d.inject(add(psn));
      d.expect.packet({ opcode: 'ATOMIC_ACKNOWLEDGE', psn });
    }
    d.inject(add(0));
    d.expect.nothing();
  });
}

drill('R-059: without room for responses a READ is an invalid request', ({ qp, inject, expect }) => {
  qp('rc', { maxDestRdAtomic: 0 });
  inject(read(0));
  expect.packet(nak('INVALID_REQUEST', 0));
  expect.event('QP_REQ_ERR');
  expect.state('ERR');
});

drill('R-059: one READ more than there is room for is an invalid request', ({ qp, inject, expect }) => {
  qp('rc', { maxDestRdAtomic: 2 });
  inject(read(0, { length: 8 }), read(1, { length: 8 }), read(2, { length: 8 }));
  expect.packet(
    { opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 0 },
    { opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 1 },
    nak('INVALID_REQUEST', 2),
  );
  expect.event('QP_REQ_ERR');
});

drill('R-060: told a depth of 3, a peer may have 4 outstanding: rxe rounds up to a power of two', (d) => {
  d.qp('rc', { maxDestRdAtomic: 3 });
  d.inject(...[0, 1, 2, 3].map((psn) => read(psn, { length: 8 })));
  d.expect.packet(...[0, 1, 2, 3].map((psn) => ({ opcode: 'RDMA_READ_RESPONSE_ONLY', psn })));
});

drill('R-061: after RESET nothing is left of what was', (d) => {
  d.qp('rc', { rqPsn: 0 });
  d.inject(write(0));
  d.expect.packet(ack(0, { msn: 1 }));
  d.inject({ opcode: 'RDMA_WRITE_FIRST', psn: 1, length: 512, payload: 256 }, write(9));
  d.expect.packet(nak('PSN_SEQUENCE_ERROR', 2));
  d.modify('RESET');
  d.connect({ rqPsn: 500 });
  d.inject(write(500));
  d.expect.packet(ack(500, { msn: 1 }));
  d.inject({ opcode: 'FETCH_ADD', psn: 499 });
  d.expect.nothing();
  d.inject(write(502));
  d.expect.packet(nak('PSN_SEQUENCE_ERROR', 501));
  d.expect.memory(REMOTE, filled(500, 8));
});

drill(
  'R-037: so many packets ahead are held as the window says, and run when the gap closes',
  { reorderWindow: 4 },
  (d) => {
    d.qp('rc');
    for (const psn of [1, 4, 5]) d.inject(write(psn, { va: REMOTE + 64 * psn }));
    d.expect.packet(nak('PSN_SEQUENCE_ERROR', 0));
    d.expect.counter('reorder_held', 2);
    d.expect.counter('reorder_full', 1);
    d.expect.that(d.memory.isUntouched, true, 'nothing is written early');
    d.inject(write(0));
    d.expect.packet(nak('PSN_SEQUENCE_ERROR', 2));
    d.expect.memory(REMOTE + 64, filled(1, 8));
    d.expect.untouched(REMOTE + 256, 8);
    d.inject(write(2), write(3));
    d.expect.packet(ack(4, { msn: 5 }));
    d.expect.memory(REMOTE + 256, filled(4, 8));
  },
);

drill(
  'R-037: of all QPs together so many packets are held as the vRNIC has room for',
  { limits: { reorderPackets: 2 } },
  (d) => {
    for (let i = 0; i < 3; i++) {
      d.qp('rc');
      d.inject(write(1));
      d.expect.packet(nak('PSN_SEQUENCE_ERROR', 0));
    }
    d.expect.counter('reorder_held', 2);
    d.expect.counter('reorder_full', 1);
    d.modify('RESET');
  },
);
