/** Keys: which octets one grants at the edges of the address space, how they are drawn, what invalidates them. SPEC-CHECKLIST R-170 … R-177, T-05. */
import fc from 'fast-check';
import t from 'tap';
import { Access, WcStatus } from '../../rnic/constants.ts';
import { KeyVerdict, type Pd } from '../../rnic/core.ts';
import type { Memory } from '../../rnic/memory/memory.ts';
import { type RegionEntry, RegionTable } from '../../rnic/memory/regions.ts';
import { Random } from '../support/sim/random.ts';

const MEMORY: Memory = {
  byteLength: 2 ** 50,
  read: () => true,
  readPosted: () => true,
  write: () => true,
  compareSwap: () => true,
  fetchAdd: () => true,
};
const PDS: Pd[] = [0, 1].map((handle) => ({ handle, context: 1, children: 0 }));
const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ } = Access;

const newTable = (seed = 5): RegionTable => {
  const random = new Random(seed);
  return new RegionTable(() => random.bits());
};
const hiOf = (value: bigint): number => Number((value >> 32n) & 0xffff_ffffn);
const loOf = (value: bigint): number => Number(value & 0xffff_ffffn);

function region(table: RegionTable, pd: Pd, iova: bigint, length: number, access: number, start = 0): RegionEntry {
  const entry = table.create(pd, 0, null);
  entry.give({ memory: MEMORY, start, length }, hiOf(iova), loOf(iova), access);
  return entry;
}

/** Addresses near the edges that go wrong: 0, 2^32, 2^53, 2^63, 2^64; and anywhere. */
const address = fc.oneof(
  fc
    .tuple(fc.constantFrom(0n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n), fc.bigInt({ min: -10_000n, max: 10_000n }))
    .map(([edge, by]) => (edge + by) & (2n ** 64n - 1n)),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const size = fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: 2 ** 46 }));
const rights = fc.integer({ min: 0, max: 15 });

t.test('regions: a key is checked for PD, rights and range as integers without end would be', async (t) => {
  const property = fc.property(
    fc.record({ iova: address, bytes: size, access: rights, pd: fc.constantFrom(...PDS), start: fc.nat(5000) }),
    fc.record({ by: fc.bigInt({ min: -20_000n, max: 20_000n }), bytes: size, access: rights, atEnd: fc.boolean() }),
    (made, asked) => {
      fc.pre(made.iova + BigInt(made.bytes) <= 2n ** 64n);
      const table = newTable();
      const entry = region(table, made.pd, made.iova, made.bytes, made.access, made.start);
      const va = (made.iova + (asked.atEnd ? BigInt(made.bytes) : 0n) + asked.by) & (2n ** 64n - 1n);
      const isInside = va >= made.iova && va + BigInt(asked.bytes) <= made.iova + BigInt(made.bytes);
      const expected =
        made.pd !== PDS[0]
          ? KeyVerdict.WRONG_PD
          : (made.access & asked.access) !== asked.access
            ? KeyVerdict.NO_RIGHT
            : isInside
              ? KeyVerdict.ACCEPT
              : KeyVerdict.OUT_OF_RANGE;
      const verdict = table.checkRemote(entry.key, hiOf(va), loOf(va), asked.bytes, PDS[0]!, 9, asked.access);
      const local = table.checkLocal(entry.key | 0, hiOf(va) | 0, loOf(va) | 0, asked.bytes, PDS[0]!, asked.access);
      if (verdict !== expected || local !== expected) return false;
      return expected !== KeyVerdict.ACCEPT || table.offset === made.start + Number(va - made.iova);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 4000 }));
});

t.test('regions: one octet before, one behind, and the last one of the address space', async (t) => {
  const table = newTable();
  const top = 2n ** 64n - 4096n;
  const { key } = region(table, PDS[0]!, top, 4096, REMOTE_READ | LOCAL_WRITE);
  const check = (va: bigint, length: number): number =>
    table.checkRemote(key, hiOf(va), loOf(va), length, PDS[0]!, 1, REMOTE_READ);
  t.equal(check(top, 4096), KeyVerdict.ACCEPT);
  t.equal(check(2n ** 64n - 1n, 1), KeyVerdict.ACCEPT);
  t.equal(check(top - 1n, 1), KeyVerdict.OUT_OF_RANGE);
  t.equal(check(2n ** 64n - 1n, 2), KeyVerdict.OUT_OF_RANGE, 'it does not go on at 0');
  t.equal(check(0n, 1), KeyVerdict.OUT_OF_RANGE);
});

t.test('keys: whole 32 bits, never 0, none twice in 2^20, no run of neighbours', async (t) => {
  const table = newTable();
  const seen = new Set<number>();
  const tags = new Set<number>();
  let neighbours = 0;
  let last = 0;
  for (let i = 0; i < 2 ** 20; i++) {
    const entry = table.create(PDS[0]!, 0, null);
    seen.add(entry.key);
    tags.add(entry.key >>> 8);
    if (Math.abs(entry.key - last) < 0x10000) neighbours++;
    last = entry.key;
    table.remove(entry);
  }
  t.equal(seen.size, 2 ** 20);
  t.equal(tags.size, 2 ** 20, 'the upper 24 bits alone tell keys apart');
  t.notOk(seen.has(0));
  t.ok(neighbours < 100, `${neighbours} of 2^20 followed the one before by less than 2^16`);
  t.equal(table.size, 0);
});

t.test('keys: two vRNICs, and one that was started again, do not draw the same', async (t) => {
  const draw = (seed: number) => {
    const table = newTable(seed);
    return Array.from({ length: 1000 }, () => table.create(PDS[0]!, 0, null).key);
  };
  const first = new Set(draw(1));
  t.ok(draw(2).filter((key) => first.has(key)).length < 3);
});

t.test('regions: a key that differs in one bit names nothing', async (t) => {
  const table = newTable();
  const { key } = region(table, PDS[0]!, 0n, 100, REMOTE_READ);
  for (let bit = 0; bit < 32; bit++) {
    const wrong = (key ^ (1 << bit)) >>> 0;
    t.equal(table.checkRemote(wrong, 0, 0, 1, PDS[0]!, 1, REMOTE_READ), KeyVerdict.NO_SUCH_KEY);
  }
});

t.test('regions: removing one revokes it for whoever still holds it', async (t) => {
  const table = newTable();
  const entry = region(table, PDS[0]!, 0n, 100, REMOTE_WRITE | LOCAL_WRITE);
  t.equal(table.checkRemote(entry.key, 0, 0, 100, PDS[0]!, 1, REMOTE_WRITE), KeyVerdict.ACCEPT);
  const held = table.found!;
  table.remove(entry);
  t.equal(held.valid, false);
  t.equal(table.checkRemote(entry.key, 0, 0, 1, PDS[0]!, 1, REMOTE_WRITE), KeyVerdict.NO_SUCH_KEY);
});

t.test('fast registration: only its own octets, under its own key, until it is invalidated', async (t) => {
  const table = newTable();
  const [pd, other] = PDS as [Pd, Pd];
  const entry = table.create(pd, 0, { memory: MEMORY, start: 4096, length: 8192 });
  const { key } = entry;
  t.equal(table.checkLocal(key, 0, 0, 1, pd, 0), KeyVerdict.REVOKED, 'nothing before REG_MR');
  const register = (by: Pd, length: number, access: number, lo = 0, hi = 0): WcStatus =>
    table.registerFast(by, entry.key, 0x55, hi, lo, length, access);
  t.equal(register(other, 100, LOCAL_WRITE), WcStatus.MW_BIND_ERR, 'another PD');
  t.equal(register(pd, 8193, LOCAL_WRITE), WcStatus.MW_BIND_ERR, 'longer than it was made');
  t.equal(register(pd, 100, REMOTE_WRITE), WcStatus.MW_BIND_ERR, 'REMOTE_WRITE without LOCAL_WRITE');
  t.equal(register(pd, 100, 0, 0xffff_ffff, 0xffff_ffff), WcStatus.MW_BIND_ERR, 'past the end of all addresses');
  t.equal(register(pd, 100, LOCAL_WRITE, 0x1000), WcStatus.SUCCESS);
  t.equal(entry.key, ((key & 0xffff_ff00) | 0x55) >>> 0, 'the consumer chose the lower 8 bits');
  t.equal(table.checkLocal(entry.key, 0, 0x1063, 1, pd, 0), KeyVerdict.ACCEPT);
  t.equal(table.offset, 4096 + 0x63);
  const held = table.found!;
  t.equal(register(pd, 100, LOCAL_WRITE), WcStatus.MW_BIND_ERR, 'not while it is registered');
  t.equal(table.invalidate(entry.key, other, 1), KeyVerdict.WRONG_PD);
  t.equal(table.invalidate(entry.key, pd, 1), KeyVerdict.ACCEPT);
  t.equal(register(pd, 50, LOCAL_WRITE), WcStatus.SUCCESS);
  t.equal(held.valid, false, 'who held the first registration does not get the second');
});

t.test('regions: what a command registered is not invalidated by a work request or a peer', async (t) => {
  const table = newTable();
  const { key } = region(table, PDS[0]!, 0n, 100, REMOTE_READ);
  t.equal(table.invalidate(key, PDS[0]!, 1), KeyVerdict.NO_RIGHT);
  t.equal(table.checkRemote(key, 0, 0, 1, PDS[0]!, 1, REMOTE_READ), KeyVerdict.ACCEPT);
});
