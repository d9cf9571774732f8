/** rdma-unit-test's pd_test, mr_test, ah_test and async_event_test: what belongs to which protection domain, regions that change or go, events. */
import { Access } from '../../../rnic/constants.ts';
import { SharedMemory } from '../../../rnic/memory/shared-memory.ts';
import { AV, OURS } from '../../support/engine.ts';
import { pathBetween } from '../../support/paths.ts';
import type { Drill } from '../language/drill.ts';
import type { StatusName } from '../language/names.ts';
import { DST, listed, SRC, type Unit, unit } from './unit.ts';
import { bind } from './windows.ts';

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC } = Access;
const OK = 'SUCCESS';
const DENIED = 'REM_ACCESS_ERR';
const NO_PD = 777;

const otherPd = (u: Unit): number => u.d.execute({ op: 'allocPd' }).pd;
const memory = new SharedMemory(new SharedArrayBuffer(64));
const region = { memory, start: 0, length: 64, iova: 0n, access: 0 } as const;

unit('PdTest.AllocPd', (u) => {
  u.d.execute({ op: 'deallocPd', pd: otherPd(u) });
});

unit('PdTest.DeleteInvalidPd', (u) => u.d.expect.refused('EINVAL', { op: 'deallocPd', pd: NO_PD }));

unit('PdTest.AllocQpWithInvalidPd', (u) => {
  const cq = u.local.sendCq.handle;
  const cap = { maxSendWr: 1, maxRecvWr: 1, maxSendSge: 1, maxRecvSge: 1, maxInlineData: 0 };
  for (const type of [2, 4] as const)
    u.d.expect.refused('EINVAL', { op: 'createQp', pd: NO_PD, type, sendCq: cq, recvCq: cq, cap, sqSigAll: false });
});

unit('PdTest.AllocMrWithInvalidPd', (u) => u.d.expect.refused('EINVAL', { op: 'regMr', pd: NO_PD, ...region }));

unit('PdTest.AllocMwWithInvalidPd', (u) => {
  for (const type of [1, 2] as const) u.d.expect.refused('EINVAL', { op: 'allocMw', pd: NO_PD, type });
});

const CHILDREN = {
  AhRefCount: (d: Drill, pd: number) => d.ah(pd),
  MrRefCount: (d: Drill, pd: number) => d.region({ pd }),
  MwRefCount: (d: Drill, pd: number) => d.window(2, pd),
  QpRefCount: (d: Drill, pd: number) => d.qp('rc', { pd, state: 'RESET' }),
  SrqRefCount: (d: Drill, pd: number) => d.srq(1, 0, pd),
} as const;
for (const [name, make] of Object.entries(CHILDREN)) {
  unit(`PdTest.${name}`, (u) => {
    const pd = otherPd(u);
    make(u.d, pd);
    u.d.expect.refused('EBUSY', { op: 'deallocPd', pd });
  });
}

for (const type of [1, 2] as const) {
  const inPd = (u: Unit, mw: number, mr: number): void => {
    const { mw: handle, rKey } = u.d.window(type, mw);
    const from = u.d.region({ pd: mr, address: DST });
    bind(u, { type, window: { mw: handle, rKey }, region: from, status: 'MW_BIND_ERR' });
  };
  unit(`PdBindTest.MwOnOtherPd/Type${type}`, (u) => inPd(u, otherPd(u), u.d.pd));
  unit(`PdBindTest.MrOnOtherPd/Type${type}`, (u) => inPd(u, u.d.pd, otherPd(u)));
  unit(`PdBindTest.MrMwOnOtherPd/Type${type}`, (u) => {
    const pd = otherPd(u);
    inPd(u, pd, pd);
  });
}

const foreign = (u: Unit, address: number): number => u.d.region({ pd: otherPd(u), address }).key;

unit('PdRcLoopbackMrTest.SendMrOtherPdLocal', (u) => {
  u.recv();
  u.d.post.send(u.work({ sges: [u.from(64, 0, foreign(u, SRC))] }));
  u.ends({ local: ['LOC_PROT_ERR'], remote: [] });
});

unit('PdRcLoopbackMrTest.SendMrOtherPdRemote', (u) => {
  u.recv({ sges: [u.into(64, 0, foreign(u, DST))] });
  u.d.post.send(u.work());
  u.ends({ local: ['REM_OP_ERR'], remote: ['LOC_PROT_ERR'] });
});

const OPERATIONS = {
  Read: (u: Unit, more: object) => u.d.post.read(u.work(more)),
  Write: (u: Unit, more: object) => u.d.post.write(u.work(more)),
  FetchAdd: (u: Unit, more: object) => u.d.post.fetchAdd(u.atomic(more)),
  CompSwap: (u: Unit, more: object) => u.d.post.compareSwap(u.atomic({ compare: 0n, swap: 1n, ...more })),
} as const;

for (const [name, post] of Object.entries(OPERATIONS)) {
  const length = name === 'Read' || name === 'Write' ? 64 : 8;
  unit(`PdRcLoopbackMrTest.Basic${name}MrOtherPdLocal`, (u) => {
    post(u, { sges: [u.from(length, 0, foreign(u, SRC))] });
    u.ends({ local: ['LOC_PROT_ERR'] });
  });
  unit(`PdRcLoopbackMrTest.Basic${name}MrOtherPdRemote`, (u) => {
    post(u, { rKey: foreign(u, DST) });
    u.ends({ local: [DENIED] });
    u.dstUntouched();
  });
  unit(`PdType1MwTest.${name === 'CompSwap' ? 'CompSwap' : name}MwOtherPd`, (u) => {
    const pd = otherPd(u);
    const [binder] = u.d.pair('rc', { pd }, { pd });
    const window = { ...u.d.window(1, pd) };
    const { rKey } = bind(u, { type: 1, window, on: binder, region: u.d.region({ pd, address: DST }) });
    post(u, { rKey });
    u.ends({ local: [DENIED] });
  });
}

unit(
  'PdUdLoopbackTest.SendAhOnOtherPd',
  (u) => {
    u.recv({ sges: [u.into(128)] });
    u.d.post.send(u.work({ ah: u.d.ah(otherPd(u)), destQpn: u.remote.qpn }));
    u.ends({ local: ['LOC_QP_OP_ERR'], remote: [] });
  },
  { type: 'ud' },
);

unit('PdSrqTest.CreateSrq', (u) => u.d.expect.refused('EINVAL', { op: 'createSrq', pd: NO_PD, maxWr: 1, maxSge: 1 }));

/** The remote QP receives from an SRQ of `srqPd`, whose buffer has a key of `mrPd`. */
function overSrq(u: Unit, srqPd: number, mrPd: number, post: 'send' | 'write'): [StatusName[], StatusName[]] {
  const srq = u.d.srq(15, 0, srqPd);
  const [local, remote] = u.d.pair('rc', {}, { srq });
  const key = u.d.region({ pd: mrPd, address: DST }).key;
  u.d.use(remote);
  u.d.post.recv({ sges: [u.into(64, 0, key)] });
  u.d.use(local);
  u.d.post[post](u.work(post === 'write' ? { imm: 1 } : {}));
  u.d.advance('2s');
  u.d.events();
  return [u.statuses(local), u.statuses(remote)];
}

unit('PdSrqTest.SrqRecvMrSrqMatch', (u) => {
  const pd = otherPd(u);
  u.d.expect.that(overSrq(u, pd, pd, 'send'), [[OK], [OK]], 'statuses');
});

unit('PdSrqTest.SrqRecvMrSrqMismatch', (u) => {
  const found = overSrq(u, otherPd(u), u.d.pd, 'send');
  u.d.expect.that(found, [['REM_OP_ERR'], ['LOC_PROT_ERR']], 'statuses');
});

unit('PdSrqTest.QpSrqPdMismatchWriteWithImm', (u) => {
  const pd = otherPd(u);
  u.d.expect.that(overSrq(u, pd, pd, 'write'), [[OK], [OK]], 'statuses');
});

// ── mr_test ──

unit('MrTest.RegisterMemory', (u) => {
  const { mr } = u.d.execute({ op: 'regMr', pd: u.d.pd, ...region });
  u.d.execute({ op: 'deregMr', mr });
});

unit('MrTest.DeregInvalidMr', (u) => u.d.expect.refused('EINVAL', { op: 'deregMr', mr: 777 }));

for (const [name, access] of [
  ['RemoteWriteWithoutLocalWrite', REMOTE_WRITE],
  ['RemoteAtomicWithoutLocalWrite', REMOTE_ATOMIC],
] as const) {
  unit(`MrTest.${name}`, (u) => u.d.expect.refused('EINVAL', { op: 'regMr', pd: u.d.pd, ...region, access }));
}

unit('MrTest.ReregMrChangeAddress', (u) => {
  const { mr } = u.d.execute({ op: 'regMr', pd: u.d.pd, ...region });
  const { rKey } = u.d.execute({
    op: 'reregMr',
    mr,
    flags: 5,
    ...region,
    length: 32,
    iova: 4096n,
    access: REMOTE_READ,
  });
  u.d.post.read(u.work({ rKey, to: 4096, sges: [u.from(32)] }));
  u.ends({ local: [OK] });
});

unit('MrTest.ReregMrChangePd', (u) => {
  const pd = otherPd(u);
  u.d.execute({ op: 'reregMr', mr: u.dst.mr, flags: 2, pd });
  u.d.post.read(u.work());
  u.ends({ local: [DENIED] });
});

unit('MrTest.ReregMrInvalidPermission', (u) => {
  u.d.expect.refused('EINVAL', { op: 'reregMr', mr: u.dst.mr, flags: 4, access: REMOTE_WRITE });
  u.d.post.write(u.work());
  u.ends({ local: [OK] });
});

unit('MrTest.ReregMrInvalidBuffer', (u) => {
  u.d.expect.refused('EFAULT', { op: 'reregMr', mr: u.dst.mr, flags: 1, ...region, length: 65 });
  u.d.post.write(u.work());
  u.ends({ local: [OK] });
});

unit('MrLoopbackTest.OutstandingRecv', (u) => {
  u.recv();
  u.d.execute({ op: 'deregMr', mr: u.dst.mr });
  u.ends({ local: [], remote: [] });
});

unit('MrLoopbackTest.ReregMrChangeAccess', (u) => {
  const { rKey } = u.d.execute({ op: 'reregMr', mr: u.dst.mr, flags: 4, access: LOCAL_WRITE });
  u.d.post.read(u.work({ rKey }));
  u.ends({ local: [DENIED], states: ['ERR', 'ERR'] });
});

for (const [name, post, gone] of [
  ['OutstandingRead', 'read', 'LOC_PROT_ERR'],
  ['OutstandingWrite', 'write', 'LOC_PROT_ERR'],
] as const) {
  unit(`MrLoopbackTest.${name}`, (u) => {
    for (let i = 0; i < 10; i++) u.d.post[post](u.work());
    u.d.together(() => {
      for (let i = 0; i < 10; i++) u.d.post[post](u.work());
      u.d.execute({ op: 'deregMr', mr: u.src.mr });
    });
    const flushed = Array.from({ length: 9 }, () => 'WR_FLUSH_ERR' as const);
    u.ends({ local: [...Array.from({ length: 10 }, () => OK as StatusName), gone, ...flushed] });
  });
}

// ── ah_test, async_event_test ──

unit('AhTest.CreateAndDestroy', (u) => {
  const { ah } = u.d.execute({ op: 'createAh', pd: u.d.pd, av: AV, path: pathBetween(OURS, OURS) });
  u.d.execute({ op: 'destroyAh', ah });
});

unit('AhTest.DestroyWithInvalidHandle', (u) => u.d.expect.refused('EINVAL', { op: 'destroyAh', ah: 777 }));

for (const [name, post] of [
  ['ReadRKeyViolation', 'read'],
  ['WriteRKeyViolation', 'write'],
] as const) {
  unit(`AsyncEventTest.${name}`, (u) => {
    u.d.post[post](u.work({ rKey: 0x123 }));
    u.d.expect.event('QP_ACCESS_ERR');
    u.ends({ local: [DENIED], states: ['ERR', 'ERR'] });
  });
}

listed('pd');
