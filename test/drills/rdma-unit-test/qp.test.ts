/** rdma-unit-test's qp_test: creating, moving, destroying QPs; posting in each state. */
import type { QpCap } from '../../../rnic/commands.ts';
import { DEFAULT_LIMITS } from '../../../rnic/config.ts';
import { QpState, QpType } from '../../../rnic/constants.ts';
import { AV } from '../../support/engine.ts';
import type { StateName } from '../language/names.ts';
import { listed, type Unit, unit } from './unit.ts';

const OK = 'SUCCESS';
const CAP: QpCap = { maxSendWr: 7, maxRecvWr: 7, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };

const creation = (u: Unit, more: object = {}) =>
  ({
    op: 'createQp',
    pd: u.d.pd,
    type: QpType.RC as QpType,
    sendCq: u.local.sendCq.handle,
    recvCq: u.local.sendCq.handle,
    cap: CAP,
    sqSigAll: false,
    ...more,
  }) as const;

for (const [name, more] of [
  ['Create', {}],
  ['CreateWithInlineMax', { cap: { ...CAP, maxInlineData: 512 } }],
  ['CreateUd', { type: QpType.UD }],
  ['ZeroSendWr', { cap: { ...CAP, maxSendWr: 0 } }],
  ['MaxQpWr', { cap: { ...CAP, maxSendWr: DEFAULT_LIMITS.queueDepth, maxRecvWr: DEFAULT_LIMITS.queueDepth } }],
  ['MaxSge', { cap: { ...CAP, maxSendSge: 32, maxRecvSge: 32 } }],
] as const) {
  unit(`QpTest.${name}`, (u) => {
    const { qp } = u.d.execute(creation(u, more));
    u.d.execute({ op: 'destroyQp', qp });
  });
}

for (const [name, more] of [
  ['MaxQpWr/more', { cap: { ...CAP, maxSendWr: DEFAULT_LIMITS.queueDepth + 1 } }],
  ['MaxSge/more', { cap: { ...CAP, maxSendSge: 33 } }],
  ['CreateWithInvalidSendCq', { sendCq: 777 }],
  ['CreateWithInvalidRecvCq', { recvCq: 777 }],
  ['CreateWithInvalidSrq', { srq: 777 }],
] as const) {
  unit(`QpTest.${name}`, (u) => u.d.expect.refused('EINVAL', creation(u, more)));
}

unit('QpTest.UnknownType', (u) => u.d.expect.refused('EOPNOTSUPP', creation(u, { type: 0xf0 })));

unit('QpTest.QueueRefs', (u) => u.d.expect.refused('EBUSY', { op: 'destroyCq', cq: u.local.sendCq.handle }));

unit('QpTest.Modify', (u) => {
  u.d.qp('rc', { state: 'RTS' });
  u.d.expect.state('RTS');
});

unit('QpTest.UdModify', (u) => {
  for (const state of ['INIT', 'RTR', 'RTS'] as const) {
    u.d.qp('ud', { state });
    u.d.expect.state(state);
  }
});

const TO_INIT = { pKeyIndex: 0, portNum: 1, qpAccessFlags: 0 };
const TO_RTR = { av: AV, pathMtu: 1, destQpNum: 1, rqPsn: 0, maxDestRdAtomic: 1, minRnrTimer: 1 };
const TO_RTS = { sqPsn: 0, timeout: 14, retryCnt: 7, rnrRetry: 7, maxRdAtomic: 1 };

for (const [name, from, to, attributes] of [
  ['ModifyInvalidResetToRtrTransition', 'RESET', 'RTR', TO_RTR],
  ['ModifyInvalidInitToRtsTransition', 'INIT', 'RTS', TO_RTS],
  ['ModifyInvalidRtsToRtrTransition', 'RTS', 'RTR', TO_RTR],
] as const) {
  unit(`QpTest.${name}`, (u) => {
    u.d.qp('rc', { state: from });
    u.d.expect.refusedModify('EINVAL', to, attributes);
    u.d.expect.state(from);
  });
}

/** Every proper subset of the attributes that a transition needs is refused; the whole is taken. */
for (const [name, from, to, attributes] of [
  ['ModifyBadResetToInitStateTransition', 'RESET', 'INIT', TO_INIT],
  ['ModifyBadInitToRtrStateTransition', 'INIT', 'RTR', TO_RTR],
  ['ModifyBadRtrToRtsStateTransition', 'RTR', 'RTS', TO_RTS],
] as const) {
  unit(`QpTest.${name}`, (u) => {
    u.d.qp('rc', { state: from });
    const entries = Object.entries(attributes);
    for (let subset = 0; subset < (1 << entries.length) - 1; subset++) {
      const given = Object.fromEntries(entries.filter((_, i) => (subset & (1 << i)) !== 0));
      u.d.expect.refusedModify('EINVAL', to, given);
    }
    u.d.modify(to, attributes);
    u.d.expect.state(to);
  });
}

unit('QpTest.DeallocPdWithOutstandingQp', (u) => u.d.expect.refused('EBUSY', { op: 'deallocPd', pd: u.d.pd }));

unit('QpTest.ModifyInvalidQp', (u) => {
  const attributes = { qpState: QpState.INIT, ...TO_INIT };
  u.d.expect.refused('EINVAL', { op: 'modifyQp', qp: 777, mask: 0x39, attributes });
});

unit('QpTest.QueryInvalidQp', (u) => u.d.expect.refused('EINVAL', { op: 'queryQp', qp: 777 }));
unit('QpTest.DestroyInvalidQp', (u) => u.d.expect.refused('EINVAL', { op: 'destroyQp', qp: 777 }));

for (const [name, state] of [
  ['DestroyFromReset', 'RESET'],
  ['DestroyFromInit', 'INIT'],
] as const) {
  unit(`QpStateTest.${name}`, (u) => {
    const { handle } = u.d.qp('rc', { state });
    u.d.execute({ op: 'destroyQp', qp: handle });
  });
}

unit('QpStateTest.ReuseQp', (u) => {
  for (let round = 0; round < 3; round++) {
    u.recv();
    u.d.post.send(u.work());
    u.ends({ local: [OK], remote: [OK] });
    for (const [qp, peer] of [
      [u.local, u.remote],
      [u.remote, u.local],
    ] as const) {
      u.d.use(qp);
      u.d.modify('RESET');
      u.d.connect({ mtu: 1024, destQpNum: peer.qpn });
    }
  }
});

unit(
  'QpStateTest.QpIdRollover',
  (u) => {
    // 64 numbers, two of them taken: every number comes round while a connection goes on.
    for (let i = 0; i < 64 + 32; i++) {
      const created = u.d.engine.tryExecute(creation(u));
      if (created.ok) u.d.execute({ op: 'destroyQp', qp: created.qp });
      else u.d.advance('60s');
      u.d.use(u.local);
      u.d.post.read(u.work());
      u.d.expect.completion({ status: OK });
    }
  },
  { qpnCount: 64 },
);

unit(
  'QpStateTest.QpReadWhileTargetEntersRts',
  (u) => {
    for (let i = 0; i < 20; i++) {
      if (i === 10) {
        u.d.use(u.remote);
        u.d.modify('RTS', TO_RTS);
        u.d.use(u.local);
      }
      u.d.post.read(u.work());
      u.ends({ local: [OK] });
    }
  },
  { remote: { state: 'RTR' } },
);

for (const [name, state] of [
  ['PostRecvReset', 'RESET'],
  ['PostRecvInit', 'INIT'],
  ['PostRecvRtr', 'RTR'],
] as const) {
  unit(
    `QpStateTest.${name}`,
    (u) => {
      u.recv();
      u.d.post.send(u.work());
      u.ends(state === 'RTR' ? { local: [OK], remote: [OK] } : { local: ['RETRY_EXC_ERR'], remote: [] });
    },
    { remote: { state } },
  );
}

unit('QpStateTest.PostSendErr', (u) => {
  u.d.modify('ERR');
  u.d.post.read(u.work());
  u.ends({ local: ['WR_FLUSH_ERR'] });
});

unit('QpStateTest.PostSendErrConcurrent', (u) => {
  u.d.together(() => {
    for (let i = 0; i < 5; i++) u.d.post.read(u.work());
    u.d.execute({ op: 'modifyQp', qp: u.local.handle, mask: 1, attributes: { qpState: QpState.ERR } });
    for (let i = 0; i < 5; i++) u.d.post.read(u.work());
  });
  u.ends({ local: Array.from({ length: 10 }, () => 'WR_FLUSH_ERR') });
});

unit('QpStateTest.PostSendErrDelayed', (u) => {
  u.d.post.read(u.work({ rKey: 0x123 }));
  u.ends({ local: ['REM_ACCESS_ERR'] });
  u.d.advance('10s');
  u.d.post.read(u.work());
  u.ends({ local: ['WR_FLUSH_ERR'] });
});

unit('QpStateTest.PostRecvErr', (u) => {
  u.d.use(u.remote);
  u.d.modify('ERR');
  u.recv();
  u.ends({ remote: ['WR_FLUSH_ERR'] });
});

unit(
  'QpStateTest.RtsSendToRtr',
  (u) => {
    u.recv();
    u.d.post.send(u.work());
    u.ends({ local: [OK], remote: [OK], states: ['RTS', 'RTR'] });
  },
  { remote: { state: 'RTR' } },
);

unit('QpStateTest.ModRtsToError', (u) => {
  u.d.modify('ERR');
  u.d.expect.state('ERR');
});

const RESPONDERS: readonly StateName[] = ['RESET', 'INIT'];
for (const state of RESPONDERS) {
  for (const post of ['read', 'write'] as const) {
    unit(
      `ResponderQpStateTest.ResponderNotReadyToReceive/${state}${post}`,
      (u) => {
        u.d.post[post](u.work());
        u.ends({ local: ['RETRY_EXC_ERR'] });
        // What came too early was dropped, and not kept for later.
        u.d.use(u.remote);
        if (state === 'RESET') u.d.modify('INIT', TO_INIT);
        u.d.modify('RTR', { ...TO_RTR, destQpNum: u.local.qpn });
        u.ends({ local: [], remote: [] });
        u.dstUntouched();
      },
      { remote: { state } },
    );
  }
}

listed('qp');
