/** Drills: the acknowledgement timer, retries, RNR waits, under a clock that the script moves. SPEC-CHECKLIST §2.4. */
import { type Drill, type DrillOptions, drill, type Span } from './language/drill.ts';
import { ack, nak, type Packet, rnrNak } from './language/packet.ts';

const STRICT: DrillOptions = { strictTimers: true };
const write = (psn: number): Packet => ({ opcode: 'RDMA_WRITE_ONLY', psn });
const micros = (count: number): Span => `${count}us`;
/** T in microseconds. */
const ackTimeout = (timeout: number): number => 4.096 * 2 ** timeout;

drill('R-101: the timer runs while something is outstanding, and starts again with each progress', STRICT, (d) => {
  d.qp('rc', { timeout: 14 });
  d.post.write();
  d.post.write();
  d.expect.packet(write(0), write(1));
  d.advance('60ms');
  d.inject(ack(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.advance('60ms');
  d.expect.nothing();
  d.advance('8ms');
  d.expect.packet(write(1));
  d.inject(ack(1));
  d.expect.completion({ wrId: 2, status: 'SUCCESS' });
  d.advance('10s');
  d.expect.counter('local_ack_timeout_err', 1);
});

for (const strictTimers of [true, false]) {
  drill(`R-101: timeout 0 waits for ever (${strictTimers ? 'strict' : 'adaptive'})`, { strictTimers }, (d) => {
    d.qp('rc', { timeout: 0 });
    d.post.write();
    d.expect.packet(write(0));
    d.advance('3600s');
    const packets = d.sent();
    d.expect.state('RTS');
    // Only the specified timer has "never": the adaptive one asks again, and never gives up.
    d.expect.that(packets.length === 0, strictTimers, 'sent again');
    d.expect.that(
      packets.every(({ psn }) => psn === 0),
      true,
      'the same packet',
    );
  });
}

for (let timeout = 1; timeout <= 20; timeout++) {
  drill(`R-102: timeout ${timeout}: nothing is sent again before T, and something by 4 T`, STRICT, (d) => {
    const T = ackTimeout(timeout);
    d.qp('rc', { timeout, retryCnt: 7 });
    d.post.write();
    d.expect.packet(write(0));
    d.advance(micros(T * 0.99));
    d.expect.nothing();
    d.advance(micros(T * 3));
    const again = d.sent();
    d.expect.that(again.length > 0 && again.every(({ psn }) => psn === 0), true, 'sent again');
  });
}

for (const retryCnt of [0, 1, 3, 7]) {
  drill(`R-103: with retry_cnt ${retryCnt} a packet is sent ${retryCnt + 1} times, then its work ends`, STRICT, (d) => {
    d.qp('rc', { timeout: 8, retryCnt });
    d.post.write();
    d.expect.packet(write(0));
    for (let retry = 0; retry < retryCnt; retry++) {
      d.advance(micros(ackTimeout(8)));
      d.expect.packet(write(0));
    }
    d.post.write();
    d.sent();
    d.advance(micros(ackTimeout(8)));
    d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' }, { wrId: 2, status: 'WR_FLUSH_ERR' });
    d.expect.state('ERR');
    d.expect.counter('retry_exceeded_err', 1);
  });
}

for (const retryCnt of [0, 1, 3, 7]) {
  drill(`R-103: the adaptive timer gives up no earlier and no later: after T × ${retryCnt + 1}`, (d) => {
    d.qp('rc', { timeout: 14, retryCnt });
    d.post.write();
    d.advance(micros(ackTimeout(14) * (retryCnt + 1) * 0.99));
    d.expect.state('RTS');
    d.sent();
    d.advance(micros(ackTimeout(14) * (retryCnt + 1) * 0.02));
    d.sent();
    d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' });
    d.expect.state('ERR');
  });
}

drill('R-104: retry_cnt 7 is seven, not for ever: a dead peer ends the QP after 8 T', STRICT, (d) => {
  d.qp('rc', { timeout: 14, retryCnt: 7 });
  d.post.write();
  d.advance(micros(ackTimeout(14) * 8));
  d.expect.packet(...Array.from({ length: 8 }, () => write(0)));
  d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' });
  d.expect.state('ERR');
});

drill('R-105: progress gives all retries back', STRICT, (d) => {
  d.qp('rc', { timeout: 8, retryCnt: 1 });
  for (let psn = 0; psn < 20; psn++) {
    d.post.write();
    d.expect.packet(write(psn));
    d.advance(micros(ackTimeout(8)));
    // Where losses are frequent a lost packet is sent twice.
    const again = d.sent();
    d.expect.that(again.length > 0 && again.every((packet) => packet.psn === psn), true, 'sent again');
    d.inject(ack(psn));
    d.expect.completion({ wrId: psn + 1, status: 'SUCCESS' });
  }
});

drill('R-105: progress gives all RNR retries back', ({ qp, post, inject, expect, advance }) => {
  qp('rc', { rnrRetry: 1 });
  for (let psn = 0; psn < 20; psn++) {
    post.send();
    expect.packet({ opcode: 'SEND_ONLY', psn });
    inject(rnrNak(1, psn));
    advance('10us');
    expect.packet({ opcode: 'SEND_ONLY', psn });
    inject(ack(psn));
    expect.completion({ wrId: psn + 1, status: 'SUCCESS' });
  }
});

drill('R-106: a peer that asks for the same PSN for ever uses the retries up, long before T', (d) => {
  d.qp('rc', { retryCnt: 3, timeout: 14 });
  d.post.write();
  d.expect.packet(write(0));
  for (let round = 0; round < 3; round++) {
    d.advance('1ms');
    d.inject(nak('PSN_SEQUENCE_ERROR', 0));
    d.expect.state('RTS');
  }
  d.advance('1ms');
  d.inject(nak('PSN_SEQUENCE_ERROR', 0));
  d.expect.state('ERR');
  d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' });
  d.expect.that(d.sent().length >= 3, true, 'sent again and again');
  d.expect.counter('retry_exceeded_err', 1);
});

drill('R-106: a peer that acknowledges what is behind a READ, never the READ, does not keep us for ever', (d) => {
  d.qp('rc', { retryCnt: 3, timeout: 14 });
  d.post.read();
  d.post.write();
  for (let round = 0; round < 10; round++) {
    d.advance('40ms');
    d.inject(ack(1));
  }
  d.expect.that(d.sent().length > 4, true, 'sent again and again');
  d.expect.state('ERR');
  d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' }, { wrId: 2, status: 'WR_FLUSH_ERR' });
});

for (const rnrRetry of [0, 1, 6]) {
  drill(`R-107: rnr_retry ${rnrRetry} waits ${rnrRetry} times`, ({ qp, post, inject, expect, advance }) => {
    qp('rc', { rnrRetry });
    post.send();
    for (let retry = 0; retry < rnrRetry; retry++) {
      expect.packet({ opcode: 'SEND_ONLY', psn: 0 });
      inject(rnrNak(1, 0));
      advance('10us');
    }
    expect.packet({ opcode: 'SEND_ONLY', psn: 0 });
    inject(rnrNak(1, 0));
    expect.completion({ wrId: 1, status: 'RNR_RETRY_EXC_ERR' });
    expect.state('ERR');
  });
}

drill('R-107: rnr_retry 7 waits for ever', ({ qp, post, inject, expect, advance }) => {
  qp('rc', { rnrRetry: 7 });
  post.send();
  for (let retry = 0; retry < 100; retry++) {
    expect.packet({ opcode: 'SEND_ONLY', psn: 0 });
    inject(rnrNak(1, 0));
    advance('10us');
  }
  expect.packet({ opcode: 'SEND_ONLY', psn: 0 });
  expect.state('RTS');
});

/** IBA Vol. 1, table of RNR NAK timer codes, in milliseconds. */
const RNR_MILLIS: readonly number[] = [
  655.36, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16, 0.24, 0.32, 0.48, 0.64, 0.96, 1.28, 1.92, 2.56, 3.84, 5.12,
  7.68, 10.24, 15.36, 20.48, 30.72, 40.96, 61.44, 81.92, 122.88, 163.84, 245.76, 327.68, 491.52,
];

for (const [code, millis] of RNR_MILLIS.entries()) {
  drill(`R-108: RNR code ${code} waits ${millis} ms, then sends from the PSN that was refused`, (d) => {
    d.qp('rc', { minRnrTimer: 31 - code });
    d.post.write();
    d.post.send();
    d.post.write();
    d.sent();
    d.inject(rnrNak(code, 1));
    d.expect.completion({ wrId: 1, status: 'SUCCESS' });
    d.advance(micros(millis * 1000 - 1));
    d.expect.nothing();
    d.advance('1.1us');
    d.expect.packet({ opcode: 'SEND_ONLY', psn: 1 }, write(2));
  });
}

drill('R-109: during an RNR wait nothing is sent, and the acknowledgement timer stands', STRICT, (d) => {
  d.qp('rc', { timeout: 8 });
  d.post.send();
  d.post.write();
  d.expect.packet({ opcode: 'SEND_ONLY', psn: 0 }, write(1));
  d.inject(rnrNak(0, 0));
  d.post.write();
  d.advance('655ms');
  d.expect.nothing();
  d.expect.counter('local_ack_timeout_err', 0);
  d.advance('1ms');
  d.expect.packet({ opcode: 'SEND_ONLY', psn: 0 }, write(1), write(2));
});

drill(
  'R-095: without a receive WQE a SEND is answered by an RNR NAK with our timer',
  ({ qp, post, inject, expect }) => {
    qp('rc', { minRnrTimer: 19 });
    const send: Packet = { opcode: 'SEND_ONLY', psn: 0, payload: 'hello', ackReq: true };
    inject(send);
    expect.packet(rnrNak(19, 0, { msn: 0 }));
    expect.counter('send_rnr_err', 1);
    post.recv();
    inject(send);
    expect.packet(ack(0, { msn: 1 }));
    expect.completion({ status: 'SUCCESS', byteLen: 5 });
  },
);

for (const reorderWindow of [0, 32]) {
  drill(
    `R-096: behind an RNR NAK what follows is dropped in silence (${reorderWindow} held)`,
    { reorderWindow },
    (d) => {
      d.qp('rc');
      const send = (psn: number): Packet => ({ opcode: 'SEND_ONLY', psn, payload: 8, ackReq: true });
      d.inject(send(0));
      d.expect.packet(rnrNak(12, 0));
      d.inject(send(1), send(2));
      d.expect.nothing();
      d.expect.counter('drop_rnr_wait', 2);
      d.inject(send(0));
      d.expect.packet(rnrNak(12, 0));
      for (let i = 0; i < 3; i++) d.post.recv();
      d.inject(send(0), send(1), send(2));
      d.expect.packet(ack(2));
      for (let i = 1; i <= 3; i++) d.expect.completion({ wrId: i, status: 'SUCCESS' });
    },
  );
}

drill('R-096: a sequence NAK that follows an RNR NAK changes nothing: the wait stands, no retry is used', (d) => {
  d.qp('rc', { retryCnt: 0 });
  d.post.send();
  d.post.write();
  d.sent();
  d.inject(rnrNak(14, 0), nak('PSN_SEQUENCE_ERROR', 0), nak('PSN_SEQUENCE_ERROR', 0));
  d.advance('1.27ms');
  d.expect.nothing();
  d.advance('0.02ms');
  d.expect.packet({ opcode: 'SEND_ONLY', psn: 0 }, write(1));
  d.expect.state('RTS');
});

for (const type of ['uc', 'ud'] as const) {
  drill(`R-097: ${type.toUpperCase()} drops what finds no receive WQE, in silence`, ({ qp, inject, expect }) => {
    qp(type);
    inject({ opcode: 'SEND_ONLY', psn: 0, payload: 8 });
    expect.nothing();
    expect.counter('out_of_buffer', 1);
    expect.state('RTS');
  });
}

drill('R-126: a peer that does not know us answers nothing: RETRY_EXC_ERR', ({ qp, post, advance, sent, expect }) => {
  qp('rc', { timeout: 8, retryCnt: 2 });
  post.send();
  advance('1s');
  expect.that(
    sent().every(({ psn }) => psn === 0),
    true,
    'only the SEND',
  );
  expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' });
  expect.state('ERR');
});

drill('R-126: we answer nothing for a QP that is none, nor in RESET', ({ qp, modify, inject, expect }) => {
  qp('rc');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true, dest: 0x123456 });
  expect.counter('drop_no_qp', 1);
  modify('RESET');
  inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true });
  expect.counter('drop_qp_state', 1);
});

drill('R-102: the adaptive timer follows the round trip: on a slow path it waits longer, on a fast one less', (d) => {
  const waited = (roundTrip: Span): number => {
    d.qp('rc', { timeout: 18 });
    for (let psn = 0; psn < 20; psn++) {
      d.post.write();
      d.advance(roundTrip);
      d.inject(ack(psn));
      d.expect.completion({ status: 'SUCCESS' });
    }
    d.post.write();
    d.sent();
    const start = d.now;
    while (d.sent().length === 0) d.advance('100us');
    return d.now - start;
  };
  const [fast, slow] = [waited('20us'), waited('30ms')];
  d.expect.that(fast >= 20 && fast < 10_000, true, `${fast} µs on the fast path`);
  d.expect.that(slow >= 30_000 && slow < 1_000_000, true, `${slow} µs on the slow path`);
});

for (const [opcode, post] of [
  ['SEND_ONLY', (d: Drill) => d.post.send()],
  ['RDMA_READ_REQUEST', (d: Drill) => d.post.read()],
  ['FETCH_ADD', (d: Drill) => d.post.fetchAdd({ add: 1n })],
  ['ATOMIC_WRITE', (d: Drill) => d.post.atomicWrite({ inline: '8 octets' })],
  ['FLUSH', (d: Drill) => d.post.flush(0x1_8000, 8, 0x77)],
] as const) {
  drill(`R-103: a ${opcode} that is not answered is sent again, and ends as any other`, STRICT, (d) => {
    d.qp('rc', { timeout: 8, retryCnt: 2 });
    post(d);
    for (let sent = 0; sent < 3; sent++) {
      d.expect.packet({ opcode, psn: 0 });
      d.expect.nothing();
      d.advance(micros(ackTimeout(8)));
    }
    d.expect.completion({ wrId: 1, status: 'RETRY_EXC_ERR' });
    d.expect.state('ERR');
  });
}
