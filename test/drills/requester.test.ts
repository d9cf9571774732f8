/** Drills: what an RC requester sends, and what it makes of acknowledgements and responses. SPEC-CHECKLIST §2.2, §2.4. */
import { type Drill, drill, LOCAL, REMOTE } from './language/drill.ts';
import { ack, nak, type Packet, rnrNak } from './language/packet.ts';

const FIRST: Packet = { opcode: 'RDMA_READ_RESPONSE_FIRST', psn: 0, payload: 256 };
const MIDDLE: Packet = { opcode: 'RDMA_READ_RESPONSE_MIDDLE', psn: 1, payload: 256 };
const LAST: Packet = { opcode: 'RDMA_READ_RESPONSE_LAST', psn: 2, payload: 88 };
const only = (psn: number, payload: Packet['payload'] = 8): Packet => ({
  opcode: 'RDMA_READ_RESPONSE_ONLY',
  psn,
  payload,
});
const write = (psn: number): Packet => ({ opcode: 'RDMA_WRITE_ONLY', psn });
const read = (psn: number, more: Partial<Packet> = {}): Packet => ({ opcode: 'RDMA_READ_REQUEST', psn, ...more });

drill(
  'R-030: what is sent again has its PSN, opcode and octets',
  { strictTimers: true },
  ({ qp, post, expect, advance, memory }) => {
    qp('rc', { timeout: 8 });
    const octets = memory.octets(LOCAL, 100);
    post.send({ length: 100, imm: 5, solicited: true });
    const packet: Packet = { opcode: 'SEND_ONLY_WITH_IMMEDIATE', psn: 0, imm: 5, solicited: true, payload: octets };
    expect.packet(packet);
    advance('1.1ms');
    expect.packet(packet);
    expect.counter('retransmitted_pkts', 1);
  },
);

drill(
  'R-033: each packet takes a PSN, a READ as many as its responses, an empty message one',
  ({ qp, post, expect }) => {
    qp('rc', { maxRdAtomic: 16 });
    post.write({ length: 600 });
    post.read({ length: 600 });
    post.read({ sges: [] });
    post.fetchAdd({ add: 1n });
    post.send({ sges: [] });
    post.write({ length: 256 });
    expect.packet(
      { opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 600, payload: 256 },
      { opcode: 'RDMA_WRITE_MIDDLE', psn: 1, payload: 256 },
      { opcode: 'RDMA_WRITE_LAST', psn: 2, payload: 88 },
      read(3, { length: 600 }),
      read(6, { length: 0 }),
      { opcode: 'FETCH_ADD', psn: 7, swapOrAdd: 1n },
      { opcode: 'SEND_ONLY', psn: 8, payload: 0 },
      { opcode: 'RDMA_WRITE_ONLY', psn: 9, payload: 256 },
    );
  },
);

drill('R-034: responses carry the PSN of their request, and count on from it', ({ qp, inject, expect }) => {
  qp('rc', { rqPsn: 0xff_fffe });
  inject(read(0xff_fffe, { length: 600 }));
  expect.packet(
    { ...FIRST, psn: 0xff_fffe, syndrome: 'ACK' },
    { ...MIDDLE, psn: 0xff_ffff },
    { ...LAST, psn: 0, syndrome: 'ACK' },
  );
});

drill('R-035: of a READ of 2^31 octets at MTU 256 only part is asked for at once', ({ qp, post, sent, expect }) => {
  qp('rc', { mtu: 256, maxRdAtomic: 128 });
  post.read({ length: 2 ** 31 });
  const requests = sent();
  const psns = requests.reduce((sum, { length = 0 }) => sum + length / 256, 0);
  expect.that(psns > 0 && psns < 2 ** 23, true, `${psns} PSNs outstanding`);
});

drill('R-039: a NAK acknowledges all before the PSN that it names', ({ qp, post, inject, expect }) => {
  qp('rc');
  for (let i = 0; i < 4; i++) post.write();
  expect.packet(write(0), write(1), write(2), write(3));
  inject(nak('PSN_SEQUENCE_ERROR', 2));
  expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS' });
  expect.packet(write(2));
  inject(ack(3));
  expect.completion({ wrId: 3, status: 'SUCCESS' }, { wrId: 4, status: 'SUCCESS' });
});

drill('R-040: a NAK behind a READ that was not answered asks for the READ again', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.read();
  post.send();
  expect.packet(read(0), { opcode: 'SEND_ONLY', psn: 1 });
  inject(nak('PSN_SEQUENCE_ERROR', 1));
  expect.packet(read(0), { opcode: 'SEND_ONLY', psn: 1 });
  inject(only(0), ack(1));
  expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS' });
});

drill('R-041: one ACK acknowledges all before it', ({ qp, post, inject, expect }) => {
  qp('rc');
  for (let i = 0; i < 3; i++) post.write();
  post.send({ length: 600 });
  expect.packet(write(0), write(1), write(2), { opcode: 'SEND_FIRST', psn: 3 });
  expect.packet({ opcode: 'SEND_MIDDLE', psn: 4 }, { opcode: 'SEND_LAST', psn: 5 });
  inject(ack(4));
  for (const wrId of [1, 2, 3]) expect.completion({ wrId, status: 'SUCCESS' });
  expect.nothing();
  inject(ack(5));
  expect.completion({ wrId: 4, status: 'SUCCESS' });
});

drill('R-041: a READ response acknowledges the WRITEs before its READ', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.write();
  post.read();
  expect.packet(write(0), read(1));
  inject(only(1));
  expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS' });
});

drill(
  'R-042: an ACK beyond a READ says that its response is lost: it is asked for again',
  ({ qp, post, inject, expect }) => {
    qp('rc');
    post.read();
    post.write();
    expect.packet(read(0), write(1));
    inject(ack(1));
    // The WRITE behind it was acknowledged.
    expect.packet(read(0));
    expect.counter('implied_nak_seq_err', 1);
    inject(only(0));
    expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS' });
  },
);

drill('R-043: a gap in READ responses is asked for again at once, from the first that is missing', (d) => {
  d.qp('rc');
  d.post.read({ length: 600, to: REMOTE });
  d.expect.packet(read(0, { va: REMOTE, length: 600 }));
  d.inject(FIRST, LAST);
  // What came behind the gap is kept.
  d.expect.packet(read(1, { va: REMOTE + 256, length: 256 }));
  d.inject(only(1, 256));
  d.expect.completion({ wrId: 1, status: 'SUCCESS', opcode: 'RDMA_READ', byteLen: 600 });
});

drill('R-044: fifty responses behind a gap ask once', ({ qp, post, inject, expect }) => {
  qp('rc', { maxRdAtomic: 16 });
  post.read({ length: 256 * 60 });
  expect.packet(read(0));
  for (let psn = 10; psn < 59; psn++) inject({ ...MIDDLE, psn });
  inject({ ...LAST, psn: 59, payload: 256 });
  expect.packet(read(0, { length: 2560 }));
  expect.counter('implied_nak_seq_err', 1);
});

drill(
  'R-045: an ACK inside an unfinished READ neither completes nor repeats anything',
  ({ qp, post, inject, expect }) => {
    qp('rc');
    post.read({ length: 600 });
    expect.packet(read(0));
    inject(FIRST);
    inject(ack(2));
    expect.nothing();
    inject(MIDDLE, LAST);
    expect.completion({ wrId: 1, status: 'SUCCESS' });
  },
);

drill('R-046: an ACK for what is acknowledged already changes nothing', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.write();
  post.write();
  expect.packet(write(0), write(1));
  inject(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  inject(ack(0), ack(0));
  expect.nothing();
  inject(ack(1));
  expect.completion({ wrId: 2, status: 'SUCCESS' });
});

for (const answer of [ack(1), nak('REMOTE_ACCESS_ERROR', 1), nak('PSN_SEQUENCE_ERROR', 5), only(7)]) {
  drill(`R-047: ${answer.syndrome ?? answer.opcode} for a PSN that was not sent yet is passed over`, (d) => {
    d.qp('rc');
    d.post.write();
    d.expect.packet(write(0));
    d.inject(answer);
    d.expect.nothing();
    d.expect.counter('drop_response', 1);
    d.expect.state('RTS');
    d.inject(ack(0));
    d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  });
}

drill('R-051: the last packet of each message asks for an ACK, even when nobody wants its completion', (d) => {
  d.qp('rc');
  d.post.write({ length: 600, signaled: false });
  d.post.send();
  d.expect.packet({ opcode: 'RDMA_WRITE_FIRST', ackReq: false }, { opcode: 'RDMA_WRITE_MIDDLE', ackReq: false });
  d.expect.packet({ opcode: 'RDMA_WRITE_LAST', ackReq: true }, { opcode: 'SEND_ONLY', ackReq: true });
});

drill('R-051: inside a long message every 16th packet asks', ({ qp, post, sent, expect }) => {
  qp('rc');
  post.write({ length: 256 * 40 });
  const asking = sent().flatMap(({ psn, ackReq }) => (ackReq ? [psn] : []));
  expect.that(asking, [15, 31, 39], 'PSNs that ask');
});

drill('R-058: no more than max_rd_atomic READs and atomics are outstanding; what is behind waits', (d) => {
  d.qp('rc', { maxRdAtomic: 2 });
  d.post.read();
  d.post.fetchAdd({ add: 1n });
  d.post.read();
  d.post.write();
  d.expect.packet(read(0), { opcode: 'FETCH_ADD', psn: 1 });
  d.expect.nothing();
  d.inject(only(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.packet(read(2), write(3));
});

for (const [syndrome, status, counter] of [
  ['INVALID_REQUEST', 'REM_INV_REQ_ERR', 'req_remote_invalid_request'],
  ['REMOTE_ACCESS_ERROR', 'REM_ACCESS_ERR', 'req_remote_access_errors'],
  ['REMOTE_OPERATIONAL_ERROR', 'REM_OP_ERR', 'req_remote_operational_errors'],
] as const) {
  drill(
    `R-110: NAK ${syndrome} is ${status} to its work request; those before end well, those behind are flushed`,
    (d) => {
      d.qp('rc');
      for (let i = 0; i < 3; i++) d.post.write();
      d.expect.packet(write(0), write(1), write(2));
      d.inject(nak(syndrome, 1));
      d.expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status }, { wrId: 3, status: 'WR_FLUSH_ERR' });
      d.expect.counter(counter, 1);
      d.expect.state('ERR');
    },
  );
}

for (const syndrome of [0x40, 0x5f, 0x65, 0x7f]) {
  drill(`R-111: reserved syndrome 0x${syndrome.toString(16)} is passed over`, ({ qp, post, inject, expect }) => {
    qp('rc');
    post.write();
    expect.packet(write(0));
    inject(nak(syndrome, 0));
    expect.nothing();
    expect.counter('drop_response', 1);
    expect.state('RTS');
  });
}

drill('R-112: an atomic’s answer to a READ is BAD_RESP_ERR', ({ qp, post, inject, expect, memory }) => {
  qp('rc');
  post.read();
  expect.packet(read(0));
  inject({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0, original: 1n });
  expect.completion({ wrId: 1, status: 'BAD_RESP_ERR' });
  expect.state('ERR');
  expect.that(memory.isUntouched, true, 'memory');
});

for (const opcode of ['ATOMIC_ACKNOWLEDGE', 'RDMA_READ_RESPONSE_ONLY']) {
  drill(`R-112: ${opcode} to a WRITE is BAD_RESP_ERR`, ({ qp, post, inject, expect }) => {
    qp('rc');
    post.write();
    expect.packet(write(0));
    inject({ opcode, psn: 0 });
    expect.completion({ wrId: 1, status: 'BAD_RESP_ERR' });
    expect.state('ERR');
  });
}

for (const [what, response] of [
  ['four octets too long', only(0, 12)],
  ['four octets too short', only(0, 4)],
  ['empty', only(0, 0)],
] as const) {
  drill(`R-113: a READ response ${what} is LOC_LEN_ERR, and nothing is written`, (d) => {
    d.qp('rc');
    d.post.read({ length: 8 });
    d.expect.packet(read(0));
    d.inject(response);
    d.expect.completion({ wrId: 1, status: 'LOC_LEN_ERR' });
    d.expect.state('ERR');
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

drill('R-113: a READ response that does not end where it should is BAD_RESP_ERR', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.read({ length: 512 });
  expect.packet(read(0));
  inject(FIRST, MIDDLE);
  expect.completion({ wrId: 1, status: 'BAD_RESP_ERR' });
  expect.untouched(LOCAL + 512, 256);
});

drill('R-114: a READ into a wrong key is LOC_PROT_ERR when its data comes', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.read({ lKey: 0x1234 });
  expect.packet(read(0));
  inject(only(0));
  expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
  expect.state('ERR');
});

drill('R-114: a READ into a region without LOCAL_WRITE is LOC_PROT_ERR', ({ qp, post, region, inject, expect }) => {
  const sealed = region({ access: 0 });
  qp('rc');
  post.read({ sges: [{ address: 0x10_0000, length: 8, lKey: sealed.key }] });
  expect.packet(read(0));
  inject(only(0));
  expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
  expect.that(sealed.isUntouched, true, 'memory');
});

drill(
  'R-115: an atomic into a wrong key is asked for all the same, and ends with LOC_PROT_ERR',
  ({ qp, post, inject, expect }) => {
    qp('rc');
    post.fetchAdd({ add: 1n, lKey: 0x1234 });
    expect.packet({ opcode: 'FETCH_ADD', psn: 0 });
    inject({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0, original: 5n });
    expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
    expect.state('ERR');
  },
);

drill('R-116: a READ that goes on has its address, length and PSN moved on', ({ qp, post, inject, expect }) => {
  qp('rc', { sqPsn: 0xff_ffff });
  post.read({ length: 1024, to: 0xffff_ff00 });
  expect.packet(read(0xff_ffff, { va: 0xffff_ff00, length: 1024 }));
  inject({ ...FIRST, psn: 0xff_ffff }, { ...MIDDLE, psn: 0 }, { ...LAST, psn: 2, payload: 256 });
  expect.packet(read(1, { va: 0x1_0000_0100n, length: 256 }));
});

drill('R-117: of a READ what came is placed; it completes when all has come', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.read({ length: 600 });
  expect.packet(read(0));
  inject({ ...FIRST, payload: 'x'.repeat(256) });
  expect.memory(LOCAL, 'x'.repeat(256));
  expect.untouched(LOCAL + 256, 344);
  expect.nothing();
  inject(MIDDLE, LAST);
  expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 600 });
});

drill('R-118: what is sent again is read again from memory; inline data was copied', { strictTimers: true }, (d) => {
  d.qp('rc', { timeout: 8 });
  d.memory.bytes.set(new TextEncoder().encode('first'));
  d.post.send({ length: 5 });
  d.post.send({ inline: 'inline' });
  d.expect.packet(
    { opcode: 'SEND_ONLY', psn: 0, payload: 'first' },
    { opcode: 'SEND_ONLY', psn: 1, payload: 'inline' },
  );
  d.memory.bytes.set(new TextEncoder().encode('again'));
  d.advance('1.1ms');
  d.expect.packet({ opcode: 'SEND_ONLY', psn: 0, payload: 'again' });
  d.inject(ack(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.packet({ opcode: 'SEND_ONLY', psn: 1, payload: 'inline' });
});

drill('R-119: a fenced work request waits for the READs and atomics before it, not for the WRITEs', (d) => {
  d.qp('rc');
  d.post.read();
  d.post.write();
  d.post.write({ fence: true });
  d.expect.packet(read(0), write(1));
  d.expect.nothing();
  d.inject(only(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.packet(write(2));
});

drill('R-120: LOCAL_INV waits for all work requests before it', (d) => {
  const { mr, lKey } = d.execute({ op: 'allocMr', pd: d.pd, maxBytes: 4096 });
  d.qp('rc');
  d.post.write();
  d.post.localInv(lKey);
  d.post.write();
  d.expect.packet(write(0));
  d.expect.nothing();
  d.inject(ack(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS', opcode: 'LOCAL_INV' });
  d.expect.packet(write(1));
  d.execute({ op: 'deregMr', mr });
});

drill('R-121: without a fence a SEND leaves before the READ ahead of it is answered', ({ qp, post, expect }) => {
  qp('rc');
  post.read();
  post.send();
  expect.packet(read(0), { opcode: 'SEND_ONLY', psn: 1 });
});

drill('R-122: work completes in the order in which it was posted', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.read();
  post.send();
  post.fetchAdd({ add: 1n });
  post.write();
  expect.packet(read(0), { opcode: 'SEND_ONLY', psn: 1 }, { opcode: 'FETCH_ADD', psn: 2 }, write(3));
  inject(only(0), ack(1), { opcode: 'ATOMIC_ACKNOWLEDGE', psn: 2, original: 9n }, ack(3));
  for (const [i, opcode] of (['RDMA_READ', 'SEND', 'FETCH_ADD', 'RDMA_WRITE'] as const).entries()) {
    expect.completion({ wrId: i + 1, status: 'SUCCESS', opcode });
  }
  expect.word(LOCAL, 9n);
});

drill('R-123: a peer that gives no credits is sent to all the same', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.send();
  expect.packet({ opcode: 'SEND_ONLY', psn: 0 });
  inject(ack(0, { credits: 0 }));
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  post.send();
  post.send();
  expect.packet({ opcode: 'SEND_ONLY', psn: 1 }, { opcode: 'SEND_ONLY', psn: 2 });
});

drill('R-123: our own ACKs say that credits are not counted', ({ qp, inject, expect }) => {
  qp('rc');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true });
  expect.packet(ack(0, { credits: 31 }));
});

for (const [name, request, post] of [
  [
    'ATOMIC_WRITE',
    { opcode: 'ATOMIC_WRITE', payload: '8 octets' },
    (d: Drill) => d.post.atomicWrite({ inline: '8 octets' }),
  ],
  ['FLUSH', { opcode: 'FLUSH', length: 4096 }, (d: Drill) => d.post.flush(REMOTE, 4096, 0x77)],
] as const) {
  drill(`R-085: an ${name} is completed by an empty READ response of its own, not by an ACK`, (d) => {
    d.qp('rc');
    post(d);
    d.post.write();
    d.expect.packet({ psn: 0, va: REMOTE, ...request }, write(1));
    d.inject(ack(1));
    d.expect.packet({ psn: 0, ...request });
    d.sent();
    d.inject(only(0, 0), ack(1));
    d.expect.completion({ wrId: 1, status: 'SUCCESS', opcode: name }, { wrId: 2, status: 'SUCCESS' });
  });
  for (const answer of [only(0, 8), { ...FIRST, payload: 0 }, { opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0 }]) {
    drill(`R-112: ${answer.opcode} of ${answer.payload ?? 8} octets to an ${name} is BAD_RESP_ERR`, (d) => {
      d.qp('rc');
      post(d);
      d.expect.packet({ psn: 0, ...request });
      d.inject(answer);
      d.expect.completion({ wrId: 1, status: 'BAD_RESP_ERR' });
      d.expect.state('ERR');
    });
  }
}

drill('R-044: copies of one NAK are acted upon once', ({ qp, post, inject, advance, expect, sent }) => {
  qp('rc');
  post.write();
  expect.packet(write(0));
  advance('1ms');
  inject(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  for (let i = 0; i < 4; i++) post.write();
  sent();
  inject(nak('PSN_SEQUENCE_ERROR', 1), nak('PSN_SEQUENCE_ERROR', 1), nak('PSN_SEQUENCE_ERROR', 1));
  expect.that(sent().filter(({ psn }) => psn === 1).length, 1, 'repetitions');
  advance('1ms');
  inject(nak('PSN_SEQUENCE_ERROR', 1));
  expect.that(
    sent().some(({ psn }) => psn === 1),
    true,
    'later it is a new one',
  );
});

drill('R-028: notifications slow the sender down: less is in flight', (d) => {
  const inFlight = (notifications: number): number => {
    d.qp('rc', { mtu: 1024 });
    d.post.write();
    d.sent();
    for (let i = 0; i < notifications; i++) {
      d.advance('60us');
      d.inject({ opcode: 'CNP', becn: true });
    }
    d.inject(ack(0));
    d.expect.completion({ status: 'SUCCESS' });
    for (let i = 0; i < 8; i++) d.post.write({ length: 65_536 });
    return d.sent().length;
  };
  const [free, slowed] = [inFlight(0), inFlight(8)];
  d.expect.that(slowed < free / 2 && slowed > 0, true, `${free} packets, then ${slowed}`);
});

for (const syndrome of ['REMOTE_ACCESS_ERROR', 'RNR_NAK', 0x40] as const) {
  drill(`R-112: a READ response whose AETH is no acknowledgement (${syndrome}) is BAD_RESP_ERR`, (d) => {
    d.qp('rc');
    d.post.read();
    d.expect.packet(read(0));
    d.inject({ ...only(0), syndrome });
    d.expect.completion({ wrId: 1, status: 'BAD_RESP_ERR' });
    d.expect.state('ERR');
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
  drill(`R-112: so is an atomic’s answer (${syndrome})`, (d) => {
    d.qp('rc');
    d.post.fetchAdd({ add: 1n });
    d.expect.packet({ opcode: 'FETCH_ADD', psn: 0 });
    d.inject({ opcode: 'ATOMIC_ACKNOWLEDGE', psn: 0, syndrome });
    d.expect.completion({ wrId: 1, status: 'BAD_RESP_ERR' });
    d.expect.that(d.memory.isUntouched, true, 'memory');
  });
}

drill(
  'R-040: an RNR NAK behind a READ that was not answered asks for the READ again',
  ({ qp, post, inject, expect, sent }) => {
    qp('rc');
    post.read();
    post.send();
    expect.packet(read(0), { opcode: 'SEND_ONLY', psn: 1 });
    inject(rnrNak(1, 1));
    expect.that(
      sent().some(({ opcode, psn }) => opcode === 'RDMA_READ_REQUEST' && psn === 0),
      true,
      'asked again',
    );
    inject(only(0), ack(1));
    expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS' });
  },
);
