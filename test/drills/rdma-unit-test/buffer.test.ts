/** rdma-unit-test's buffer_test and access_test: octets before, behind and outside of regions and windows; rights, one missing at a time. */
import { Access } from '../../../rnic/constants.ts';
import { ALL_RIGHTS } from '../language/memory.ts';
import type { StatusName } from '../language/names.ts';
import type { Work } from '../language/post.ts';
import { BYTES, DST, listed, SRC, type Unit, unit, WRONG_KEY } from './unit.ts';
import { bind } from './windows.ts';

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED } = Access;
const REMOTE_ALL = REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC;
const OK = 'SUCCESS';
const OPERATIONS = ['Read', 'Write'] as const;

const post = (u: Unit, operation: 'Read' | 'Write', work: Work): number =>
  operation === 'Read' ? u.d.post.read(u.work(work)) : u.d.post.write(u.work(work));

const EMPTY = { sges: [] };

unit('BufferTest.RegisterZeroByteMr', (u) => {
  u.d.region({ bytes: 0, address: DST });
});

for (const [name, sge] of [
  ['SendZeroByte', (u: Unit) => u.from(0)],
  ['SendZeroByteFromZeroByteMr', (u: Unit) => u.from(0, 0, u.d.region({ bytes: 0, address: SRC }).key)],
  ['SendZeroByteOutsideMr', (u: Unit) => u.from(0, -4096)],
] as const) {
  unit(`BufferMrTest.${name}`, (u) => {
    u.recv({ sges: [{ ...u.into(0), address: DST - 4096 }] });
    u.d.post.send(u.work({ sges: [sge(u)] }));
    u.ends({ local: [OK], remote: [OK], states: ['RTS', 'RTS'] });
    u.dstUntouched();
  });
}

for (const operation of OPERATIONS) {
  for (const [name, to] of [
    ['ExceedFront', DST - 1],
    ['ExceedRear', DST + BYTES - 63],
  ] as const) {
    unit(`BufferMrTest.${operation}${name}`, (u) => {
      post(u, operation, { to });
      u.ends({ local: ['REM_ACCESS_ERR'], states: ['ERR', 'ERR'] });
      u.srcUntouched();
      u.dstUntouched();
    });
  }
  const ofNoOctets = (u: Unit) => u.d.region({ bytes: 0, address: DST + BYTES }).key;
  const zeroByteMr = operation === 'Read' ? 'FromZeroByteMr' : 'ToZeroByteMr';
  for (const [name, work] of [
    ['ZeroByte', () => EMPTY],
    ['ZeroByteOutsideMr', () => ({ ...EMPTY, to: DST - 4096 })],
    [`ZeroByte${zeroByteMr}`, (u: Unit) => ({ ...EMPTY, to: DST + BYTES, rKey: ofNoOctets(u) })],
    ['ZeroByteOutsideZeroByteMr', (u: Unit) => ({ ...EMPTY, to: DST, rKey: ofNoOctets(u) })],
    ['ZeroByteInvalidRKey', () => ({ ...EMPTY, rKey: WRONG_KEY })],
  ] as const) {
    unit(`BufferMrTest.${operation}${name}`, (u) => {
      post(u, operation, work(u));
      u.ends({ local: [OK], states: ['RTS', 'RTS'] });
      u.dstUntouched();
    });
  }
}

for (const type of [1, 2] as const) {
  unit(`BufferMwTest.BindExceedFront/Type${type}`, (u) => {
    bind(u, { type, address: DST - 1, length: BYTES, status: 'MW_BIND_ERR' });
  });
  unit(`BufferMwTest.BindExceedRear/Type${type}`, (u) => {
    bind(u, { type, address: DST, length: BYTES + 1, status: 'MW_BIND_ERR' });
  });
  for (const operation of OPERATIONS) {
    const inside = { address: DST + 1024, length: 1024 };
    for (const [name, to] of [
      ['ExceedFront', DST + 1023],
      ['ExceedRear', DST + 2048 - 63],
    ] as const) {
      unit(`BufferMwTest.${operation}${name}/Type${type}`, (u) => {
        const { rKey } = bind(u, { type, ...inside });
        post(u, operation, { to, rKey });
        u.ends({ local: ['REM_ACCESS_ERR'] });
        u.dstUntouched();
      });
    }
    for (const [name, to] of [
      ['ZeroByte', DST + 1024],
      ['ZeroByteOutsideMw', DST],
    ] as const) {
      unit(`BufferMwTest.${operation}${name}/Type${type}`, (u) => {
        const { rKey } = bind(u, { type, ...inside });
        post(u, operation, { ...EMPTY, to, rKey });
        u.ends({ local: [OK], states: ['RTS', 'RTS'] });
      });
    }
  }
}

// ── access_test ──

for (const [name, source, destination, local, remote] of [
  ['AllAccess', ALL_RIGHTS, ALL_RIGHTS, OK, OK],
  ['MissingSrcLocalWrite', MW_BIND | REMOTE_READ, ALL_RIGHTS, OK, OK],
  ['MissingDstLocalWrite', ALL_RIGHTS, MW_BIND | REMOTE_READ, 'REM_OP_ERR', 'LOC_PROT_ERR'],
  ['MissingDstRemoteWrite', ALL_RIGHTS, ALL_RIGHTS & ~REMOTE_WRITE, OK, OK],
] as const) {
  unit(`MessagingAccessTest.${name}`, (u) => {
    const [from, to] = [
      u.d.region({ address: SRC, access: source }),
      u.d.region({ address: DST, access: destination }),
    ];
    u.recv({ sges: [u.into(64, 0, to.key)] });
    u.d.post.send(u.work({ sges: [u.from(64, 0, from.key)] }));
    u.ends({ local: [local], remote: [remote] });
  });
}

const MEMORIES = ['MemoryRegion', 'MemoryWindowType1', 'MemoryWindowType2'] as const;

/** An R_Key with these rights over the remote buffer: of a region, or of a window bound on the remote QP. */
function keyWith(u: Unit, memory: (typeof MEMORIES)[number], access: number): number {
  if (memory === 'MemoryRegion') return u.d.region({ address: DST, access: access | LOCAL_WRITE }).key;
  return bind(u, { type: memory === 'MemoryWindowType1' ? 1 : 2, access }).rKey;
}

interface AccessCase {
  readonly name: string;
  readonly source?: number;
  readonly rights: number;
  /** Statuses of READ, WRITE, FETCH_ADD and CMP_SWAP; null: not a case of that. */
  readonly read: StatusName;
  readonly write: StatusName;
  readonly atomic: StatusName | null;
}

const DENIED = 'REM_ACCESS_ERR';
const CASES: readonly AccessCase[] = [
  { name: 'AllAccess', rights: REMOTE_ALL, read: OK, write: OK, atomic: OK },
  { name: 'ZeroBasedAccess', rights: REMOTE_ALL | ZERO_BASED, read: OK, write: OK, atomic: null },
  {
    name: 'MissingSrcLocalWrite',
    source: MW_BIND | REMOTE_READ,
    rights: REMOTE_ALL,
    read: 'LOC_PROT_ERR',
    write: OK,
    atomic: 'LOC_PROT_ERR',
  },
  { name: 'MissingDstRemoteWrite', rights: REMOTE_ALL & ~REMOTE_WRITE, read: OK, write: DENIED, atomic: OK },
  { name: 'MissingDstRemoteRead', rights: REMOTE_ALL & ~REMOTE_READ, read: DENIED, write: OK, atomic: OK },
  { name: 'MissingDstRemoteAtomic', rights: REMOTE_ALL & ~REMOTE_ATOMIC, read: OK, write: OK, atomic: DENIED },
];

for (const { name, source = ALL_RIGHTS, rights, read, write, atomic } of CASES) {
  for (const memory of MEMORIES) {
    if ((rights & ZERO_BASED) !== 0 && memory === 'MemoryWindowType1') continue;
    for (const [operation, status] of [
      ['Read', read],
      ['Write', write],
    ] as const) {
      unit(`RdmaAccessTest.${name}/${memory}${operation}`, (u) => {
        const rKey = keyWith(u, memory, rights);
        const to = (rights & ZERO_BASED) === 0 ? DST : 0;
        const from = u.d.region({ address: SRC, access: source });
        post(u, operation, { to, rKey, sges: [u.from(64, 0, from.key)] });
        u.ends({ local: [status] });
      });
    }
    if (atomic === null) continue;
    for (const operation of ['fetchAdd', 'compareSwap'] as const) {
      unit(`AtomicAccessTest.${name}/${memory}${operation}`, (u) => {
        const rKey = keyWith(u, memory, rights);
        const from = u.d.region({ address: SRC, access: source });
        u.d.post[operation](u.atomic({ rKey, sges: [u.from(8, 0, from.key)] }));
        u.ends({ local: [atomic] });
      });
    }
  }
}

listed('buffer');
