/** Drills: work requests, completions and the queues between. SPEC-CHECKLIST §2.6. */
import { Cqe } from '../../rnic/queue/layout.ts';
import { openRing } from '../support/sim/work.ts';
import { type Drill, drill, LOCAL, REMOTE } from './language/drill.ts';
import { ack, nak, type Packet } from './language/packet.ts';

const write = (psn: number): Packet => ({ opcode: 'RDMA_WRITE_ONLY', psn });
const SEND: Packet = { opcode: 'SEND_ONLY', psn: 0, payload: 8 };
const REFUSED = nak('REMOTE_ACCESS_ERROR', 0);

drill('R-094: only the last packet of a SEND or of a WRITE with immediate data says that it is solicited', (d) => {
  d.qp('rc');
  d.post.send({ length: 600, solicited: true });
  d.expect.packet({ opcode: 'SEND_FIRST', solicited: false }, { opcode: 'SEND_MIDDLE', solicited: false });
  d.expect.packet({ opcode: 'SEND_LAST', solicited: true });
  d.post.write({ length: 300, imm: 1, solicited: true });
  d.expect.packet({ opcode: 'RDMA_WRITE_FIRST', solicited: false });
  d.expect.packet({ opcode: 'RDMA_WRITE_LAST_WITH_IMMEDIATE', solicited: true });
  d.post.write({ solicited: true });
  d.expect.packet({ opcode: 'RDMA_WRITE_ONLY', solicited: false });
  d.post.read({ solicited: true });
  d.expect.packet({ opcode: 'RDMA_READ_REQUEST', solicited: false });
});

for (const [what, status, post] of [
  ['of an opcode that is none', 'LOC_QP_OP_ERR', (d: Drill) => d.post.raw(63)],
  [
    'of more SGEs than the QP takes',
    'LOC_QP_OP_ERR',
    (d: Drill) =>
      d.post.send({ sges: Array.from({ length: 5 }, () => ({ address: LOCAL, length: 1, lKey: d.memory.key })) }),
  ],
  ['of more inline data than the QP takes', 'LOC_LEN_ERR', (d: Drill) => d.post.send({ inline: 65 })],
  [
    'of more than 2^31 octets',
    'LOC_LEN_ERR',
    (d: Drill) =>
      d.post.write({ sges: [2 ** 31, 1].map((length) => ({ address: LOCAL, length, lKey: d.memory.key })) }),
  ],
  ['of an atomic of 16 octets', 'LOC_LEN_ERR', (d: Drill) => d.post.fetchAdd({ add: 1n, length: 16 })],
  ['of an atomic of no octets', 'LOC_LEN_ERR', (d: Drill) => d.post.compareSwap({ sges: [] })],
  ['of a READ with inline data', 'LOC_QP_OP_ERR', (d: Drill) => d.post.read({ inline: 8 })],
] as const) {
  drill(`R-142: a work request ${what} is ${status}, and nothing of it leaves`, (d) => {
    d.qp('rc', { cap: { maxSendSge: 4, maxInlineData: 64 } });
    post(d);
    d.expect.completion({ wrId: 1, status });
    d.expect.state('ERR');
  });
}

drill('R-143: a queue holds what creation answered, at least what was asked for', (d) => {
  const cq = d.cq();
  for (const depth of [1, 5, 7, 100]) {
    const cap = { maxSendWr: depth, maxRecvWr: depth, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
    const command = { pd: d.pd, type: 2, sendCq: cq.handle, recvCq: cq.handle, cap, sqSigAll: false } as const;
    const { cap: granted } = d.execute({ op: 'createQp', ...command });
    d.expect.that(granted.maxSendWr >= depth && granted.maxRecvWr >= depth, true, `${depth} granted`);
  }
});

drill('R-145: what is posted in ERR is flushed, on both queues', ({ qp, post, advance, expect }) => {
  qp('rc', { state: 'ERR' });
  post.send();
  expect.completion({ wrId: 1, status: 'WR_FLUSH_ERR' });
  post.recv();
  advance('100ms');
  expect.completion({ wrId: 2, status: 'WR_FLUSH_ERR' });
});

drill(
  'R-146: inline data needs no key, and is its own from the moment it is posted',
  ({ qp, post, memory, expect, together }) => {
    qp('rc');
    together(() => {
      post.send({ inline: 'as posted' });
      memory.bytes.fill(0);
    });
    expect.packet({ opcode: 'SEND_ONLY', payload: 'as posted' });
  },
);

drill(
  'R-147: success that is not signaled gives no completion, an error always does',
  ({ qp, post, inject, expect }) => {
    qp('rc');
    post.write({ signaled: false });
    post.write({ signaled: false });
    expect.packet(write(0), write(1));
    inject(ack(0));
    expect.nothing();
    inject(nak('REMOTE_ACCESS_ERROR', 1));
    expect.completion({ wrId: 2, status: 'REM_ACCESS_ERR' });
  },
);

drill('R-147: work that is not signaled gives its place in the queue back', ({ qp, post, inject, expect, sent }) => {
  const { sq } = qp('rc', { cap: { maxSendWr: 3 } });
  for (let psn = 0; psn < 30; psn += 3) {
    for (let i = 0; i < 3; i++) post.write({ signaled: false });
    inject(ack(psn + 2));
    expect.that(sq.count(), 0, 'places taken');
  }
  sent();
});

drill('R-148: sq_sig_all signals every work request', ({ qp, post, inject, expect }) => {
  qp('rc', { sqSigAll: true });
  post.write({ signaled: false });
  expect.packet(write(0));
  inject(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill(
  'R-149: each work request completes once, also when its QP fails in the middle',
  ({ qp, post, inject, expect }) => {
    qp('rc');
    for (let i = 1; i <= 6; i++) post.write({ wrId: i });
    for (let i = 7; i <= 9; i++) post.recv({ wrId: i });
    expect.packet(...[0, 1, 2, 3, 4, 5].map(write));
    inject(ack(1), nak('REMOTE_OPERATIONAL_ERROR', 2));
    for (const wrId of [1, 2]) expect.completion({ wrId, status: 'SUCCESS' });
    expect.completion({ wrId: 3, status: 'REM_OP_ERR' });
    for (let wrId = 4; wrId <= 9; wrId++) expect.completion({ wrId, status: 'WR_FLUSH_ERR' });
    expect.counter('req_cqe_error', 1);
    expect.counter('req_cqe_flush_error', 3);
    expect.counter('resp_cqe_flush_error', 3);
  },
);

drill('R-150: the one that fails says why, those behind it are flushed in order', ({ qp, post, inject, expect }) => {
  qp('rc');
  post.write();
  post.write({ lKey: 0x1234 });
  post.write();
  expect.packet(write(0));
  expect.nothing();
  inject(ack(0));
  expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'LOC_PROT_ERR' });
  expect.completion({ wrId: 3, status: 'WR_FLUSH_ERR' });
});

drill('R-151: an error still says whose it is: wr_id, status, QP', (d) => {
  const { qpn, sendCq } = d.qp('rc');
  d.post.write({ wrId: 0x7fff_fff1 });
  d.expect.packet(write(0));
  d.inject(REFUSED);
  const { ring } = sendCq;
  d.expect.that(ring.view.getUint32(ring.slotAt(ring.consumer()) + Cqe.QP_NUM, true), qpn, 'qp_num');
  d.expect.completion({ wrId: 0x7fff_fff1, status: 'REM_ACCESS_ERR' });
});

drill('R-152: when the QP of an SRQ fails, what it took is flushed and the SRQ keeps the rest', (d) => {
  d.qp('rc', { srq: d.srq() });
  for (let i = 0; i < 3; i++) d.post.recv({ length: 512 });
  d.inject({ opcode: 'SEND_FIRST', psn: 0, payload: 256 });
  d.modify('ERR');
  d.expect.completion({ wrId: 1, status: 'WR_FLUSH_ERR' });
  d.expect.event('QP_LAST_WQE_REACHED');
  d.modify('ERR');
  d.expect.nothing();
});

drill('R-153: work that is posted long after the error is flushed too', ({ qp, post, inject, advance, expect }) => {
  qp('rc');
  post.write();
  expect.packet(write(0));
  inject(REFUSED);
  expect.completion({ wrId: 1, status: 'REM_ACCESS_ERR' });
  advance('10s');
  post.write();
  expect.completion({ wrId: 2, status: 'WR_FLUSH_ERR' });
  post.recv();
  advance('100ms');
  expect.completion({ wrId: 3, status: 'WR_FLUSH_ERR' });
});

drill('R-154: RESET drops what was posted, without completions', ({ qp, post, modify, advance, expect, sent }) => {
  qp('rc');
  post.write();
  post.recv();
  modify('RESET');
  sent();
  advance('10s');
  expect.nothing();
});

drill('R-155: a QP that was destroyed completes nothing, and its number names nobody for a while', (d) => {
  const qp = d.qp('rc');
  d.post.write();
  d.expect.packet(write(0));
  d.execute({ op: 'destroyQp', qp: qp.handle });
  d.inject(ack(0, { dest: qp.qpn }));
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, dest: qp.qpn });
  d.expect.counter('drop_quarantined_qp', 2);
  for (let i = 0; i < 50; i++) d.expect.that(d.qp('rc').qpn === qp.qpn, false, 'the number again');
});

drill('R-156: a CQ that is full overwrites nothing: CQ_ERR, and its QPs fail', (d) => {
  const cq = d.cq(3);
  d.qp('rc', { sendCq: cq });
  for (let i = 0; i < 4; i++) d.post.write();
  d.expect.packet(...[0, 1, 2, 3].map(write));
  d.inject(ack(3));
  for (const wrId of [1, 2, 3]) d.expect.completion({ wrId, status: 'SUCCESS' });
  d.expect.event('CQ_ERR', 'QP_FATAL');
  d.expect.state('ERR');
  d.expect.counter('cq_overrun', 1);
});

drill('R-157: completions of one queue are in order on a CQ that several share', (d) => {
  const cq = d.cq();
  const [a, b] = [d.qp('rc', { sendCq: cq }), d.qp('rc', { sendCq: cq })];
  for (const [qp, first] of [
    [a, 10],
    [b, 20],
  ] as const) {
    d.use(qp);
    for (let i = 0; i < 2; i++) d.post.write({ wrId: first + i });
  }
  d.sent();
  d.inject(ack(0));
  d.use(a);
  d.inject(ack(1));
  d.use(b);
  d.inject(ack(1));
  for (const wrId of [20, 10, 11, 21]) d.expect.completion({ wrId, status: 'SUCCESS' });
});

drill('R-158: an armed CQ tells once', (d) => {
  const { channel } = d.execute({ op: 'createCompChannel' });
  const cq = d.cq(15, channel);
  d.qp('rc', { sendCq: cq });
  d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly: false });
  for (let i = 0; i < 2; i++) d.post.write();
  d.sent();
  d.inject(ack(0));
  d.expect.wake(cq);
  d.inject(ack(1));
  d.expect.completion({ wrId: 1 }, { wrId: 2 });
});

drill('R-158: armed for solicited events a CQ tells of those and of errors', (d) => {
  const { channel } = d.execute({ op: 'createCompChannel' });
  const cq = d.cq(15, channel);
  d.qp('rc', { sendCq: cq });
  const arm = () => d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly: true });
  for (let i = 0; i < 3; i++) d.post.recv();
  arm();
  d.inject({ ...SEND, psn: 0 });
  d.expect.completion({ wrId: 1 });
  d.expect.nothing();
  d.inject({ ...SEND, psn: 1, solicited: true });
  d.expect.wake(cq);
  d.expect.completion({ wrId: 2 });
  arm();
  d.modify('ERR');
  d.expect.wake(cq);
  d.expect.completion({ wrId: 3, status: 'WR_FLUSH_ERR' });
});

drill('R-158: arming for all is not taken back by arming for solicited ones', (d) => {
  const { channel } = d.execute({ op: 'createCompChannel' });
  const cq = d.cq(15, channel);
  d.qp('rc', { sendCq: cq });
  d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly: false });
  d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly: true });
  d.post.recv();
  d.inject(SEND);
  d.expect.wake(cq);
  d.expect.completion({ wrId: 1 });
});

drill('R-159: what completed before the arming is there to be polled after it', (d) => {
  const { channel } = d.execute({ op: 'createCompChannel' });
  const cq = d.cq(15, channel);
  d.qp('rc', { sendCq: cq });
  d.post.recv();
  d.inject(SEND);
  d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly: false });
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill('R-160: a CQ that a QP completes to cannot be destroyed', (d) => {
  const qp = d.qp('rc');
  d.expect.refused('EBUSY', { op: 'destroyCq', cq: qp.sendCq.handle });
  d.execute({ op: 'destroyQp', qp: qp.handle });
  d.execute({ op: 'destroyCq', cq: qp.sendCq.handle });
});

for (const [what, make] of [
  ['a region', (d: Drill, pd: number) => d.region({ pd })],
  ['a window', (d: Drill, pd: number) => d.window(1, pd)],
  ['a QP', (d: Drill, pd: number) => d.qp('rc', { pd })],
  ['an SRQ', (d: Drill, pd: number) => d.srq(1, 0, pd)],
  ['an address handle', (d: Drill, pd: number) => d.ah(pd)],
] as const) {
  drill(`R-161: a protection domain with ${what} cannot be given back`, (d) => {
    const { pd } = d.execute({ op: 'allocPd' });
    make(d, pd);
    d.expect.refused('EBUSY', { op: 'deallocPd', pd });
  });
}

drill('R-162: QPs take from their SRQ in the order in which messages arrive', (d) => {
  const srq = d.srq();
  const cq = d.cq();
  const [a, b] = [d.qp('rc', { srq, sendCq: cq }), d.qp('rc', { srq, sendCq: cq })];
  for (let i = 0; i < 3; i++) d.post.recv();
  for (const [i, qp] of [b, a, b].entries()) {
    d.use(qp);
    d.inject({ ...SEND, psn: i === 2 ? 1 : 0 });
    d.expect.completion({ wrId: i + 1, status: 'SUCCESS' });
  }
});

drill('R-162: the keys of an SRQ’s work are of the SRQ’s protection domain, not of the QP’s', (d) => {
  const { pd } = d.execute({ op: 'allocPd' });
  const theirs = d.region({ pd, address: REMOTE });
  d.qp('rc', { srq: d.srq(15, 0, pd) });
  d.post.recv({ lKey: theirs.key });
  d.inject(SEND);
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.post.recv({ lKey: d.memory.key });
  d.inject({ ...SEND, psn: 1 });
  d.expect.packet(nak('REMOTE_OPERATIONAL_ERROR', 1));
  d.expect.completion({ wrId: 2, status: 'LOC_PROT_ERR' });
  d.expect.event('QP_LAST_WQE_REACHED');
});

drill('R-163: below its limit an SRQ tells once, then the limit is gone', (d) => {
  const srq = d.srq(15, 2);
  d.qp('rc', { srq });
  for (let i = 0; i < 3; i++) d.post.recv();
  d.inject(SEND);
  d.expect.completion({ wrId: 1 });
  d.expect.nothing();
  d.inject({ ...SEND, psn: 1 });
  d.expect.completion({ wrId: 2 });
  d.expect.event('SRQ_LIMIT_REACHED');
  d.expect.that(d.execute({ op: 'querySrq', srq: srq.handle }).srqLimit, 0, 'limit');
  d.inject({ ...SEND, psn: 2 });
  d.expect.completion({ wrId: 3 });
});

drill('R-164: an empty SRQ is an RNR NAK; what is posted then serves the repetition', (d) => {
  d.qp('rc', { srq: d.srq() });
  d.inject(SEND);
  d.expect.packet({ opcode: 'ACKNOWLEDGE', syndrome: 'RNR_NAK', psn: 0, timer: 12 });
  d.post.recv();
  d.advance('1s');
  d.expect.nothing();
  d.inject({ ...SEND, ackReq: true });
  d.expect.packet(ack(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill('R-179: an SGE of no octets is passed over, whatever its key; a receive WQE may hold more than comes', (d) => {
  const empty = { address: 0, length: 0, lKey: 0xdead };
  const at = (address: number, length: number) => ({ address, length, lKey: d.memory.key });
  d.qp('rc');
  d.post.send({ sges: [empty, at(LOCAL, 3), empty, at(LOCAL + 100, 2)] });
  d.expect.packet({
    opcode: 'SEND_ONLY',
    payload: Uint8Array.of(...d.memory.octets(LOCAL, 3), ...d.memory.octets(LOCAL + 100, 2)),
  });
  d.post.recv({ sges: [at(REMOTE, 4), empty, at(REMOTE + 64, 100)] });
  d.inject({ ...SEND, payload: 'sixoct' });
  d.expect.completion({ wrId: 2, status: 'SUCCESS', byteLen: 6 });
  d.expect.memory(REMOTE, 'sixo');
  d.expect.memory(REMOTE + 64, 'ct');
  d.expect.untouched(REMOTE + 66, 98);
});

drill(
  'R-180: a receive WQE that reaches beyond its region serves what stays inside',
  ({ qp, post, inject, region, expect }) => {
    const small = region({ bytes: 64, address: 0x40_0000 });
    qp('rc');
    for (let i = 0; i < 2; i++) post.recv({ sges: [{ address: 0x40_0000, length: 256, lKey: small.key }] });
    inject({ ...SEND, payload: 64, ackReq: true });
    expect.packet(ack(0));
    expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 64 });
    inject({ ...SEND, psn: 1, payload: 65 });
    expect.packet(nak('REMOTE_OPERATIONAL_ERROR', 1));
    expect.completion({ wrId: 2, status: 'LOC_PROT_ERR' });
  },
);

drill('R-179: SGEs that an earlier work request left in the queue mean nothing', (d) => {
  const at = (address: number, length: number) => ({ address, length, lKey: d.memory.key });
  d.qp('rc', { cap: { maxRecvWr: 1, maxRecvSge: 2 } });
  for (let psn = 0; psn < 4; psn++) {
    d.post.recv({ sges: [at(REMOTE, 4), at(REMOTE + 64, 100)] });
    d.inject({ ...SEND, psn });
    d.expect.completion({ status: 'SUCCESS' });
  }
  d.post.recv({ sges: [at(REMOTE, 4)] });
  d.inject({ ...SEND, psn: 4 });
  d.expect.packet(nak('INVALID_REQUEST', 4));
  d.expect.completion({ status: 'LOC_LEN_ERR' });
  d.expect.event('QP_REQ_ERR');
});

drill('R-157: a CQ that is resized keeps what waits in it, in order, and goes on; too small a one is refused', (d) => {
  const cq = d.cq(7);
  d.qp('rc', { sendCq: cq });
  for (let i = 0; i < 5; i++) d.post.write();
  d.sent();
  d.inject(ack(2));
  d.expect.completion({ wrId: 1 });
  d.expect.refused('EINVAL', { op: 'resizeCq', cq: cq.handle, cqe: 1 });
  cq.ring = openRing(d.execute({ op: 'resizeCq', cq: cq.handle, cqe: 30 }).queue);
  d.inject(ack(4));
  for (const wrId of [2, 3, 4, 5]) d.expect.completion({ wrId, status: 'SUCCESS' });
});

drill('R-150: all 64 bits of a wr_id come back', ({ qp, post, inject, modify, expect }) => {
  const wide = 2 ** 45 + 7;
  qp('rc');
  post.recv({ wrId: wide });
  post.recv({ wrId: wide + 1 });
  post.write({ wrId: wide + 2 });
  post.write({ wrId: wide + 3 });
  expect.packet(write(0), write(1));
  inject(SEND, ack(0));
  expect.completion({ wrId: wide, status: 'SUCCESS' }, { wrId: wide + 2, status: 'SUCCESS' });
  modify('ERR');
  expect.completion({ wrId: wide + 3, status: 'WR_FLUSH_ERR' }, { wrId: wide + 1, status: 'WR_FLUSH_ERR' });
});
