/** Memory windows: binding, binding anew, invalidating, and what a bound one grants. SPEC-CHECKLIST R-176 … R-178. */
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
const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED } = Access;

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

const rights = fc.integer({ min: 0, max: 15 });

t.test('windows: bounds, rights and QP of any binding are the window’s, never its region’s', async (t) => {
  const property = fc.property(
    fc.record({ iova: fc.bigInt({ min: 0n, max: 2n ** 64n - 100_000n }), bytes: fc.integer({ min: 1, max: 90_000 }) }),
    fc.record({ from: fc.integer({ min: -50, max: 90_050 }), bytes: fc.integer({ min: 0, max: 90_000 }) }),
    fc.record({
      type: fc.constantFrom(1, 2),
      access: rights,
      regionAccess: fc.integer({ min: 0, max: 31 }),
      zero: fc.boolean(),
    }),
    fc.record({
      from: fc.integer({ min: -20, max: 90_020 }),
      bytes: fc.integer({ min: 1, max: 500 }),
      qpn: fc.constantFrom(7, 8),
    }),
    (made, window, how, asked) => {
      const table = newTable();
      const pd = PDS[0]!;
      const mr = region(table, pd, made.iova, made.bytes, how.regionAccess);
      const mw = table.create(pd, how.type, null);
      const va = made.iova + BigInt(window.from);
      fc.pre(va >= 0n);
      const access = how.access | (how.zero ? ZERO_BASED : 0);
      const newKey = (mw.key + 1) & 0xff;
      const status = table.bindWindow(pd, 7, 2, mw.key, newKey, mr.key, hiOf(va), loOf(va), window.bytes, access);
      const fits = window.from >= 0 && window.from + window.bytes <= made.bytes;
      const writes = (how.access & (REMOTE_WRITE | REMOTE_ATOMIC)) !== 0;
      const isAllowed =
        window.bytes === 0
          ? how.type === 1 && !how.zero
          : fits &&
            (how.regionAccess & MW_BIND) !== 0 &&
            (!writes || (how.regionAccess & LOCAL_WRITE) !== 0) &&
            !(how.type === 1 && how.zero);
      if ((status === WcStatus.SUCCESS) !== isAllowed) return false;
      if (!isAllowed || window.bytes === 0) return mr.windows === 0 && mw.grant === null;
      const first = how.zero ? 0n : va;
      const at = first + BigInt(asked.from);
      if (at < 0n) return true;
      const isInside = asked.from >= 0 && asked.from + asked.bytes <= window.bytes;
      const reads = (how.access & REMOTE_READ) !== 0;
      const expected =
        how.type === 2 && asked.qpn !== 7
          ? KeyVerdict.WRONG_QP
          : !reads
            ? KeyVerdict.NO_RIGHT
            : isInside
              ? KeyVerdict.ACCEPT
              : KeyVerdict.OUT_OF_RANGE;
      const verdict = table.checkRemote(mw.key, hiOf(at), loOf(at), asked.bytes, pd, asked.qpn, REMOTE_READ);
      if (verdict !== expected) return false;
      if (verdict === KeyVerdict.ACCEPT && table.offset !== window.from + asked.from) return false;
      // A window is not for SGEs.
      return table.checkLocal(mw.key, hiOf(at), loOf(at), 1, pd, 0) === KeyVerdict.NO_SUCH_KEY;
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: 4000 }));
});

t.test('windows: PD, key and kind of QP must be right', async (t) => {
  const table = newTable();
  const [pd, other] = PDS as [Pd, Pd];
  const mr = region(table, pd, 0n, 100, MW_BIND | LOCAL_WRITE);
  const foreign = region(table, other, 0n, 100, MW_BIND | LOCAL_WRITE);
  const mw = table.create(pd, 1, null);
  const bind = (by: Pd, window: number, of: number, qpType: 2 | 3 | 4, newKey = window + 1): WcStatus =>
    table.bindWindow(by, 7, qpType, window, newKey, of, 0, 0, 10, REMOTE_READ);
  t.equal(bind(other, mw.key, mr.key, 2), WcStatus.MW_BIND_ERR, 'a QP of another PD');
  t.equal(bind(pd, mw.key, foreign.key, 2), WcStatus.MW_BIND_ERR, 'a region of another PD');
  t.equal(bind(pd, mw.key, mw.key, 2), WcStatus.MW_BIND_ERR, 'a window over itself');
  t.equal(bind(pd, mr.key, mr.key, 2), WcStatus.MW_BIND_ERR, 'a region is no window');
  t.equal(bind(pd, mw.key ^ 0x100, mr.key, 2), WcStatus.MW_BIND_ERR, 'no such window');
  t.equal(bind(pd, mw.key, mr.key, 4), WcStatus.MW_BIND_ERR, 'UD has no windows');
  t.equal(bind(pd, mw.key, mr.key, 2, mw.key), WcStatus.MW_BIND_ERR, 'the key must change');
  t.equal(bind(pd, mw.key, mr.key, 3), WcStatus.SUCCESS);
});

t.test('windows: type 1 is bound anew at will and its old key and holder are out at once', async (t) => {
  const table = newTable();
  const [pd] = PDS as [Pd];
  const mr = region(table, pd, 0n, 100, MW_BIND | LOCAL_WRITE);
  const mw = table.create(pd, 1, null);
  const bind = (from: number, length: number): WcStatus =>
    table.bindWindow(pd, 7, 2, mw.key, mw.key + 1, mr.key, 0, from, length, REMOTE_WRITE);
  t.equal(bind(0, 10), WcStatus.SUCCESS);
  const first = mw.key;
  table.checkRemote(first, 0, 0, 10, pd, 1, REMOTE_WRITE);
  const held = table.found!;
  t.equal(bind(50, 10), WcStatus.SUCCESS);
  t.equal(held.valid, false);
  t.equal(held.start, 0, 'what was held is not turned into something else');
  t.equal(table.checkRemote(first, 0, 50, 10, pd, 1, REMOTE_WRITE), KeyVerdict.NO_SUCH_KEY);
  t.equal(table.checkRemote(mw.key, 0, 50, 10, pd, 1, REMOTE_WRITE), KeyVerdict.ACCEPT);
  t.equal(mr.windows, 1);
  t.equal(table.invalidate(mw.key, pd, 7), KeyVerdict.NO_RIGHT, 'type 1 cannot be invalidated');
  t.equal(bind(0, 0), WcStatus.SUCCESS, 'binding nothing takes it off');
  t.equal(mr.windows, 0);
  t.equal(table.checkRemote(mw.key, 0, 50, 1, pd, 1, REMOTE_WRITE), KeyVerdict.REVOKED);
});

t.test('windows: type 2 belongs to one QP and is free again only after it was invalidated there', async (t) => {
  const table = newTable();
  const [pd] = PDS as [Pd];
  const mr = region(table, pd, 0n, 100, MW_BIND | LOCAL_WRITE);
  const mw = table.create(pd, 2, null);
  const bind = (length = 10): WcStatus =>
    table.bindWindow(pd, 7, 2, mw.key, mw.key + 1, mr.key, 0, 0, length, REMOTE_WRITE);
  t.equal(bind(0), WcStatus.MW_BIND_ERR, 'never empty');
  t.equal(bind(), WcStatus.SUCCESS);
  t.equal(bind(), WcStatus.MW_BIND_ERR, 'not twice');
  t.equal(table.invalidate(mw.key, pd, 8), KeyVerdict.WRONG_QP);
  t.equal(table.invalidate(mr.key, pd, 7), KeyVerdict.NO_RIGHT);
  t.equal(table.invalidate(mw.key, pd, 7), KeyVerdict.ACCEPT);
  t.equal(mr.windows, 0);
  t.equal(bind(), WcStatus.SUCCESS);
  table.remove(mw);
  t.equal(mr.windows, 0, 'deallocating a bound window takes it off its region');
});
