/** The key table: which octets a 32-bit key names, for whom, with which rights. IBA Vol. 1, §10.6; SPEC-CHECKLIST R-076 … … R-178. */
import { Access, QpType, WcStatus } from '../constants.ts';
import { KeyVerdict, type Pd, type Region, type Regions } from '../core.ts';
import { Permutation } from '../permutation.ts';
import type { Memory } from './memory.ts';

const TWO_32 = 2 ** 32;
const TAG_BITS = 24;
const REMOTE = Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;

/** Nothing, for a region that is not bound to any memory yet. */
export const NO_MEMORY: Memory = {
  byteLength: 0,
  read: () => false,
  readPosted: () => false,
  write: () => false,
  compareSwap: () => false,
  fetchAdd: () => false,
};

/**
 * What a key grants from one moment on. It never changes but for `valid`: a key that is bound or registered anew gets a new grant, so that whoever kept the old one
 * over packets (a WRITE half done, a READ half answered) finds it revoked and not turned into something else.
 */
class Grant implements Region {
  readonly key: number;
  readonly pd: Pd;
  readonly access: number;
  valid = true;
  readonly memory: Memory;
  readonly start: number;
  readonly iovaHi: number;
  readonly iovaLo: number;
  readonly length: number;
  readonly boundQpn: number;
  readonly isWindow: boolean;

  constructor(entry: RegionEntry, of: Range, hi: number, lo: number, access: number, boundQpn: number) {
    this.key = entry.key;
    this.pd = entry.pd;
    this.access = access;
    this.memory = of.memory;
    this.start = of.start;
    this.length = of.length;
    this.iovaHi = hi >>> 0;
    this.iovaLo = lo >>> 0;
    this.boundQpn = boundQpn;
    this.isWindow = entry.isWindow;
  }
}

/** Octets of a memory. */
export interface Range {
  readonly memory: Memory;
  readonly start: number;
  readonly length: number;
}

/** A key as the table holds it: of a region, or of a window over part of one (`parent`). */
export class RegionEntry {
  key: number;
  pd: Pd;
  /** Null while the key grants nothing. */
  grant: Grant | null = null;
  /** 1 or 2 for a window, 0 otherwise. */
  readonly windowType: number;
  /** Made by allocMr: what REG_MR work requests may give out. Null otherwise. */
  readonly fast: Range | null;
  /** Windows bound to it: deregistration is EBUSY while there are any. */
  windows = 0;
  parent: RegionEntry | null = null;

  constructor(key: number, pd: Pd, windowType: number, fast: Range | null) {
    this.key = key;
    this.pd = pd;
    this.windowType = windowType;
    this.fast = fast;
  }

  get isWindow(): boolean {
    return this.windowType !== 0;
  }

  /** The key names these octets from now on, and nothing else. */
  give(range: Range, hi: number, lo: number, access: number, boundQpn = 0): void {
    this.revoke();
    this.grant = new Grant(this, range, hi, lo, access, boundQpn);
  }

  revoke(): void {
    if (this.grant !== null) this.grant.valid = false;
    this.grant = null;
  }
}

export class RegionTable implements Regions {
  found: Region | null = null;
  offset = 0;
  /** By key as a signed integer: an unsigned one of 32 bits would be an object on the heap at each look. */
  readonly #byKey = new Map<number, RegionEntry>();
  readonly #tags: Permutation;
  readonly #random32: () => number;
  #drawn = 0;

  constructor(random32: () => number) {
    this.#random32 = random32;
    this.#tags = new Permutation(2 ** TAG_BITS, random32);
  }

  get size(): number {
    return this.#byKey.size;
  }

  /**
   * A new entry under a fresh key. The upper 24 bits are unlike those of every other key, so that a window's consumer may choose the lower 8; none comes again
   * before 2^24 others have (T-05).
   */
  create(pd: Pd, windowType: number, fast: Range | null): RegionEntry {
    let key: number;
    do {
      key = ((this.#tags.draw() << 8) | (this.#random32() & 0xff)) >>> 0;
      this.#drawn++;
    } while (key >>> 8 === 0 || this.#hasTag(key));
    const entry = new RegionEntry(key, pd, windowType, fast);
    this.#byKey.set(key | 0, entry);
    return entry;
  }

  /** Revokes a key for ever. */
  remove(entry: RegionEntry): void {
    this.#unbind(entry);
    this.#byKey.delete(entry.key | 0);
  }

  checkLocal(lKey: number, hi: number, lo: number, length: number, pd: Pd, access: number): number {
    const entry = this.#byKey.get(lKey | 0);
    if (entry === undefined || entry.isWindow) return KeyVerdict.NO_SUCH_KEY;
    return this.#check(entry, hi, lo, length, pd, access);
  }

  checkRemote(rKey: number, hi: number, lo: number, length: number, pd: Pd, qpn: number, access: number): number {
    const entry = this.#byKey.get(rKey | 0);
    if (entry === undefined) return KeyVerdict.NO_SUCH_KEY;
    const boundQpn = entry.grant === null ? 0 : entry.grant.boundQpn;
    if (boundQpn !== 0 && boundQpn !== qpn) return KeyVerdict.WRONG_QP;
    return this.#check(entry, hi, lo, length, pd, access);
  }

  /** Of type 2 windows and regions for fast registration; a region that a command registered goes by command only. */
  invalidate(key: number, pd: Pd, qpn: number): number {
    const entry = this.#byKey.get(key | 0);
    if (entry === undefined) return KeyVerdict.NO_SUCH_KEY;
    if (entry.pd !== pd) return KeyVerdict.WRONG_PD;
    // o10-37.2.26: a type 1 window cannot be invalidated.
    if (entry.windowType === 1 || (entry.windowType === 0 && entry.fast === null)) return KeyVerdict.NO_RIGHT;
    if (entry.windowType === 2 && entry.grant !== null && entry.grant.boundQpn !== qpn) return KeyVerdict.WRONG_QP;
    if (entry.windows !== 0) return KeyVerdict.NO_RIGHT;
    this.#unbind(entry);
    return KeyVerdict.ACCEPT;
  }

  bindWindow(
    pd: Pd,
    qpn: number,
    qpType: QpType,
    mwRKey: number,
    newRKey: number,
    mrLKey: number,
    hi: number,
    lo: number,
    length: number,
    access: number,
  ): WcStatus {
    const window = this.#byKey.get(mwRKey | 0);
    if (window === undefined || !window.isWindow || window.pd !== pd || qpType === QpType.UD)
      return WcStatus.MW_BIND_ERR;
    if (((newRKey ^ window.key) & 0xff) === 0) return WcStatus.MW_BIND_ERR;
    // o10-37.2.30, o10-37.2.40: type 2 only from the free state, and never empty.
    if (window.windowType === 2 && (window.grant !== null || length === 0)) return WcStatus.MW_BIND_ERR;
    // o10-36.2.2: type 1 has no zero-based addresses.
    if (window.windowType === 1 && (access & Access.ZERO_BASED) !== 0) return WcStatus.MW_BIND_ERR;
    const region = length === 0 ? undefined : this.#byKey.get(mrLKey | 0);
    if (length !== 0 && !(region && mayBind(region, pd, hi, lo, length, access))) return WcStatus.MW_BIND_ERR;
    this.#unbind(window);
    this.#rekey(window, newRKey);
    if (region) bind(window, region, hi, lo, length, access, window.windowType === 2 ? qpn : 0);
    return WcStatus.SUCCESS;
  }

  registerFast(pd: Pd, lKey: number, newKey: number, hi: number, lo: number, length: number, access: number): WcStatus {
    const entry = this.#byKey.get(lKey | 0);
    if (entry === undefined || entry.fast === null || entry.pd !== pd || entry.grant !== null)
      return WcStatus.MW_BIND_ERR;
    if (length > entry.fast.length || !rightsAgree(access) || wraps(hi, lo, length)) return WcStatus.MW_BIND_ERR;
    this.#rekey(entry, newKey);
    const { memory, start } = entry.fast;
    const zeroBased = (access & Access.ZERO_BASED) !== 0;
    entry.give({ memory, start, length }, zeroBased ? 0 : hi, zeroBased ? 0 : lo, access);
    return WcStatus.SUCCESS;
  }

  /** The key grants nothing any more; a window leaves its region. */
  #unbind(entry: RegionEntry): void {
    if (entry.parent !== null) entry.parent.windows--;
    entry.parent = null;
    entry.revoke();
  }

  #check(entry: RegionEntry, hi: number, lo: number, length: number, pd: Pd, access: number): number {
    if (entry.pd !== pd) return KeyVerdict.WRONG_PD;
    const { grant } = entry;
    if (grant === null) return KeyVerdict.REVOKED;
    if ((grant.access & access) !== access) return KeyVerdict.NO_RIGHT;
    const offset = offsetIn(grant, hi, lo);
    if (offset < 0 || offset + length > grant.length) return KeyVerdict.OUT_OF_RANGE;
    this.found = grant;
    this.offset = grant.start + offset;
    return KeyVerdict.ACCEPT;
  }

  /** The consumer chooses the lower 8 bits. */
  #rekey(entry: RegionEntry, newKey: number): void {
    this.#byKey.delete(entry.key | 0);
    entry.key = ((entry.key & 0xffff_ff00) | (newKey & 0xff)) >>> 0;
    this.#byKey.set(entry.key | 0, entry);
  }

  #hasTag(key: number): boolean {
    // Only when the permutation has started again can a tag still be in use.
    if (this.#drawn <= 2 ** TAG_BITS) return false;
    for (let low = 0; low < 256; low++) if (this.#byKey.has((key & 0xffff_ff00) | low)) return true;
    return false;
  }
}

/** Octets from the region's first address to this one. Negative, or beyond any length, when it lies outside: exact up to 2^53, and too large above. */
function offsetIn(region: Region, hi: number, lo: number): number {
  return ((hi >>> 0) - region.iovaHi) * TWO_32 + ((lo >>> 0) - region.iovaLo);
}

/** True when a range would pass the end of the address space. */
function wraps(hi: number, lo: number, length: number): boolean {
  return (TWO_32 - 1 - (hi >>> 0)) * TWO_32 + (TWO_32 - (lo >>> 0)) < length;
}

/** C10-72 … C10-75. */
function mayBind(region: RegionEntry, pd: Pd, hi: number, lo: number, length: number, access: number): boolean {
  const { grant } = region;
  if (region.isWindow || grant === null || region.pd !== pd) return false;
  if ((grant.access & Access.MW_BIND) === 0) return false;
  const writes = access & (Access.REMOTE_WRITE | Access.REMOTE_ATOMIC);
  if (writes !== 0 && (grant.access & Access.LOCAL_WRITE) === 0) return false;
  const offset = offsetIn(grant, hi, lo);
  return offset >= 0 && offset + length <= grant.length;
}

function bind(
  window: RegionEntry,
  region: RegionEntry,
  hi: number,
  lo: number,
  length: number,
  access: number,
  boundQpn: number,
): void {
  const { memory, start } = region.grant!;
  const zeroBased = (access & Access.ZERO_BASED) !== 0;
  const range = { memory, start: start + offsetIn(region.grant!, hi, lo), length };
  window.give(range, zeroBased ? 0 : hi, zeroBased ? 0 : lo, access & REMOTE, boundQpn);
  window.parent = region;
  region.windows++;
}

/** who may write from afar must be able to write here. */
export function rightsAgree(access: number): boolean {
  return (access & (Access.REMOTE_WRITE | Access.REMOTE_ATOMIC)) === 0 || (access & Access.LOCAL_WRITE) !== 0;
}
