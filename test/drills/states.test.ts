/** Drills: the states of a QP, how it gets there, what it says of itself. SPEC-CHECKLIST §2.6, R-124 … … R-169. */
import type { QpAttributes } from '../../rnic/commands.ts';
import { QpState } from '../../rnic/constants.ts';
import { AV } from '../support/engine.ts';
import { type Drill, drill, REMOTE } from './language/drill.ts';
import type { StateName } from './language/names.ts';
import { ack, nak, type Packet } from './language/packet.ts';

const write = (psn: number): Packet => ({ opcode: 'RDMA_WRITE_ONLY', psn });
const SEND: Packet = { opcode: 'SEND_ONLY', psn: 0, payload: 8, ackReq: true };

drill('R-124: in SQD what began ends, nothing begins, and the application hears when all is still', (d) => {
  d.qp('rc');
  d.post.write({ length: 600 });
  d.sent();
  d.modify('SQD', { enSqdAsyncNotify: true });
  d.post.write();
  d.expect.nothing();
  d.inject(ack(1));
  d.expect.nothing();
  d.inject(ack(2));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
  d.expect.event('SQ_DRAINED');
  d.modify('RTS');
  d.expect.packet(write(3));
});

drill('R-124: a QP that is drained without being asked says nothing of it, and still receives', (d) => {
  d.qp('rc');
  d.post.recv();
  d.modify('SQD');
  d.inject(SEND);
  d.expect.packet(ack(0));
  d.expect.completion({ wrId: 1, status: 'SUCCESS' });
});

drill(
  'R-124: in SQD lost packets are still sent again',
  { strictTimers: true },
  ({ qp, post, modify, advance, expect }) => {
    qp('rc', { timeout: 8 });
    post.write();
    expect.packet(write(0));
    modify('SQD');
    advance('1.1ms');
    expect.packet(write(0));
  },
);

for (const type of ['rc', 'uc'] as const) {
  drill(`R-124: each time that ${type} is drained its application hears it`, ({ qp, modify, expect }) => {
    qp(type);
    for (let i = 0; i < 2; i++) {
      modify('SQD', { enSqdAsyncNotify: true });
      expect.event('SQ_DRAINED');
      modify('RTS');
    }
  });
}

drill('R-125: in RTR a QP receives, and answers', ({ qp, post, inject, expect }) => {
  qp('rc', { state: 'RTR' });
  post.recv();
  inject(SEND, { opcode: 'RDMA_READ_REQUEST', psn: 1, va: REMOTE, length: 8 });
  expect.packet(ack(0), { opcode: 'RDMA_READ_RESPONSE_ONLY', psn: 1 });
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  expect.event('COMM_EST');
});

drill('R-125: what is posted to send in RTR leaves in RTS', ({ qp, post, modify, expect }) => {
  qp('rc', { state: 'RTR' });
  post.send();
  expect.nothing();
  modify('RTS', { sqPsn: 5, timeout: 14, retryCnt: 7, rnrRetry: 7, maxRdAtomic: 1 });
  expect.packet({ opcode: 'SEND_ONLY', psn: 5 });
});

drill('R-125: receive work may be posted in INIT', ({ qp, post, modify, inject, expect }) => {
  qp('rc', { state: 'INIT' });
  post.recv();
  modify('RTR', { av: AV, pathMtu: 1, destQpNum: 1, rqPsn: 0, maxDestRdAtomic: 1, minRnrTimer: 1 });
  inject({ ...SEND, ackReq: false });
  expect.completion({ wrId: 1, status: 'SUCCESS' });
  expect.event('COMM_EST');
});

drill(
  'R-127: a packet of this host, which has no ICRC, passes every other check',
  ({ qp, injectLocal, expect, memory }) => {
    qp('rc');
    injectLocal({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 'neighbor' });
    expect.memory(REMOTE, 'neighbor');
    injectLocal({ opcode: 'RDMA_WRITE_ONLY', psn: 1, pKey: 1, payload: 8 });
    expect.counter('drop_pkey', 1);
    injectLocal({ opcode: 'RDMA_WRITE_ONLY', psn: 1, from: 0x0a00_0055, payload: 8 });
    expect.counter('drop_address', 1);
    injectLocal({ opcode: 'RDMA_WRITE_ONLY', psn: 1, rKey: 0x99, payload: 8 });
    expect.packet(nak('REMOTE_ACCESS_ERROR', 1));
    expect.event('QP_ACCESS_ERR');
    expect.memory(REMOTE, 'neighbor');
    expect.that(memory.isUntouched, false, 'memory');
  },
);

const attributesOf = (d: Drill, qp: number) => d.execute({ op: 'queryQp', qp }).attributes;
const TO_RTR: QpAttributes = { av: AV, pathMtu: 1, destQpNum: 1, rqPsn: 0, maxDestRdAtomic: 1, minRnrTimer: 1 };
const TO_RTS: QpAttributes = { sqPsn: 0, timeout: 14, retryCnt: 7, rnrRetry: 7, maxRdAtomic: 1 };

for (const [from, to, needed] of [
  ['RESET', 'INIT', { pKeyIndex: 0, portNum: 1, qpAccessFlags: 0 }],
  ['INIT', 'RTR', TO_RTR],
  ['RTR', 'RTS', TO_RTS],
] as const) {
  for (const name of Object.keys(needed)) {
    drill(`R-165: ${from} → ${to} without ${name} is refused, and changes nothing`, (d) => {
      const { handle } = d.qp('rc', { state: from });
      const before = attributesOf(d, handle);
      const { [name as keyof QpAttributes]: _, ...rest } = needed as QpAttributes;
      d.expect.refusedModify('EINVAL', to, rest);
      d.expect.that(attributesOf(d, handle), before, 'attributes');
      d.modify(to, needed);
      d.expect.state(to);
    });
  }
}

for (const [from, to, extra] of [
  ['INIT', 'RTR', { ...TO_RTR, sqPsn: 1 }],
  ['INIT', 'RTR', { ...TO_RTR, qKey: 1 }],
  ['RTR', 'RTS', { ...TO_RTS, rqPsn: 1 }],
  ['RTS', 'RTS', { timeout: 1 }],
  ['RTS', 'RTS', { destQpNum: 1 }],
] as const) {
  drill(`R-165: ${from} → ${to} with ${Object.keys(extra).at(-1)} is refused, and changes nothing`, (d) => {
    const { handle } = d.qp('rc', { state: from });
    const before = attributesOf(d, handle);
    d.expect.refusedModify('EINVAL', to, extra);
    d.expect.that(attributesOf(d, handle), before, 'attributes');
  });
}

const STATES = ['RESET', 'INIT', 'RTR', 'RTS', 'SQD', 'SQE', 'ERR'] as const;
const LEGAL: Readonly<Record<StateName, readonly StateName[]>> = {
  RESET: ['RESET', 'INIT'],
  INIT: ['RESET', 'INIT', 'RTR', 'ERR'],
  RTR: ['RESET', 'RTS', 'ERR'],
  RTS: ['RESET', 'RTS', 'SQD', 'ERR'],
  SQD: ['RESET', 'RTS', 'SQD', 'ERR'],
  SQE: [],
  ERR: ['RESET', 'ERR'],
};
for (const from of STATES.filter((state) => state !== 'SQE')) {
  for (const to of STATES.filter((state) => !LEGAL[from].includes(state))) {
    drill(`R-165: an RC QP does not go from ${from} to ${to}`, (d) => {
      d.qp('rc', { state: from });
      d.expect.refusedModify('EINVAL', to, to === 'RTR' ? TO_RTR : to === 'RTS' ? TO_RTS : {});
      d.expect.state(from);
    });
  }
}

for (const [what, from, to, attributes] of [
  ['port 2', 'RESET', 'INIT', { pKeyIndex: 0, portNum: 2, qpAccessFlags: 0 }],
  ['P_Key index 1', 'RESET', 'INIT', { pKeyIndex: 1, portNum: 1, qpAccessFlags: 0 }],
  ['path MTU 0', 'INIT', 'RTR', { ...TO_RTR, pathMtu: 0 }],
  ['path MTU 6', 'INIT', 'RTR', { ...TO_RTR, pathMtu: 6 }],
  ['min_rnr_timer 32', 'INIT', 'RTR', { ...TO_RTR, minRnrTimer: 32 }],
  ['a QPN of 25 bits', 'INIT', 'RTR', { ...TO_RTR, destQpNum: 0x100_0000 }],
  ['more responder resources than the device has', 'INIT', 'RTR', { ...TO_RTR, maxDestRdAtomic: 129 }],
  ['timeout 32', 'RTR', 'RTS', { ...TO_RTS, timeout: 32 }],
  ['retry_cnt 8', 'RTR', 'RTS', { ...TO_RTS, retryCnt: 8 }],
  ['rnr_retry 8', 'RTR', 'RTS', { ...TO_RTS, rnrRetry: 8 }],
  ['more initiator depth than the device has', 'RTR', 'RTS', { ...TO_RTS, maxRdAtomic: 129 }],
] as const) {
  drill(`R-166: ${what} is refused`, (d) => {
    d.qp('rc', { state: from });
    d.expect.refusedModify('EINVAL', to, attributes);
    d.expect.state(from);
  });
}

drill('R-166: of a PSN the lower 24 bits count', (d) => {
  const { handle } = d.qp('rc', { rqPsn: 0xff12_3456, sqPsn: 0x7f00_0001 });
  const { rqPsn, sqPsn } = attributesOf(d, handle);
  d.expect.that([rqPsn, sqPsn], [0x12_3456, 1], 'PSNs');
});

for (const state of STATES.filter((state) => state !== 'RTS')) {
  drill(`R-167: CUR_STATE ${state} is refused in RTS`, ({ qp, expect }) => {
    qp('rc');
    expect.refusedModify('EINVAL', 'RTS', { curQpState: QpState[state] });
    expect.state('RTS');
  });
}

drill('R-167: CUR_STATE that is so is taken', ({ qp, modify, expect }) => {
  qp('rc');
  modify('RTS', { curQpState: QpState.RTS, minRnrTimer: 9 });
  expect.state('RTS');
});

drill('R-168: query_qp gives back what was set, and ERR after an error that nobody asked for', (d) => {
  const set = { timeout: 5, retryCnt: 3, rnrRetry: 2, minRnrTimer: 17, maxRdAtomic: 3, maxDestRdAtomic: 5 } as const;
  const av = { ...AV, hopLimit: 9, trafficClass: 12 };
  const { handle } = d.qp('rc', { ...set, av, rqPsn: 11, sqPsn: 22, destQpNum: 33, mtu: 1024, qpAccessFlags: 7 });
  const found = attributesOf(d, handle);
  const wanted = { ...set, av, rqPsn: 11, sqPsn: 22, destQpNum: 33, pathMtu: 3, qpAccessFlags: 7 };
  const named = Object.fromEntries(Object.keys(wanted).map((name) => [name, found[name as keyof typeof found]]));
  d.expect.that(named, wanted, 'attributes');
  d.inject({ opcode: 'SEND_LAST', psn: 11, payload: 4 });
  d.expect.packet(nak('INVALID_REQUEST', 11));
  d.expect.event('QP_REQ_ERR');
  d.expect.state('ERR');
});

for (const [event, packet] of [
  ['QP_REQ_ERR', { opcode: 'SEND_LAST', psn: 0, payload: 4 }],
  ['QP_ACCESS_ERR', { opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 4, rKey: 1 }],
] as const) {
  drill(`R-169: what a peer does wrong is told as ${event}, once`, ({ qp, inject, expect }) => {
    qp('rc');
    inject(packet, packet);
    expect.event(event);
    expect.packet({ opcode: 'ACKNOWLEDGE', psn: 0 });
  });
}

drill(
  'R-169: of events that nobody reads as many are kept as the limit says; the others are counted',
  { limits: { asyncEvents: 2 } },
  (d) => {
    for (let i = 0; i < 3; i++) {
      d.qp('rc');
      d.inject({ opcode: 'SEND_LAST', psn: 0, payload: 4 });
      d.expect.packet(nak('INVALID_REQUEST', 0));
    }
    d.expect.event('QP_REQ_ERR', 'QP_REQ_ERR');
    d.expect.counter('async_events_lost', 1);
  },
);

drill('R-169: an application hears that the port went down, and that it is up again', ({ engine, expect }) => {
  engine.rnic.setLink(true);
  engine.rnic.setLink(false);
  engine.rnic.setLink(true);
  expect.event('PORT_ERR', 'PORT_ACTIVE');
});

drill('R-169: an application hears that the GIDs changed', ({ engine, expect }) => {
  engine.rnic.setGids([{ gid: new Uint8Array(16).fill(9) }]);
  expect.event('GID_CHANGE');
});
