/** The key table against a naive model that keeps addresses as BigInts. SPEC-CHECKLIST R-076 … … R-178. */
import fc from 'fast-check';
import t from 'tap';
import { Access, QpType, WcStatus } from '../../rnic/constants.ts';
import { KeyVerdict, type Pd } from '../../rnic/core.ts';
import { type RegionEntry, RegionTable } from '../../rnic/memory/regions.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { Random } from '../support/sim/random.ts';

const { LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED } = Access;
const { ACCEPT, NO_SUCH_KEY, WRONG_PD, NO_RIGHT, OUT_OF_RANGE, WRONG_QP, REVOKED } = KeyVerdict;
const { SUCCESS, MW_BIND_ERR } = WcStatus;
const REMOTE = REMOTE_WRITE | REMOTE_READ | REMOTE_ATOMIC;

const MEMORY = new SharedMemory(new SharedArrayBuffer(65_536));
const PDS: readonly Pd[] = [0, 1].map((handle) => ({ handle, context: 1, children: 0 }));
const QPNS: readonly number[] = [17, 18];
const TOP = 2n ** 64n;
const hi = (address: bigint): number => Number(address >> 32n);
const lo = (address: bigint): number => Number(address & 0xffff_ffffn);
const newTable = (seed = 1): RegionTable => {
  const random = new Random(seed);
  return new RegionTable(() => random.bits());
};

// ── The model ──

interface ModelGrant {
  readonly base: bigint;
  readonly length: number;
  readonly start: number;
  readonly access: number;
  readonly boundQpn: number;
}

interface ModelKey {
  key: number;
  readonly pd: Pd;
  readonly windowType: number;
  readonly fastBytes: number;
  readonly entry: RegionEntry;
  grant: ModelGrant | null;
  parent: ModelKey | null;
}

class Model {
  readonly keys: ModelKey[] = [];

  find(key: number): ModelKey | undefined {
    return this.keys.find((known) => known.key === key);
  }

  windowsOf(region: ModelKey): number {
    return this.keys.filter((known) => known.parent === region).length;
  }

  check(found: ModelKey | undefined, qpn: number, address: bigint, length: number, pd: Pd, access: number): number {
    if (found === undefined) return NO_SUCH_KEY;
    const { grant } = found;
    if (grant !== null && grant.boundQpn !== 0 && qpn !== 0 && grant.boundQpn !== qpn) return WRONG_QP;
    if (found.pd !== pd) return WRONG_PD;
    if (grant === null) return REVOKED;
    if ((access & ~grant.access) !== 0) return NO_RIGHT;
    const isInside = address >= grant.base && address + BigInt(length) <= grant.base + BigInt(grant.length);
    return isInside ? ACCEPT : OUT_OF_RANGE;
  }

  invalidate(key: number, pd: Pd, qpn: number): number {
    const found = this.find(key);
    if (found === undefined) return NO_SUCH_KEY;
    if (found.pd !== pd) return WRONG_PD;
    const mayEver = found.windowType === 2 || found.fastBytes !== 0;
    if (!mayEver) return NO_RIGHT;
    if (found.windowType === 2 && found.grant !== null && found.grant.boundQpn !== qpn) return WRONG_QP;
    if (this.windowsOf(found) !== 0) return NO_RIGHT;
    found.grant = null;
    found.parent = null;
    return ACCEPT;
  }

  bind(to: Bind): WcStatus {
    const { pd, window, region, address, length, access, low } = to;
    const isZeroBased = (access & ZERO_BASED) !== 0;
    if (window === undefined || window.windowType === 0 || window.pd !== pd || to.type === QpType.UD)
      return MW_BIND_ERR;
    if ((window.key & 0xff) === low) return MW_BIND_ERR;
    if (window.windowType === 2 && (window.grant !== null || length === 0)) return MW_BIND_ERR;
    if (window.windowType === 1 && isZeroBased) return MW_BIND_ERR;
    if (length !== 0 && !this.#covers(region, pd, address, length, access)) return MW_BIND_ERR;
    window.key = window.key - (window.key & 0xff) + low;
    window.parent = length === 0 ? null : region!;
    window.grant = null;
    if (length === 0) return SUCCESS;
    const start = region!.grant!.start + Number(address - region!.grant!.base);
    const boundQpn = window.windowType === 2 ? to.qpn : 0;
    window.grant = { base: isZeroBased ? 0n : address, length, start, access: access & REMOTE, boundQpn };
    return SUCCESS;
  }

  #covers(region: ModelKey | undefined, pd: Pd, address: bigint, length: number, access: number): boolean {
    if (region === undefined || region.windowType !== 0 || region.grant === null || region.pd !== pd) return false;
    const writes = (access & (REMOTE_WRITE | REMOTE_ATOMIC)) !== 0;
    const needs = MW_BIND | (writes ? LOCAL_WRITE : 0);
    return this.check(region, 0, address, length, pd, needs) === ACCEPT;
  }
}

interface Bind {
  readonly pd: Pd;
  readonly qpn: number;
  readonly type: QpType;
  readonly window: ModelKey | undefined;
  readonly region: ModelKey | undefined;
  readonly low: number;
  readonly address: bigint;
  readonly length: number;
  readonly access: number;
}

// ── One random step, done to both ──

interface Step {
  readonly kind: 'region' | 'window' | 'fast' | 'bind' | 'register' | 'invalidate' | 'remove' | 'check' | 'any';
  /** Chooses among the keys there are. */
  readonly first: number;
  readonly second: number;
  readonly pd: number;
  readonly qp: number;
  readonly type: QpType;
  readonly windowType: number;
  readonly low: number;
  readonly base: bigint;
  readonly offset: number;
  readonly length: number;
  readonly access: number;
}

const mostlyFirst = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constant(1) });
const rights = (...bits: number[]) => fc.subarray(bits).map((some) => some.reduce((all, bit) => all | bit, 0));
const steps: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('region', 'window', 'fast', 'bind', 'bind', 'register', 'invalidate', 'remove', 'check', 'any'),
  first: fc.nat(),
  second: fc.nat(),
  pd: mostlyFirst,
  qp: mostlyFirst,
  type: fc.constantFrom(QpType.RC, QpType.RC, QpType.UC, QpType.UD),
  windowType: fc.constantFrom(1, 2),
  low: fc.integer({ min: 0, max: 255 }),
  base: fc.constantFrom(0n, 1n, 0xffff_fff0n, 2n ** 32n, 2n ** 53n - 7n, 2n ** 63n, TOP - 8192n, TOP - 4096n),
  offset: fc.oneof(fc.constantFrom(-1, 0, 1, 4095, 4096, 4097), fc.integer({ min: -5000, max: 5000 })),
  length: fc.oneof(fc.constantFrom(0, 1, 4096, 0xffff_ffff), fc.nat(4200)),
  access: fc.oneof(
    fc.constant(LOCAL_WRITE | REMOTE | MW_BIND),
    fc.constant(LOCAL_WRITE | REMOTE | MW_BIND | ZERO_BASED),
    rights(LOCAL_WRITE, REMOTE_WRITE, REMOTE_READ, REMOTE_ATOMIC, MW_BIND, ZERO_BASED),
  ),
});

class Both {
  readonly model = new Model();
  readonly table = newTable();

  do(step: Step): void {
    const pd = PDS[step.pd]!;
    const picked = this.#pick(step.first);
    if (step.kind === 'region') this.#region(step, pd);
    else if (step.kind === 'window') this.#add(pd, step.windowType, 0);
    else if (step.kind === 'fast') this.#add(pd, 0, 4096);
    else if (step.kind === 'bind') this.#bind(step, pd, picked);
    else if (step.kind === 'register') this.#register(step, pd, picked);
    else if (step.kind === 'remove') this.#remove(picked);
    else if (step.kind === 'invalidate') this.#invalidate(step, pd, picked);
    else this.#check(step, pd, step.kind === 'any' ? undefined : picked);
    same('keys', this.table.size, this.model.keys.length);
  }

  #pick(choice: number): ModelKey | undefined {
    return this.model.keys[choice % (this.model.keys.length + 1)];
  }

  #add(pd: Pd, windowType: number, fastBytes: number): ModelKey {
    const fast = fastBytes === 0 ? null : { memory: MEMORY, start: 256, length: fastBytes };
    const entry = this.table.create(pd, windowType, fast);
    const added = { key: entry.key, pd, windowType, fastBytes, entry, grant: null, parent: null };
    this.model.keys.push(added);
    return added;
  }

  #region({ base, access }: Step, pd: Pd): void {
    const added = this.#add(pd, 0, 0);
    const start = 512;
    const length = 4096;
    added.entry.give({ memory: MEMORY, start, length }, hi(base), lo(base), access);
    added.grant = { base, length, start, access, boundQpn: 0 };
  }

  #addressIn(step: Step, region: ModelKey | undefined): bigint {
    return BigInt.asUintN(64, (region?.grant?.base ?? step.base) + BigInt(step.offset));
  }

  #bind(step: Step, pd: Pd, window: ModelKey | undefined): void {
    const { type, low, length, access } = step;
    const qpn = QPNS[step.qp]!;
    const region = this.#pick(step.second);
    const address = this.#addressIn(step, region);
    const [mwKey, mrKey] = [window?.key ?? 0, region?.key ?? 0];
    const [high, lower] = [hi(address), lo(address)];
    const got = this.table.bindWindow(pd, qpn, type, mwKey, low, mrKey, high, lower, length, access);
    same('bind', got, this.model.bind({ pd, qpn, type, window, region, low, address, length, access }));
    if (window) same('key of the window', window.entry.key, window.key);
  }

  #register(step: Step, pd: Pd, picked: ModelKey | undefined): void {
    const { low, length, access } = step;
    const base = this.#addressIn(step, undefined);
    const got = this.table.registerFast(pd, picked?.key ?? 0, low, hi(base), lo(base), length, access);
    const remoteWrites = (access & (REMOTE_WRITE | REMOTE_ATOMIC)) !== 0;
    const may =
      picked !== undefined &&
      picked.fastBytes !== 0 &&
      picked.pd === pd &&
      picked.grant === null &&
      length <= picked.fastBytes &&
      (!remoteWrites || (access & LOCAL_WRITE) !== 0) &&
      base + BigInt(length) <= TOP;
    same('register', got, may ? SUCCESS : MW_BIND_ERR);
    if (!may) return;
    picked.key = picked.key - (picked.key & 0xff) + low;
    picked.grant = { base: (access & ZERO_BASED) !== 0 ? 0n : base, length, start: 256, access, boundQpn: 0 };
    same('key of the region', picked.entry.key, picked.key);
  }

  #invalidate(step: Step, pd: Pd, picked: ModelKey | undefined): void {
    const key = picked?.key ?? 0;
    const qpn = QPNS[step.qp]!;
    same('invalidate', this.table.invalidate(key, pd, qpn), this.model.invalidate(key, pd, qpn));
  }

  /** The commands refuse to remove a region with windows. */
  #remove(picked: ModelKey | undefined): void {
    if (picked === undefined) return;
    same('windows', picked.entry.windows, this.model.windowsOf(picked));
    if (picked.entry.windows !== 0) return;
    const { grant } = picked.entry;
    this.table.remove(picked.entry);
    same('what a packet kept of it is revoked', grant?.valid ?? false, false);
    this.model.keys.splice(this.model.keys.indexOf(picked), 1);
  }

  #check(step: Step, pd: Pd, picked: ModelKey | undefined): void {
    const { model, table } = this;
    const { length } = step;
    const access = step.access & (LOCAL_WRITE | REMOTE);
    const key = picked?.key ?? step.second >>> 0;
    const address = this.#addressIn(step, picked);
    const qpn = QPNS[step.qp]!;
    const [high, lower] = [hi(address), lo(address)];
    const known = model.find(key);
    const local = known?.windowType === 0 ? known : undefined;
    const wantLocal = model.check(local, 0, address, length, pd, access);
    same('local', table.checkLocal(key, high, lower, length, pd, access), wantLocal);
    this.#compareFound(wantLocal, local, address);
    const wantRemote = model.check(known, qpn, address, length, pd, access);
    same('remote', table.checkRemote(key, high, lower, length, pd, qpn, access), wantRemote);
    this.#compareFound(wantRemote, known, address);
  }

  #compareFound(verdict: number, key: ModelKey | undefined, address: bigint): void {
    if (verdict !== ACCEPT) return;
    const { base, start } = key!.grant!;
    same('offset', this.table.offset, start + Number(address - base));
    same('found', this.table.found?.key, key!.key);
    same('memory', this.table.found?.memory === MEMORY && this.table.found.valid, true);
  }
}

function same(what: string, got: unknown, wanted: unknown): void {
  if (got !== wanted) throw new Error(`${what}: ${String(got)}, the model says ${String(wanted)}`);
}

t.test('table: any sequence of work leaves it as the model is', (t) => {
  const agrees = fc.property(fc.array(steps, { minLength: 10, maxLength: 120 }), (sequence) => {
    const both = new Both();
    for (const step of sequence) both.do(step);
  });
  t.doesNotThrow(() => fc.assert(agrees, { numRuns: 600, seed: 7 }));
  t.end();
});

t.test('table: key, then PD, then rights, then range', (t) => {
  const table = newTable();
  const entry = table.create(PDS[0]!, 0, null);
  const check = (key: number, pd: Pd, access: number, address: number): number =>
    table.checkLocal(key, 0, address, 8, pd, access);
  t.equal(check(entry.key, PDS[0]!, 0, 4096), REVOKED, 'nothing was given yet');
  entry.give({ memory: MEMORY, start: 0, length: 64 }, 0, 4096, REMOTE_READ);
  t.equal(check(entry.key ^ 0x100, PDS[1]!, LOCAL_WRITE, 0), NO_SUCH_KEY);
  t.equal(check(entry.key ^ 1, PDS[1]!, LOCAL_WRITE, 0), NO_SUCH_KEY, 'the lower 8 bits count');
  t.equal(check(entry.key, PDS[1]!, LOCAL_WRITE, 0), WRONG_PD);
  t.equal(check(entry.key, PDS[0]!, LOCAL_WRITE, 0), NO_RIGHT);
  t.equal(check(entry.key, PDS[0]!, 0, 0), OUT_OF_RANGE);
  t.equal(check(entry.key, PDS[0]!, 0, 4096 + 57), OUT_OF_RANGE, 'one octet too far');
  t.equal(check(entry.key, PDS[0]!, 0, 4096 + 56), ACCEPT);
  t.equal(table.offset, 56);
  t.equal(check(entry.key | 0, PDS[0]!, 0, 4096), ACCEPT, 'a key is the same as a signed number');
  t.end();
});

t.test('table: a range that would pass 2^64 does not come round to the start', (t) => {
  const table = newTable();
  const entry = table.create(PDS[0]!, 0, null);
  entry.give({ memory: MEMORY, start: 0, length: 4096 }, 0xffff_ffff, 0xffff_f000, 0);
  const check = (high: number, lower: number, length: number): number =>
    table.checkLocal(entry.key, high, lower, length, PDS[0]!, 0);
  t.equal(check(0xffff_ffff, 0xffff_ffff, 1), ACCEPT);
  t.equal(check(0xffff_ffff, 0xffff_ffff, 2), OUT_OF_RANGE);
  t.equal(check(0, 0, 1), OUT_OF_RANGE);
  t.equal(check(0xffff_ffff, 0xffff_f000, 0xffff_ffff), OUT_OF_RANGE);
  t.end();
});

t.test('R-177: 10,000 keys differ in their upper 24 bits, none of which is 0', (t) => {
  const table = newTable(3);
  const tags = new Set<number>();
  const keys: number[] = [];
  for (let i = 0; i < 10_000; i++) {
    const entry = table.create(PDS[0]!, 0, null);
    tags.add(entry.key >>> 8);
    keys.push(entry.key);
    if (i % 2 === 0) table.remove(entry);
  }
  t.equal(tags.size, 10_000);
  t.notOk(tags.has(0), 'key 0 is nobody’s (R-173)');
  t.equal(table.size, 5000);
  t.ok(keys.every((key) => Number.isInteger(key) && key >= 0 && key < 2 ** 32));
  t.equal(new Set(keys.map((key) => key & 0xff)).size, 256, 'the lower 8 bits are random too');
  t.end();
});

t.test('R-081: a zero-based type 2 window begins at 0 and ends with its own length', (t) => {
  const table = newTable();
  const pd = PDS[0]!;
  const region = table.create(pd, 0, null);
  const window = table.create(pd, 2, null);
  region.give({ memory: MEMORY, start: 32, length: 4096 }, 5, 0x7000, MW_BIND);
  const access = REMOTE_READ | ZERO_BASED;
  const low = (window.key + 1) & 0xff;
  t.equal(table.bindWindow(pd, 17, QpType.RC, window.key, low, region.key, 5, 0x7100, 64, access), SUCCESS);
  const check = (high: number, lower: number, length: number, qpn = 17): number =>
    table.checkRemote(window.key, high, lower, length, pd, qpn, REMOTE_READ);
  t.equal(check(0, 0, 64), ACCEPT);
  t.equal(table.offset, 32 + 0x100);
  t.equal(check(0, 1, 64), OUT_OF_RANGE);
  t.equal(check(5, 0x7100, 1), OUT_OF_RANGE);
  t.equal(check(0, 0, 64, 18), WRONG_QP, 'R-082: bound on another QP');
  t.end();
});

t.test('R-172: fast registration up to 2^64 and no further', (t) => {
  const table = newTable();
  const entry = table.create(PDS[0]!, 0, { memory: MEMORY, start: 0, length: 4096 });
  const register = (lower: number, length: number): number =>
    table.registerFast(PDS[0]!, entry.key, 7, 0xffff_ffff, lower, length, 0);
  t.equal(register(0xffff_ff00, 257), MW_BIND_ERR);
  t.equal(register(0xffff_ff00, 256), SUCCESS);
  t.equal(register(0xffff_ff00, 256), MW_BIND_ERR, 'not while it is registered');
  t.end();
});

t.test('R-080: a window bound anew is a new grant, the old one stays revoked', (t) => {
  const table = newTable();
  const region = table.create(PDS[0]!, 0, null);
  const window = table.create(PDS[0]!, 1, null);
  region.give({ memory: MEMORY, start: 0, length: 4096 }, 0, 0, MW_BIND);
  const bind = (at: number): number =>
    table.bindWindow(PDS[0]!, 17, QpType.RC, window.key, (window.key + 1) & 0xff, region.key, 0, at, 64, REMOTE_READ);
  t.equal(bind(0), SUCCESS);
  const old = window.grant;
  t.equal(bind(128), SUCCESS);
  t.equal(old?.valid, false);
  t.equal(old?.start, 0);
  t.equal(window.grant?.start, 128);
  t.equal(region.windows, 1);
  t.end();
});
