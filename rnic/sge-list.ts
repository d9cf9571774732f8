/** A private copy of a work request's scatter-gather list, walked from one end to the other: payload goes out of it or into it, each region looked up once. */
import { KeyVerdict, type Pd, type Region, type Regions } from './core.ts';
import type { PacketWriter } from './packet-writer.ts';
import * as Layout from './queue/layout.ts';

/** Words of one element: address high, address low, length, lKey. */
const WORDS = 4;
const TWO_32 = 2 ** 32;

export class SgeList {
  /** Octets that all elements hold together; a double, since the elements come from a stranger. */
  totalBytes = 0;
  #words: Int32Array = new Int32Array(WORDS);
  #count = 0;
  /** The walk: octets passed in all, the element it is in, octets passed of that. */
  #position = 0;
  #index = 0;
  #offset = 0;
  /** Region of the element that the walk is in, null while it has not been looked up; where in its memory the element starts; how far it was checked. */
  #region: Region | null = null;
  #start = 0;
  #checkedTo = 0;
  /** Where the piece found by `#find` starts in the region's memory. */
  #at = 0;

  /** Copies `count` elements from shared memory. */
  load(view: DataView, at: number, count: number): void {
    if (this.#words.length < count * WORDS) this.#words = new Int32Array(count * WORDS);
    const words = this.#words;
    let total = 0;
    for (let i = 0; i < count; i++) {
      const from = at + i * Layout.Sge.BYTES;
      words[i * WORDS] = view.getInt32(from + Layout.Sge.ADDR + 4, true);
      words[i * WORDS + 1] = view.getInt32(from + Layout.Sge.ADDR, true);
      const length = view.getInt32(from + Layout.Sge.LENGTH, true);
      words[i * WORDS + 2] = length;
      words[i * WORDS + 3] = view.getInt32(from + Layout.Sge.LKEY, true);
      total += length >>> 0;
    }
    this.#count = count;
    this.totalBytes = total;
    this.#rewind();
  }

  /** Moves the walk to an octet of the message. */
  seek(position: number): void {
    if (position === this.#position) return;
    if (position < this.#position) this.#rewind();
    this.#skip(position - this.#position);
  }

  /** Puts the next `length` octets into a packet. False when a key, a range or the memory is not right. */
  gather(regions: Regions, pd: Pd, out: PacketWriter, length: number): boolean {
    let left = length;
    while (left > 0) {
      const piece = this.#find(regions, pd, left, 0);
      if (piece === 0 || !out.putPosted(this.#region!.memory, this.#at, piece, this.#behind(piece))) return false;
      this.#advance(piece);
      left -= piece;
    }
    return true;
  }

  /**
   * Places `length` octets at the walk. False when a key, a right, a range or the memory is not right; of those that are followed by more of the message, the next
   * call may tell.
   */
  scatter(
    regions: Regions,
    pd: Pd,
    access: number,
    source: Uint8Array,
    at: number,
    length: number,
    isFollowed = false,
  ): boolean {
    let done = 0;
    while (done < length) {
      const piece = this.#find(regions, pd, length - done, access);
      if (piece === 0 || !this.#region!.memory.write(this.#at, source, at + done, piece, isFollowed)) return false;
      this.#advance(piece);
      done += piece;
    }
    return true;
  }

  /** True when every key, right and range of the list is right now. */
  check(regions: Regions, pd: Pd, access: number): boolean {
    const words = this.#words;
    for (let i = 0; i < this.#count; i++) {
      const length = words[i * WORDS + 2]! >>> 0;
      if (length === 0) continue;
      const hi = words[i * WORDS]!;
      const lo = words[i * WORDS + 1]!;
      if (regions.checkLocal(words[i * WORDS + 3]!, hi, lo, length, pd, access) !== KeyVerdict.ACCEPT) return false;
    }
    return true;
  }

  /** Looks up where the walk is: `#region` and `#at`. Octets of the piece that lies there in one stretch, at most `wanted`; 0 when refused. */
  #find(regions: Regions, pd: Pd, wanted: number, access: number): number {
    while (this.#index < this.#count && this.#offset === this.#words[this.#index * WORDS + 2]! >>> 0)
      this.#nextElement();
    if (this.#index === this.#count) return 0;
    const left = (this.#words[this.#index * WORDS + 2]! >>> 0) - this.#offset;
    const piece = Math.min(left, wanted);
    const region = this.#region;
    if (region !== null && this.#offset + piece <= this.#checkedTo) {
      this.#at = this.#start + this.#offset;
      return region.valid ? piece : 0;
    }
    return this.#lookUp(regions, pd, piece, access) ? piece : 0;
  }

  /** The whole element is checked at once; one that is longer than its region is good as far as it is used. */
  #lookUp(regions: Regions, pd: Pd, piece: number, access: number): boolean {
    const row = this.#index * WORDS;
    const key = this.#words[row + 3]!;
    const hi = this.#words[row]!;
    const lo = this.#words[row + 1]!;
    const length = this.#words[row + 2]! >>> 0;
    let verdict = regions.checkLocal(key, hi, lo, length, pd, access);
    if (verdict === KeyVerdict.ACCEPT) {
      this.#found(regions, regions.offset, length);
      return true;
    }
    if (verdict !== KeyVerdict.OUT_OF_RANGE) return false;
    const low = (lo >>> 0) + this.#offset;
    const high = ((hi >>> 0) + Math.floor(low / TWO_32)) % TWO_32;
    verdict = regions.checkLocal(key, high, low % TWO_32, piece, pd, access);
    if (verdict !== KeyVerdict.ACCEPT) return false;
    this.#found(regions, regions.offset - this.#offset, this.#offset + piece);
    return true;
  }

  /** Octets of the element behind the next `piece` that were checked with it. */
  #behind(piece: number): number {
    return this.#checkedTo - this.#offset - piece;
  }

  #found(regions: Regions, start: number, checkedTo: number): void {
    this.#region = regions.found;
    this.#start = start;
    this.#checkedTo = checkedTo;
    this.#at = start + this.#offset;
  }

  #advance(length: number): void {
    this.#offset += length;
    this.#position += length;
    const inside = this.#index < this.#count && this.#offset < this.#words[this.#index * WORDS + 2]! >>> 0;
    if (!inside) this.#nextElement();
  }

  #skip(length: number): void {
    let left = length;
    while (left > 0 && this.#index < this.#count) {
      const here = (this.#words[this.#index * WORDS + 2]! >>> 0) - this.#offset;
      const piece = Math.min(here, left);
      this.#offset += piece;
      left -= piece;
      if (piece === here) this.#nextElement();
    }
    this.#position += length - left;
  }

  #nextElement(): void {
    this.#index++;
    this.#offset = 0;
    this.#region = null;
  }

  #rewind(): void {
    this.#position = 0;
    this.#index = 0;
    this.#offset = 0;
    this.#region = null;
  }
}
