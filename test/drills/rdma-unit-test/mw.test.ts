/** rdma-unit-test's mw_test: memory windows, bound, bound anew, invalidated, across QPs. */
import { Access } from '../../../rnic/constants.ts';
import { ALL_RIGHTS } from '../language/memory.ts';
import { BYTES, DST, listed, type Unit, unit, WRONG_KEY } from './unit.ts';
import { bind } from './windows.ts';

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED } = Access;
const OK = 'SUCCESS';
const DENIED = 'REM_ACCESS_ERR';

function readWith(u: Unit, rKey: number, status: 'SUCCESS' | 'REM_ACCESS_ERR', to = DST): void {
  u.d.use(u.local);
  u.d.post.read(u.work({ rKey, to }));
  u.ends({ local: [status] });
}

for (const type of [1, 2] as const) {
  const general = (name: string, script: (u: Unit) => void) => unit(`MwGeneralTest.${name}/Type${type}`, script);
  general('Alloc', (u) => {
    const { mw } = u.d.window(type);
    u.d.execute({ op: 'deallocMw', mw });
  });
  general('DeallocInvalidMw', (u) => u.d.expect.refused('EINVAL', { op: 'deallocMw', mw: 777 }));
  general('Bind', (u) => {
    bind(u, { type });
  });
  general('Read', (u) => readWith(u, bind(u, { type }).rKey, OK));
  general('BindReadDiffQp', (u) => readWith(u, bind(u, { type, on: u.local }).rKey, type === 1 ? OK : DENIED));
  general('BindInvalidMr', (u) => {
    bind(u, { type, region: { key: WRONG_KEY }, status: 'MW_BIND_ERR' });
  });
  general('BindInvalidMw', (u) => {
    bind(u, { type, window: { mw: 0, rKey: WRONG_KEY }, status: 'MW_BIND_ERR' });
  });
  general('DeregMrWhenBound', (u) => {
    const { rKey } = bind(u, { type });
    u.d.expect.refused('EBUSY', { op: 'deregMr', mr: u.dst.mr });
    readWith(u, rKey, OK);
  });
}

unit('MwGeneralTest.ReadZeroBased/Type2', (u) => {
  const access = REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC | ZERO_BASED;
  readWith(u, bind(u, { type: 2, access }).rKey, OK, 0);
});

unit('MwType1Test.BindZeroLengthMw', (u) => {
  bind(u, { type: 1, length: 0 });
});

unit('MwType1Test.UnsignaledBindError', (u) => unsignaledBindError(u, 1));
unit('MwType2Test.UnsignaledBindError', (u) => unsignaledBindError(u, 2));

function unsignaledBindError(u: Unit, type: 1 | 2): void {
  const { rKey } = u.d.window(type);
  u.d.use(u.remote);
  const outside = { address: DST + 0x10_0000, length: BYTES, access: REMOTE_READ };
  u.d.post.bind({ window: rKey, region: u.dst.key, newKey: rKey + 1, signaled: false, ...outside });
  u.ends({ remote: ['MW_BIND_ERR'] });
}

for (const type of [1, 2] as const) {
  unit(`MwType${type}Test.DestroyQpWithType${type}Bound`, (u) => {
    bind(u, { type });
    u.d.execute({ op: 'destroyQp', qp: u.remote.handle });
  });
  unit(`MwType${type}Test.BindType1WhenQpError`, (u) => {
    u.d.use(u.remote);
    u.d.modify('ERR');
    bind(u, { type, status: 'WR_FLUSH_ERR' });
  });
}

unit('MwType1Test.CrossQpManagement', (u) => {
  const window = bind(u, { type: 1, on: u.local });
  bind(u, { type: 1, window, on: u.remote });
});

unit('MwType1Test.DeallocPdWithOutstandingMw', (u) => {
  const { pd } = u.d.execute({ op: 'allocPd' });
  const { mw } = u.d.window(1, pd);
  u.d.expect.refused('EBUSY', { op: 'deallocPd', pd });
  u.d.execute({ op: 'deallocMw', mw });
  u.d.execute({ op: 'deallocPd', pd });
});

unit('MwType2Test.Bind', (u) => {
  bind(u, { type: 2 });
});

unit('MwType2Test.UnsignaledBind', (u) => {
  const { rKey } = u.d.window(2);
  u.d.use(u.remote);
  const range = { address: DST, length: BYTES, access: REMOTE_READ };
  u.d.post.bind({ window: rKey, region: u.dst.key, newKey: rKey + 1, signaled: false, ...range });
  u.ends({ remote: [] });
});

unit('MwType2Test.BindZeroLengthMw', (u) => {
  bind(u, { type: 2, length: 0, status: 'MW_BIND_ERR' });
});

unit('MwType2Test.BindRKeyReuse', (u) => {
  const [one, two] = [bind(u, { type: 2 }), bind(u, { type: 2 })];
  u.d.expect.that(one.rKey === two.rKey, false, 'one key for two windows');
});

unit('MwType2Test.DistinctRKeys', (u) => {
  const keys = Array.from({ length: 10 }, () => bind(u, { type: 2 }).rKey >>> 8);
  u.d.expect.that(new Set(keys).size, 10, 'upper 24 bits');
});

for (const [name, signaled] of [
  ['LocalInvalidate', true],
  ['UnsignaledLocalInvalidate', false],
] as const) {
  unit(`MwType2Test.${name}`, (u) => {
    const { rKey } = bind(u, { type: 2 });
    u.d.use(u.remote);
    u.d.post.localInv(rKey, signaled);
    u.ends({ remote: signaled ? [OK] : [] });
    readWith(u, rKey, DENIED);
  });
}

unit('MwType2Test.UnsignaledLocalInvalidateError', (u) => {
  u.d.use(u.remote);
  u.d.post.localInv(WRONG_KEY, false);
  u.ends({ remote: ['MW_BIND_ERR'] });
});

unit('MwType2Test.DeregMrWhenBound', (u) => {
  const { rKey } = bind(u, { type: 2 });
  u.d.expect.refused('EBUSY', { op: 'deregMr', mr: u.dst.mr });
  readWith(u, rKey, OK);
});

unit('MwType2Test.RebindToDifferentQp', (u) => {
  const window = bind(u, { type: 2 });
  const [, other] = u.d.pair('rc');
  bind(u, { type: 2, window, on: other, status: 'MW_BIND_ERR' });
});

unit('MwType2Test.RebindToDifferentRKey', (u) => {
  const window = bind(u, { type: 2 });
  bind(u, { type: 2, window, status: 'MW_BIND_ERR' });
});

unit('MwType2Test.CrossQpInvalidate', (u) => {
  const { rKey } = bind(u, { type: 2 });
  u.d.post.localInv(rKey);
  u.ends({ local: ['MW_BIND_ERR'] });
});

unit('MwType2Test.CrossQpRead', (u) => {
  const { rKey } = bind(u, { type: 2 });
  const [local] = u.d.pair('rc');
  u.d.use(local);
  u.d.post.read(u.work({ rKey }));
  u.d.advance('1s');
  u.d.events();
  u.d.expect.completion({ status: DENIED });
});

const BINDS: readonly (readonly [name: string, region: number, window: number, status: 'SUCCESS' | 'MW_BIND_ERR'])[] = [
  ['AllMrAllMw', ALL_RIGHTS, REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC, OK],
  ['MissingBind', ALL_RIGHTS & ~MW_BIND, REMOTE_READ, 'MW_BIND_ERR'],
  ['MissingLocalWriteForRead', MW_BIND | REMOTE_READ, REMOTE_READ, OK],
  ['MissingLocalWriteForWrite', MW_BIND | REMOTE_READ, REMOTE_WRITE, 'MW_BIND_ERR'],
  ['MissingLocalWriteForAtomic', MW_BIND | REMOTE_READ, REMOTE_ATOMIC, 'MW_BIND_ERR'],
  ['OnlyLocalWriteForAll', MW_BIND | LOCAL_WRITE, REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC, OK],
];
for (const [name, regionAccess, access, status] of BINDS) {
  for (const type of [1, 2] as const) {
    unit(`MwBindAccessTest.MwBindAccessTests/${name}Type${type}`, (u) => {
      bind(u, { type, region: u.d.region({ address: DST, access: regionAccess }), access, status });
    });
  }
}

/** Four readers; the window goes while they read: from then on each is refused, and none reads what it may not. */
function readersUntil(u: Unit, end: (rKey: number, mw: number) => void): void {
  const { mw, rKey } = bind(u, { type: 1 });
  const readers = Array.from({ length: 4 }, () => u.d.pair('rc')[0]);
  const readAll = () => {
    for (const reader of readers) {
      u.d.use(reader);
      u.d.post.read(u.work({ rKey }));
    }
  };
  readAll();
  for (const reader of readers) {
    u.d.use(reader);
    u.d.expect.completion({ status: OK });
  }
  end(rKey, mw);
  readAll();
  u.d.events();
  for (const reader of readers) {
    u.d.use(reader);
    u.d.expect.completion({ status: DENIED });
  }
}

unit('MwType2AdvancedTest.OnlyReads', (u) => {
  const { rKey } = bind(u, { type: 2 });
  for (let i = 0; i < 20; i++) readWith(u, rKey, OK);
});

unit('MwType2AdvancedTest.Invalidate', (u) => {
  const { rKey } = bind(u, { type: 2 });
  u.d.together(() => {
    u.d.use(u.local);
    for (let i = 0; i < 8; i++) u.d.post.read(u.work({ rKey }));
    u.d.use(u.remote);
    u.d.post.localInv(rKey, false);
  });
  u.ends({ local: [DENIED, ...Array.from({ length: 7 }, () => 'WR_FLUSH_ERR' as const)] });
});

unit('MwType2AdvancedTest.Rebind', (u) => {
  readersUntil(u, (rKey, mw) => {
    bind(u, { type: 1, window: { mw, rKey } });
  });
});

unit('MwType2AdvancedTest.Dealloc', (u) => {
  readersUntil(u, (_rKey, mw) => {
    u.d.execute({ op: 'deallocMw', mw });
  });
});

listed('mw');
