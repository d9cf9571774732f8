/** Drills: datagrams. SPEC-CHECKLIST §2.5. */
import { OURS, THEIRS } from '../support/engine.ts';
import { drill, IP_AT, REMOTE } from './language/drill.ts';
import { frameOf, type Packet } from './language/packet.ts';

const Q_KEY = 0x1111;
const SEND: Packet = { opcode: 'SEND_ONLY', psn: 0, payload: 'datagram' };
const GROUP = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xe0, 0, 0, 5]);
const TO_GROUP: Packet = { ...SEND, dest: 0xff_ffff, to: 0xe000_0005 };

drill(
  'R-128: a datagram holds the port’s MTU, and one octet more is LOC_LEN_ERR',
  { mtu: 1500 },
  ({ qp, post, ah, expect }) => {
    qp('ud');
    const handle = ah();
    post.send({ ah: handle, length: 1024 });
    expect.packet({ opcode: 'SEND_ONLY', payload: 1024 });
    expect.completion({ wrId: 1, status: 'SUCCESS' });
    post.send({ ah: handle, length: 1025 });
    expect.completion({ wrId: 2, status: 'LOC_LEN_ERR' });
  },
);

drill('R-128: a longer one that comes is dropped', { mtu: 1500 }, ({ qp, post, inject, expect }) => {
  qp('ud');
  post.recv({ length: 2000 });
  inject({ ...SEND, payload: 1025 });
  expect.nothing();
  expect.counter('drop_payload_length', 1);
});

drill('R-129: a datagram lies behind 40 octets, which count', ({ qp, post, inject, expect }) => {
  qp('ud');
  post.recv();
  inject(SEND);
  expect.completion({ wrId: 1, status: 'SUCCESS', opcode: 'RECV', byteLen: 48, grh: true });
  expect.memory(REMOTE + 40, 'datagram');
});

const DEFAULTS = { transport: 'UD', dest: 0, from: THEIRS, to: OURS, va: 0, rKey: 0, qKey: Q_KEY };

drill('R-130: before an IPv4 datagram stand 20 octets of zero and its IP header', ({ qp, post, inject, expect }) => {
  const { qpn } = qp('ud');
  post.recv();
  inject(SEND);
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  const frame = frameOf(SEND, { ...DEFAULTS, dest: qpn, isIpv6: false });
  expect.memory(REMOTE, new Uint8Array(20));
  expect.memory(REMOTE + 20, frame.slice(IP_AT, IP_AT + 20));
});

drill('R-130: before an IPv6 datagram stands its IP header', { isIpv6: true }, ({ qp, post, inject, expect }) => {
  const { qpn } = qp('ud');
  post.recv();
  inject(SEND);
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  const frame = frameOf(SEND, { ...DEFAULTS, dest: qpn, isIpv6: true });
  expect.memory(REMOTE, frame.slice(IP_AT, IP_AT + 40));
});

drill(
  'R-131: a datagram too long for its receive WQE is dropped, and the WQE stays',
  ({ qp, post, inject, expect }) => {
    qp('ud');
    post.recv({ length: 47 });
    inject(SEND);
    expect.nothing();
    expect.counter('drop_recv_too_small', 1);
    inject({ ...SEND, payload: 'shorter' });
    expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 47 });
  },
);

drill('R-132: another Q_Key than the QP’s is dropped in silence', ({ qp, post, inject, expect }) => {
  qp('ud', { qKey: Q_KEY });
  post.recv();
  inject({ ...SEND, qKey: Q_KEY + 1 });
  expect.nothing();
  expect.counter('drop_qkey', 1);
  inject({ ...SEND, qKey: Q_KEY });
  expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill(
  'R-132: QP 1 has the Q_Key of management, and no other',
  { managesConnections: true },
  ({ qp, inject, expect }) => {
    qp('ud');
    inject({ ...SEND, dest: 1, qKey: Q_KEY });
    expect.counter('drop_qkey', 1);
    inject({ ...SEND, dest: 1, qKey: 0x8001_0000 });
    expect.counter('cm_drop_malformed', 1);
  },
);

drill('R-133: a Q_Key with its highest bit set stands for the QP’s own', ({ qp, post, ah, expect }) => {
  qp('ud', { qKey: Q_KEY });
  const handle = ah();
  post.send({ ah: handle, qKey: 0x22 });
  post.send({ ah: handle, qKey: 0x8001_0000 });
  expect.packet({ opcode: 'SEND_ONLY', qKey: 0x22 }, { opcode: 'SEND_ONLY', qKey: Q_KEY });
  expect.completion({ wrId: 1 }, { wrId: 2 });
});

drill('R-133: no application gives its QP a Q_Key with the highest bit set', ({ qp, expect }) => {
  qp('ud', { state: 'RESET' });
  expect.refusedModify('EPERM', 'INIT', { pKeyIndex: 0, portNum: 1, qKey: 0x8001_0000 });
  expect.state('RESET');
});

drill('R-134: a datagram completes when it has left, and PSNs count on', ({ qp, post, ah, expect }) => {
  const { qpn } = qp('ud', { sqPsn: 0xff_ffff });
  const handle = ah();
  post.send({ ah: handle, destQpn: 0x55 });
  post.send({ ah: handle, destQpn: 0x66 });
  expect.packet(
    { opcode: 'SEND_ONLY', psn: 0xff_ffff, dest: 0x55, srcQp: qpn, ackReq: false },
    { opcode: 'SEND_ONLY', psn: 0, dest: 0x66, srcQp: qpn },
  );
  expect.completion({ wrId: 1, status: 'SUCCESS' }, { wrId: 2, status: 'SUCCESS' });
});

drill('R-134: PSNs of datagrams that come mean nothing', ({ qp, post, inject, expect }) => {
  qp('ud');
  for (const psn of [9, 3, 3, 0x80_0000]) {
    post.recv();
    inject({ ...SEND, psn });
    expect.completion({ status: 'SUCCESS' });
  }
});

drill('R-135: an address handle of another protection domain is LOC_QP_OP_ERR', (d) => {
  const { pd } = d.execute({ op: 'allocPd' });
  d.qp('ud');
  d.post.send({ ah: d.ah(pd) });
  d.expect.completion({ wrId: 1, status: 'LOC_QP_OP_ERR' });
});

drill('R-135: an address handle that is none is LOC_QP_OP_ERR', ({ qp, post, expect }) => {
  qp('ud');
  post.send({ ah: 77 });
  expect.completion({ wrId: 1, status: 'LOC_QP_OP_ERR' });
});

drill('R-136: the completion says which QP sent, and the immediate data', ({ qp, post, inject, expect }) => {
  qp('ud');
  post.recv();
  inject({ opcode: 'SEND_ONLY_WITH_IMMEDIATE', srcQp: 0x1234, imm: 0x0a0b_0c0d, payload: 'datagram' });
  expect.completion({ wrId: 1, byteLen: 48, srcQp: 0x1234, imm: 0x0a0b_0c0d, grh: true });
  expect.memory(REMOTE + 40, 'datagram');
});

for (const [opcode, name] of [
  [0, 'RDMA_WRITE'],
  [1, 'RDMA_WRITE_WITH_IMM'],
  [4, 'RDMA_READ'],
  [5, 'ATOMIC_CMP_AND_SWP'],
  [6, 'ATOMIC_FETCH_AND_ADD'],
  [8, 'BIND_MW'],
  [9, 'SEND_WITH_INV'],
] as const) {
  drill(`R-137: UD has no ${name}`, ({ qp, post, ah, expect }) => {
    qp('ud');
    post.raw(opcode, { ah: ah() });
    expect.completion({ wrId: 1, status: 'LOC_QP_OP_ERR' });
  });
}

drill('R-139: an SRQ serves RC and UD; a UC QP with one is refused', (d) => {
  const srq = d.srq();
  d.qp('ud', { srq });
  d.post.recv();
  d.inject(SEND);
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.qp('rc', { srq });
  d.post.recv();
  d.inject({ ...SEND, ackReq: true });
  d.expect.packet({ opcode: 'ACKNOWLEDGE' });
  d.expect.completion({ wrId: 2, status: 'SUCCESS' });
  const { handle } = d.cq();
  const cap = { maxSendWr: 1, maxRecvWr: 1, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
  const command = { pd: d.pd, type: 3, sendCq: handle, recvCq: handle, srq: srq.handle, cap, sqSigAll: false } as const;
  d.expect.refused('EINVAL', { op: 'createQp', ...command });
});

drill('R-140: each member of a group has its own copy; one that cannot take it is nothing to the others', (d) => {
  const [without, wrong, right] = [d.qp('ud'), d.qp('ud', { qKey: 0x2222 }), d.qp('ud')];
  for (const qp of [without, wrong, right]) d.execute({ op: 'attachMcast', qp: qp.handle, gid: GROUP });
  d.post.recv();
  d.inject(TO_GROUP);
  d.expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 48 });
  d.expect.counter('out_of_buffer', 1);
  d.expect.counter('drop_qkey', 1);
});

drill('R-140: a QP that is attached cannot be destroyed; detached it gets no more', (d) => {
  const qp = d.qp('ud');
  d.post.recv();
  d.execute({ op: 'attachMcast', qp: qp.handle, gid: GROUP });
  d.expect.refused('EBUSY', { op: 'destroyQp', qp: qp.handle });
  d.execute({ op: 'detachMcast', qp: qp.handle, gid: GROUP });
  d.inject(TO_GROUP);
  d.expect.counter('drop_no_group', 1);
  d.execute({ op: 'destroyQp', qp: qp.handle });
});

drill('R-140: only a UD QP joins a group, and only a multicast GID is one', (d) => {
  const rc = d.qp('rc');
  d.expect.refused('EINVAL', { op: 'attachMcast', qp: rc.handle, gid: GROUP });
  const ud = d.qp('ud');
  d.expect.refused('EINVAL', { op: 'attachMcast', qp: ud.handle, gid: new Uint8Array(16) });
});

drill('R-140: what a member sends comes back to the others on this host, not to itself', (d) => {
  const cq = d.cq();
  const [sender, other] = [d.qp('ud', { sendCq: cq }), d.qp('ud', { sendCq: cq })];
  for (const qp of [sender, other]) {
    d.use(qp);
    d.post.recv({ wrId: qp.qpn });
    d.execute({ op: 'attachMcast', qp: qp.handle, gid: GROUP });
  }
  d.injectLocal({ ...TO_GROUP, srcQp: sender.qpn });
  d.expect.completion({ wrId: other.qpn, status: 'SUCCESS', srcQp: sender.qpn });
});

const WAITING = { datagramsWait: true };
/** Of a vRNIC, all its QPs together. */
const WAITING_MAX = 512;

drill('R-097: datagrams wait for their receive WQEs, and come in their order', WAITING, (d) => {
  d.qp('ud');
  for (let psn = 0; psn < 3; psn++) d.inject({ ...SEND, psn, payload: 8 + psn });
  d.expect.nothing();
  d.advance('10ms');
  d.post.recv();
  d.post.recv();
  d.advance('10ms');
  d.expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 48 }, { wrId: 2, status: 'SUCCESS', byteLen: 49 });
  d.post.recv();
  d.post.recv();
  d.inject({ ...SEND, psn: 3, payload: 11 });
  d.expect.completion({ wrId: 3, byteLen: 50 }, { wrId: 4, byteLen: 51 });
  d.expect.counter('receive_awaited', 3);
  d.expect.counter('out_of_buffer', 0);
});

drill('R-097: datagrams that waited too long are dropped', WAITING, ({ qp, post, inject, advance, expect }) => {
  qp('ud');
  inject(SEND);
  advance('45ms');
  inject({ ...SEND, psn: 1 });
  expect.counter('out_of_buffer', 0);
  advance('15ms');
  expect.counter('out_of_buffer', 2);
  inject({ ...SEND, psn: 2, payload: 9 });
  advance('45ms');
  post.recv();
  advance('5ms');
  expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 49 });
  expect.counter('out_of_buffer', 2);
});

drill('R-097: a machine that stands still drops no datagram that waits', WAITING, (d) => {
  d.qp('ud');
  d.inject(SEND);
  d.engine.now += 1_000_000;
  d.advance('1ms');
  d.post.recv();
  d.advance('5ms');
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill('R-097: more datagrams than may wait are dropped', WAITING, ({ qp, inject, expect, engine }) => {
  qp('ud');
  for (let psn = 0; psn < WAITING_MAX + 2; psn++) inject({ ...SEND, psn });
  expect.counter('receive_awaited', WAITING_MAX);
  expect.counter('out_of_buffer', 2);
  expect.that(engine.rnic.waitingRoom.pool.held, WAITING_MAX, 'held');
});

for (const state of ['ERR', 'RESET'] as const) {
  drill(
    `R-097: a QP that goes to ${state} waits for nothing`,
    WAITING,
    ({ qp, modify, inject, advance, expect, engine }) => {
      qp('ud');
      inject(SEND);
      modify(state);
      expect.that(engine.rnic.waitingRoom.pool.held, 0, 'held');
      advance('1s');
      expect.nothing();
      expect.counter('out_of_buffer', 0);
    },
  );
}

drill('R-130: before a datagram that waited stands its IP header', { ...WAITING, isIpv6: true }, (d) => {
  const { qpn } = d.qp('ud');
  d.inject(SEND);
  d.post.recv();
  d.advance('1ms');
  d.expect.completion({ wrId: 1, status: 'SUCCESS', grh: true });
  const frame = frameOf(SEND, { ...DEFAULTS, dest: qpn, isIpv6: true });
  d.expect.memory(REMOTE, frame.slice(IP_AT, IP_AT + 40));
});
