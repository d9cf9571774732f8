/** rdma-unit-test's srq_test, cq_test and comp_channel_test. */
import { DEFAULT_LIMITS } from '../../../rnic/config.ts';
import { openRing } from '../../support/sim/work.ts';
import type { Drill, DrillCq } from '../language/drill.ts';
import type { StatusName } from '../language/names.ts';
import { listed, statusesOf, type Unit, unit } from './unit.ts';

const OK = 'SUCCESS';
const ok = (count: number): StatusName[] => Array.from({ length: count }, () => OK);

const arm = (u: Unit, cq: DrillCq, solicitedOnly = false) =>
  u.d.execute({ op: 'reqNotifyCq', cq: cq.handle, solicitedOnly });

// ── srq_test ──

unit('SrqTest.Create', (u) => {
  u.d.execute({ op: 'destroySrq', srq: u.d.srq().handle });
});
unit('SrqTest.DestroyInvalidSrq', (u) => u.d.expect.refused('EINVAL', { op: 'destroySrq', srq: 777 }));
unit('SrqTest.CreateWithInvalidPd', (u) => {
  u.d.expect.refused('EINVAL', { op: 'createSrq', pd: 777, maxWr: 1, maxSge: 1 });
});

unit('SrqTest.CreateQpWithSrq', (u) => {
  const srq = u.d.srq();
  const qp = u.d.qp('rc', { srq });
  u.d.expect.that(qp.rq, null, 'receive queue of its own');
  u.d.expect.refused('EBUSY', { op: 'destroySrq', srq: srq.handle });
});

for (const [name, maxWr, maxSge] of [
  ['DeviceCap', DEFAULT_LIMITS.queueDepth, 32],
  ['MaxWr', 100, 1],
  ['MaxSge', 1, 32],
] as const) {
  unit(`SrqTest.${name}`, (u) => {
    const granted = u.d.execute({ op: 'createSrq', pd: u.d.pd, maxWr, maxSge });
    u.d.expect.that(granted.maxWr >= maxWr && granted.maxSge >= maxSge, true, 'what was asked for');
  });
}
unit('SrqTest.ExceedDeviceMaxWr', (u) => {
  const maxWr = DEFAULT_LIMITS.queueDepth + 1;
  u.d.expect.refused('EINVAL', { op: 'createSrq', pd: u.d.pd, maxWr, maxSge: 1 });
});
unit('SrqTest.ExceedDeviceMaxSge', (u) => {
  u.d.expect.refused('EINVAL', { op: 'createSrq', pd: u.d.pd, maxWr: 1, maxSge: 33 });
});

unit('SrqTest.ModifyMaxWr', (u) => {
  const { handle } = u.d.srq(3);
  const { queue } = u.d.execute({ op: 'modifySrq', srq: handle, attributes: { maxWr: 30 } });
  u.d.expect.that(openRing(queue!).mask >= 30, true, 'larger');
});

/** A pair whose remote side receives from a new SRQ. */
function overSrq(u: Unit, type: 'rc' | 'ud' = 'rc', rnrRetry = 7) {
  const srq = u.d.srq(63);
  const [local, remote] = u.d.pair(type, { mtu: 1024, rnrRetry }, { mtu: 1024, srq });
  const recv = (count = 1): void => {
    u.d.use(remote);
    for (let i = 0; i < count; i++) u.d.post.recv({ sges: [u.into(64)] });
    u.d.use(local);
  };
  return { srq, local, remote, recv };
}

unit('SrqTest.Send', (u) => {
  const { local, remote, recv } = overSrq(u);
  recv();
  u.d.post.send(u.work());
  u.d.expect.that([statusesOf(local), statusesOf(remote)], [[OK], [OK]], 'statuses');
  u.copied();
});

unit('SrqTest.SendManyWithOneOutstanding', (u) => {
  const { local, remote, recv } = overSrq(u);
  for (let i = 0; i < 100; i++) {
    recv();
    u.d.post.send(u.work());
    u.d.expect.that([statusesOf(local), statusesOf(remote)], [[OK], [OK]], 'statuses');
  }
});

unit('SrqTest.QpFlush', (u) => {
  const { srq, local, remote, recv } = overSrq(u);
  const other = u.d.qp('rc', { srq, sendCq: remote.recvCq });
  recv();
  u.d.use(other);
  u.d.modify('ERR');
  u.d.expect.event('QP_LAST_WQE_REACHED');
  u.d.expect.that(statusesOf(other), [], 'statuses');
  u.d.use(local);
  u.d.post.send(u.work());
  u.d.expect.that([statusesOf(local), statusesOf(remote)], [[OK], [OK]], 'statuses');
});

unit('SrqTest.SrqLimit', (u) => {
  const { srq, local, remote, recv } = overSrq(u);
  recv(4);
  u.d.execute({ op: 'modifySrq', srq: srq.handle, attributes: { srqLimit: 3 } });
  u.d.post.send(u.work());
  u.d.expect.that(u.d.events(), [], 'events');
  u.d.post.send(u.work());
  u.d.expect.that(u.d.events(), ['SRQ_LIMIT_REACHED'], 'events');
  u.d.post.send(u.work());
  u.d.expect.that(u.d.events(), [], 'events');
  u.d.expect.that([statusesOf(local), statusesOf(remote)], [ok(3), ok(3)], 'statuses');
});

unit('SrqTest.SendRnr', (u) => {
  const { local, remote } = overSrq(u, 'rc', 1);
  u.d.post.send(u.work());
  u.d.advance('1s');
  u.d.expect.that([statusesOf(local), statusesOf(remote)], [['RNR_RETRY_EXC_ERR'], []], 'statuses');
});

for (const [name, post] of [
  ['Send', (u: Unit) => u.d.post.send(u.work())],
  ['WriteWithImmediate', (u: Unit) => u.d.post.write(u.work({ imm: 1 }))],
] as const) {
  unit(`SrqRcMultiplexTest.${name}`, (u) => {
    const srq = u.d.srq(63);
    const pairs = Array.from({ length: 10 }, () => u.d.pair('rc', { mtu: 1024 }, { mtu: 1024, srq }));
    u.d.use(pairs[0]![1]);
    for (let i = 0; i < 20; i++) u.d.post.recv({ sges: [u.into(64)] });
    for (let round = 0; round < 2; round++) {
      for (const [local] of pairs) {
        u.d.use(local);
        post(u);
      }
    }
    for (const [local, remote] of pairs) {
      u.d.expect.that([statusesOf(local), statusesOf(remote)], [ok(2), ok(2)], 'statuses');
    }
  });
}

// ── cq_test ──

unit('CqTest.Basic', (u) => {
  u.d.execute({ op: 'destroyCq', cq: u.d.cq().handle });
});
unit('CqTest.DestroyInvalidCq', (u) => u.d.expect.refused('EINVAL', { op: 'destroyCq', cq: 777 }));
for (const [name, cqe] of [
  ['NegativeCqe', -1],
  ['ZeroCqe', 0],
  ['MaxCqe/more', DEFAULT_LIMITS.cqDepth + 1],
] as const) {
  unit(`CqTest.${name}`, (u) => u.d.expect.refused('EINVAL', { op: 'createCq', cqe }));
}
unit('CqTest.MaxCqe', (u) => {
  u.d.expect.that(
    u.d.execute({ op: 'createCq', cqe: DEFAULT_LIMITS.cqDepth }).cqe >= DEFAULT_LIMITS.cqDepth,
    true,
    'cqe',
  );
});
unit('CqTest.WithChannel', (u) => {
  const { channel } = u.d.execute({ op: 'createCompChannel' });
  u.d.execute({ op: 'destroyCq', cq: u.d.cq(10, channel).handle });
});
unit('CqTest.ShareChannel', (u) => {
  const { channel } = u.d.execute({ op: 'createCompChannel' });
  for (let i = 0; i < 10; i++) u.d.cq(10, channel);
});

/** `pairs` QPs whose local or remote side shares one CQ; each sends `count` messages. */
function shared(u: Unit, side: 'local' | 'remote', pairs: number, count: number, cqe?: number): DrillCq {
  const cq = u.d.cq(cqe);
  const all = Array.from({ length: pairs }, () =>
    u.d.pair(
      'rc',
      { mtu: 1024, ...(side === 'local' && { sendCq: cq }) },
      { mtu: 1024, ...(side === 'remote' && { sendCq: cq }) },
    ),
  );
  for (const [local, remote] of all) {
    u.d.use(remote);
    for (let i = 0; i < count; i++) u.d.post.recv({ sges: [u.into(64)] });
    u.d.use(local);
    for (let i = 0; i < count; i++) u.d.post.send(u.work({ signaled: side === 'local' }));
  }
  if (side === 'local') for (const [, remote] of all) u.d.expect.that(statusesOf(remote), ok(count), 'received');
  return cq;
}

const statusesIn = (u: Unit, cq: DrillCq): StatusName[] => statusesOf({ ...u.local, sendCq: cq, recvCq: cq });

unit('CqBatchOpTest.SendSharedCq', (u) =>
  u.d.expect.that(statusesIn(u, shared(u, 'local', 4, 10)), ok(40), 'statuses'),
);
unit('CqBatchOpTest.RecvSharedCq', (u) =>
  u.d.expect.that(statusesIn(u, shared(u, 'remote', 4, 10)), ok(40), 'statuses'),
);

for (const [name, side, pairs] of [
  ['SendCqOverflow', 'local', 1],
  ['SendSharedCqOverflow', 'local', 3],
  ['RecvCqOverflow', 'remote', 1],
  ['RecvSharedCqOverflow', 'remote', 3],
] as const) {
  unit(`CqOverflowTest.${name}`, (u) => {
    const cq = overflow(u.d, u, side, pairs);
    const found = statusesIn(u, cq);
    u.d.expect.that(found.length, cq.ring.mask, 'what fits is there');
    u.d.expect.that(
      found.every((status) => status === OK),
      true,
      'and whole',
    );
    u.d.expect.that(u.d.events().includes('CQ_ERR'), true, 'CQ_ERR');
  });
}

function overflow(d: Drill, u: Unit, side: 'local' | 'remote', pairs: number): DrillCq {
  const cq = d.cq(7);
  for (let i = 0; i < pairs; i++) {
    const mine = { mtu: 1024, sendCq: cq } as const;
    const [local, remote] = d.pair(
      'rc',
      side === 'local' ? mine : { mtu: 1024 },
      side === 'remote' ? mine : { mtu: 1024 },
    );
    d.use(remote);
    for (let n = 0; n < 10; n++) d.post.recv({ sges: [u.into(64)] });
    d.use(local);
    for (let n = 0; n < 10; n++) d.post.send(u.work({ signaled: side === 'local' }));
    statusesOf(side === 'local' ? remote : local);
    d.advance('1s');
    statusesOf(side === 'local' ? remote : local);
  }
  return cq;
}

// ── comp_channel_test ──

unit('CompChannelTest.CreateDestroy', (u) => {
  const { channel } = u.d.execute({ op: 'createCompChannel' });
  u.d.execute({ op: 'destroyCompChannel', channel });
});

unit('CompChannelTest.DestroyChannelWithCqRef', (u) => {
  const { channel } = u.d.execute({ op: 'createCompChannel' });
  u.d.cq(10, channel);
  u.d.expect.refused('EBUSY', { op: 'destroyCompChannel', channel });
});

unit('CompChannelTest.RequestNotificationInvalidCq', (u) => {
  u.d.expect.refused('EINVAL', { op: 'reqNotifyCq', cq: 777, solicitedOnly: false });
});

unit('CompChannelTest.RequestNotificationOnCqWithoutCompChannel', (u) => {
  arm(u, u.local.sendCq);
  u.d.post.write(u.work());
  u.ends({ local: [OK] });
});

/** A pair with a channel on one side's CQ. */
function withChannel(u: Unit, side: 'local' | 'remote') {
  const { channel } = u.d.execute({ op: 'createCompChannel' });
  const cq = u.d.cq(63, channel);
  const mine = { mtu: 1024, sendCq: cq } as const;
  const [local, remote] = u.d.pair(
    'rc',
    side === 'local' ? mine : { mtu: 1024 },
    side === 'remote' ? mine : { mtu: 1024 },
  );
  const recv = (count: number): void => {
    u.d.use(remote);
    for (let i = 0; i < count; i++) u.d.post.recv({ sges: [u.into(64)] });
    u.d.use(local);
  };
  return { channel, cq, local, remote, recv };
}

for (const [name, post] of [
  ['Atomic', (u: Unit) => u.d.post.fetchAdd(u.atomic())],
  ['Write', (u: Unit) => u.d.post.write(u.work())],
] as const) {
  unit(`CompChannelTest.${name}`, (u) => {
    const { cq, local } = withChannel(u, 'local');
    arm(u, cq);
    u.d.use(local);
    post(u);
    u.d.expect.wake(cq);
    u.d.expect.completion({ status: OK });
  });
}

for (const type of [1, 2] as const) {
  unit(`CompChannelTest.Bind/Type${type}`, (u) => {
    const { cq, local } = withChannel(u, 'local');
    const { rKey } = u.d.window(type);
    arm(u, cq);
    u.d.use(local);
    u.d.post.bind({ window: rKey, region: u.dst.key, newKey: rKey + 1, address: 0x40_0000, length: 64, access: 4 });
    u.d.expect.wake(cq);
    u.d.expect.completion({ status: OK });
  });
}

for (const [name, solicited, solicitedOnly, wakes] of [
  ['RecvSolicitedNofityAny', true, false, true],
  ['RecvSolicitedNofitySolicited', true, true, true],
  ['RecvUnsolicitedNofityAny', false, false, true],
  ['RecvUnsolicitedNofitySolicited', false, true, false],
] as const) {
  unit(`CompChannelTest.${name}`, (u) => {
    const { cq, remote, recv } = withChannel(u, 'remote');
    arm(u, cq, solicitedOnly);
    recv(1);
    u.d.post.send(u.work({ solicited, signaled: false }));
    u.d.use(remote);
    if (wakes) u.d.expect.wake(cq);
    u.d.expect.completion({ status: OK });
  });
}

unit('CompChannelTest.DeleteWithUnacked', (u) => {
  const { cq, local } = withChannel(u, 'local');
  arm(u, cq);
  u.d.use(local);
  u.d.post.write(u.work());
  u.d.expect.wake(cq);
  u.d.expect.completion({ status: OK });
  u.d.execute({ op: 'destroyQp', qp: local.handle });
  u.d.expect.that(
    u.d.execute({ op: 'destroyCq', cq: cq.handle }).completionEvents,
    1,
    'events that want acknowledging',
  );
});

for (const [name, count] of [
  ['SameQueueMultipleOutstanding', 2],
  ['ManyOutstanding', 30],
] as const) {
  unit(`CompChannelTest.${name}`, (u) => {
    const { cq, local } = withChannel(u, 'local');
    for (let i = 0; i < count; i++) {
      arm(u, cq);
      u.d.use(local);
      u.d.post.write(u.work());
    }
    for (let i = 0; i < count; i++) u.d.expect.wake(cq);
    u.d.expect.that(statusesOf(local), ok(count), 'statuses');
  });
}

unit('CompChannelTest.MuxOntoSingleChannel', (u) => {
  const { channel } = u.d.execute({ op: 'createCompChannel' });
  const cqs = [u.d.cq(10, channel), u.d.cq(10, channel)];
  for (const cq of cqs) {
    const [local] = u.d.pair('rc', { sendCq: cq });
    arm(u, cq);
    u.d.use(local);
    u.d.post.write(u.work());
    u.d.expect.wake(cq);
    u.d.expect.completion({ status: OK });
  }
});

for (const [name, first, second] of [
  ['DowngradeRequest', false, true],
  ['UpgradeRequest', true, false],
] as const) {
  unit(`CompChannelTest.${name}`, (u) => {
    const { cq, remote, recv } = withChannel(u, 'remote');
    arm(u, cq, first);
    arm(u, cq, second);
    recv(1);
    u.d.post.send(u.work({ signaled: false }));
    u.d.use(remote);
    u.d.expect.wake(cq);
    u.d.expect.completion({ status: OK });
  });
}

unit('CompChannelTest.NoSpuriousEvents', (u) => {
  const { cq, local } = withChannel(u, 'local');
  u.d.use(local);
  u.d.post.write(u.work());
  u.d.expect.completion({ status: OK });
  arm(u, cq);
  u.d.advance('1s');
});

listed('queues');
