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
  write: () => false,
  compareSwap: () => false,
  fetchAdd: () => false,
};

/** A region as the table holds it. A window is a region over part of another (`parent`). */
export class RegionEntry implements Region {
  key: number;
  pd: Pd;
  access = 0;
  valid = false;
  memory: Memory = NO_MEMORY;
  start = 0;
  iovaHi = 0;
  iovaLo = 0;
  length = 0;
  boundQpn = 0;
  readonly isWindow: boolean;
  /** 1 or 2 for a window. */
  readonly windowType: number;
  /** Made by allocMr: filled by REG_MR work requests, at most this many octets. 0 otherwise. */
  readonly fastBytes: number;
  /** Windows bound to it: deregistration is EBUSY while there are any. */
  windows = 0;
  parent: RegionEntry | null = null;

  constructor(key: number, pd: Pd, windowType: number, fastBytes: number) {
    this.key = key;
    this.pd = pd;
    this.windowType = windowType;
    this.isWindow = windowType !== 0;
    this.fastBytes = fastBytes;
  }

  setIova(iova: bigint): void {
    this.iovaHi = Number(iova >> 32n);
    this.iovaLo = Number(iova & 0xffff_ffffn);
  }
}

export class RegionTable implements Regions {
  found: Region | null = null;
  offset = 0;
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
  create(pd: Pd, windowType: number, fastBytes: number): RegionEntry {
    let key: number;
    do {
      key = ((this.#tags.draw() << 8) | (this.#random32() & 0xff)) >>> 0;
      this.#drawn++;
    } while (key >>> 8 === 0 || this.#hasTag(key));
    const entry = new RegionEntry(key, pd, windowType, fastBytes);
    this.#byKey.set(key, entry);
    return entry;
  }

  /** Revokes a key for ever. */
  remove(entry: RegionEntry): void {
    this.unbind(entry);
    entry.valid = false;
    this.#byKey.delete(entry.key);
  }

  checkLocal(lKey: number, hi: number, lo: number, length: number, pd: Pd, access: number): number {
    const region = this.#byKey.get(lKey >>> 0);
    if (region === undefined || region.isWindow) return KeyVerdict.NO_SUCH_KEY;
    return this.#check(region, hi, lo, length, pd, access);
  }

  checkRemote(rKey: number, hi: number, lo: number, length: number, pd: Pd, qpn: number, access: number): number {
    const region = this.#byKey.get(rKey >>> 0);
    if (region === undefined) return KeyVerdict.NO_SUCH_KEY;
    if (region.boundQpn !== 0 && region.boundQpn !== qpn) return KeyVerdict.WRONG_QP;
    return this.#check(region, hi, lo, length, pd, access);
  }

  invalidate(key: number, pd: Pd, qpn: number): number {
    const region = this.#byKey.get(key >>> 0);
    if (region === undefined) return KeyVerdict.NO_SUCH_KEY;
    if (region.pd !== pd) return KeyVerdict.WRONG_PD;
    // o10-37.2.26: a type 1 window cannot be invalidated.
    if (region.windowType === 1) return KeyVerdict.NO_RIGHT;
    if (region.windowType === 2 && region.valid && region.boundQpn !== qpn) return KeyVerdict.WRONG_QP;
    if (region.windows !== 0) return KeyVerdict.NO_RIGHT;
    this.unbind(region);
    region.valid = false;
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
    const window = this.#byKey.get(mwRKey >>> 0);
    if (window === undefined || !window.isWindow || window.pd !== pd || qpType === QpType.UD)
      return WcStatus.MW_BIND_ERR;
    if (((newRKey ^ window.key) & 0xff) === 0) return WcStatus.MW_BIND_ERR;
    if (window.windowType === 2 && (window.valid || length === 0)) return WcStatus.MW_BIND_ERR;
    // o10-36.2.2: type 1 has no zero-based addresses.
    if (window.windowType === 1 && (access & Access.ZERO_BASED) !== 0) return WcStatus.MW_BIND_ERR;
    if (length === 0) this.unbind(window);
    else {
      const region = this.#byKey.get(mrLKey >>> 0);
      if (region === undefined || !this.#mayBind(region, pd, hi, lo, length, access)) return WcStatus.MW_BIND_ERR;
      this.unbind(window);
      this.#bind(window, region, hi, lo, length, access);
      window.boundQpn = window.windowType === 2 ? qpn : 0;
    }
    this.#rekey(window, newRKey);
    return WcStatus.SUCCESS;
  }

  registerFast(pd: Pd, lKey: number, newKey: number, hi: number, lo: number, length: number, access: number): WcStatus {
    const region = this.#byKey.get(lKey >>> 0);
    if (region === undefined || region.fastBytes === 0 || region.pd !== pd || region.valid) return WcStatus.MW_BIND_ERR;
    if (length > region.fastBytes || length > region.memory.byteLength || !rightsAgree(access))
      return WcStatus.MW_BIND_ERR;
    this.#rekey(region, newKey);
    region.access = access;
    region.length = length;
    region.iovaHi = hi >>> 0;
    region.iovaLo = lo >>> 0;
    region.valid = true;
    return WcStatus.SUCCESS;
  }

  /** Takes a window off its region. Nothing for other entries. */
  unbind(entry: RegionEntry): void {
    if (entry.parent !== null) entry.parent.windows--;
    entry.parent = null;
    if (entry.isWindow) {
      entry.valid = false;
      entry.memory = NO_MEMORY;
      entry.length = 0;
      entry.boundQpn = 0;
    }
  }

  #check(region: RegionEntry, hi: number, lo: number, length: number, pd: Pd, access: number): number {
    if (region.pd !== pd) return KeyVerdict.WRONG_PD;
    if (!region.valid) return KeyVerdict.REVOKED;
    if ((region.access & access) !== access) return KeyVerdict.NO_RIGHT;
    const offset = offsetIn(region, hi, lo);
    if (offset < 0 || offset + length > region.length) return KeyVerdict.OUT_OF_RANGE;
    this.found = region;
    this.offset = region.start + offset;
    return KeyVerdict.ACCEPT;
  }

  /** C10-72 … C10-75. */
  #mayBind(region: RegionEntry, pd: Pd, hi: number, lo: number, length: number, access: number): boolean {
    if (region.isWindow || !region.valid || region.pd !== pd) return false;
    if ((region.access & Access.MW_BIND) === 0) return false;
    const writes = access & (Access.REMOTE_WRITE | Access.REMOTE_ATOMIC);
    if (writes !== 0 && (region.access & Access.LOCAL_WRITE) === 0) return false;
    const offset = offsetIn(region, hi, lo);
    return offset >= 0 && offset + length <= region.length;
  }

  #bind(window: RegionEntry, region: RegionEntry, hi: number, lo: number, length: number, access: number): void {
    const zeroBased = (access & Access.ZERO_BASED) !== 0;
    window.memory = region.memory;
    window.start = region.start + offsetIn(region, hi, lo);
    window.iovaHi = zeroBased ? 0 : hi >>> 0;
    window.iovaLo = zeroBased ? 0 : lo >>> 0;
    window.length = length;
    window.access = access & REMOTE;
    window.valid = true;
    window.parent = region;
    region.windows++;
  }

  /** The consumer chooses the lower 8 bits. */
  #rekey(entry: RegionEntry, newKey: number): void {
    this.#byKey.delete(entry.key);
    entry.key = ((entry.key & 0xffff_ff00) | (newKey & 0xff)) >>> 0;
    this.#byKey.set(entry.key, entry);
  }

  #hasTag(key: number): boolean {
    // Only when the permutation has started again can a tag still be in use.
    if (this.#drawn <= 2 ** TAG_BITS) return false;
    for (let low = 0; low < 256; low++) if (this.#byKey.has(((key & 0xffff_ff00) | low) >>> 0)) return true;
    return false;
  }
}

/** Octets from the region's first address to this one. Negative, or beyond any length, when it lies outside: exact up to 2^53, and too large above. */
function offsetIn(region: Region, hi: number, lo: number): number {
  return ((hi >>> 0) - region.iovaHi) * TWO_32 + ((lo >>> 0) - region.iovaLo);
}

/** who may write from afar must be able to write here. */
export function rightsAgree(access: number): boolean {
  return (access & (Access.REMOTE_WRITE | Access.REMOTE_ATOMIC)) === 0 || (access & Access.LOCAL_WRITE) !== 0;
}
