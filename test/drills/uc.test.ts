/** Drills: UC, where nothing is answered and half a message is none. SPEC-CHECKLIST R-064 …. */
import { Access } from '../../rnic/constants.ts';
import { drill, LOCAL, PEER, REMOTE } from './language/drill.ts';
import { filled, type Packet } from './language/packet.ts';

const FIRST: Packet = { opcode: 'SEND_FIRST', payload: 256 };
const LAST: Packet = { opcode: 'SEND_LAST', payload: 8 };

drill(
  'R-064: a message that starts inside another is taken from its first packet on',
  ({ qp, post, inject, expect }) => {
    qp('uc');
    post.recv({ length: 512 });
    post.recv({ length: 512 });
    inject({ ...FIRST, psn: 0 }, { ...FIRST, psn: 1 }, { ...LAST, psn: 2 });
    expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 264 });
    expect.memory(REMOTE, filled(1, 256));
    expect.memory(REMOTE + 256, filled(2, 8));
  },
);

drill('R-064: what goes on where nothing began is dropped in silence', ({ qp, post, inject, expect }) => {
  qp('uc');
  post.recv();
  inject({ ...LAST, psn: 0 });
  expect.nothing();
  expect.counter('drop_uc_sequence', 1);
  expect.state('RTS');
});

drill(
  'R-065: behind a gap the next message is taken; the broken one never completes',
  ({ qp, post, inject, expect }) => {
    qp('uc');
    post.recv({ length: 512 });
    inject({ ...FIRST, psn: 0 }, { ...LAST, psn: 2 });
    expect.nothing();
    inject({ opcode: 'SEND_ONLY', psn: 7, payload: 'the next' });
    expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 8 });
    expect.memory(REMOTE, 'the next');
  },
);

drill(
  'R-066: a WRITE with immediate data whose last packet is lost completes nothing',
  ({ qp, post, inject, expect }) => {
    qp('uc');
    post.recv();
    inject({ opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 512, payload: 256 });
    inject({ opcode: 'RDMA_WRITE_ONLY', psn: 2, va: REMOTE + 1024, payload: 8 });
    expect.nothing();
    expect.memory(REMOTE, filled(0, 256));
    inject({ opcode: 'RDMA_WRITE_LAST_WITH_IMMEDIATE', psn: 3, payload: 256, imm: 1 });
    expect.nothing();
  },
);

for (const [what, packet] of [
  ['a WRITE that the QP does not allow', { opcode: 'RDMA_WRITE_ONLY', payload: 8 }],
  ['an empty WRITE that the QP does not allow', { opcode: 'RDMA_WRITE_ONLY' }],
] as const) {
  drill(`R-067: UC drops ${what} in silence`, ({ qp, inject, expect, memory }) => {
    qp('uc', { qpAccessFlags: Access.LOCAL_WRITE });
    inject({ ...packet, psn: 0 });
    expect.nothing();
    expect.counter('drop_access', 1);
    expect.state('RTS');
    expect.that(memory.isUntouched, true, 'memory');
  });
}

drill('R-134: a UC SEND completes when it has left; nobody answers', ({ qp, post, memory, expect }) => {
  qp('uc', { sqPsn: 0xff_ffff });
  post.send({ length: 300 });
  expect.packet(
    { opcode: 'SEND_FIRST', psn: 0xff_ffff, ackReq: false, payload: memory.octets(LOCAL, 256) },
    { opcode: 'SEND_LAST', psn: 0, ackReq: false, payload: 44 },
  );
  expect.completion({ wrId: 1, status: 'SUCCESS', opcode: 'SEND' });
});

for (const type of ['uc', 'ud'] as const) {
  drill(`R-138: a bad work request stops only the send queue of ${type}: SQE, and back to RTS`, (d) => {
    d.qp(type);
    const to = type === 'ud' ? { ah: d.ah() } : {};
    d.post.send({ ...to, lKey: 0x1234 });
    d.expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
    d.expect.state('SQE');
    d.post.send(to);
    d.expect.completion({ wrId: 2, status: 'WR_FLUSH_ERR' });
    d.post.recv();
    d.inject({ opcode: 'SEND_ONLY', psn: 0, payload: 8 });
    d.expect.completion({ wrId: 3, status: 'SUCCESS' });
    d.modify('RTS');
    d.post.send(to);
    d.expect.packet({ opcode: 'SEND_ONLY', payload: 8 });
    d.expect.completion({ wrId: 4, status: 'SUCCESS' });
  });
}

for (const [opcode, name] of [
  [4, 'RDMA_READ'],
  [5, 'ATOMIC_CMP_AND_SWP'],
  [6, 'ATOMIC_FETCH_AND_ADD'],
] as const) {
  drill(`R-142: UC has no ${name}`, ({ qp, post, expect }) => {
    qp('uc');
    post.raw(opcode);
    expect.completion({ wrId: 1, status: 'LOC_QP_OP_ERR' });
  });
}

drill('R-093: UC has no SEND_WITH_INV: it is refused', ({ qp, post, expect }) => {
  qp('uc');
  post.send({ invalidate: 1 });
  expect.completion({ wrId: 1, status: 'LOC_QP_OP_ERR' });
});

drill('R-065: a message that began in RTR goes on in RTS', ({ qp, post, inject, modify, expect }) => {
  qp('uc', { state: 'RTR', rqPsn: 7 });
  post.recv({ length: 512 });
  inject({ ...FIRST, psn: 7 });
  expect.event('COMM_EST');
  modify('RTS', { sqPsn: 0 });
  inject({ ...LAST, psn: 8 });
  expect.completion({ wrId: 1, status: 'SUCCESS', byteLen: 264 });
});

drill(
  'R-065: a message with a packet of a wrong length in its middle never completes',
  ({ qp, post, inject, expect }) => {
    qp('uc');
    post.recv({ length: 1024 });
    inject({ ...FIRST, psn: 0 }, { opcode: 'SEND_MIDDLE', psn: 1, payload: 252 }, { ...LAST, psn: 2 });
    expect.nothing();
    expect.counter('drop_payload_length', 1);
    expect.counter('drop_uc_sequence', 1);
  },
);

drill('R-078: over UC a wrong key writes nothing, and what goes on behind it is dropped too', (d) => {
  d.qp('uc');
  d.inject({ opcode: 'RDMA_WRITE_FIRST', psn: 0, length: 512, payload: 256, rKey: 1 });
  d.inject({ opcode: 'RDMA_WRITE_LAST', psn: 1, payload: 256 });
  d.expect.nothing();
  d.expect.counter('drop_access', 1);
  d.expect.that(d.memory.isUntouched, true, 'memory');
});

drill('R-029: a marked UC packet is told of by a notification, the only packet that a UC receiver sends', (d) => {
  d.qp('uc');
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, trafficClass: 3 });
  d.expect.packet({ opcode: 'CNP', psn: 0, becn: true, dest: PEER });
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 1, payload: 8, trafficClass: 3 });
  d.expect.nothing();
});

drill('R-098: a receive WQE with a wrong key ends a UC QP too: nobody else is told', ({ qp, post, inject, expect }) => {
  qp('uc');
  post.recv({ lKey: 0x1234 });
  inject({ opcode: 'SEND_ONLY', psn: 0, payload: 8 });
  expect.completion({ wrId: 1, status: 'LOC_PROT_ERR' });
  expect.state('ERR');
});

drill(
  'R-089: over UC a WRITE with immediate data takes a receive WQE, one without takes none',
  ({ qp, post, inject, expect }) => {
    qp('uc');
    inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8 });
    expect.counter('out_of_buffer', 0);
    expect.memory(REMOTE, filled(0, 8));
    inject({ opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE', psn: 1, payload: 8, imm: 1 });
    expect.counter('out_of_buffer', 1);
    post.recv();
    inject({ opcode: 'RDMA_WRITE_ONLY_WITH_IMMEDIATE', psn: 2, payload: 8, imm: 2 });
    expect.completion({ wrId: 1, status: 'SUCCESS', opcode: 'RECV_RDMA_WITH_IMM', byteLen: 8, imm: 2 });
  },
);
