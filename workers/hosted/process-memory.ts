/** Octets of another process as a region's memory. Nothing is pinned: a page that is gone is a protection error when it is used. */
import type { Memory } from '../../rnic/memory/memory.ts';
import { lookAgain } from '../../rnic/memory/posted.ts';
import type { Loser } from '../../rnic/memory/put-off.ts';
import { addressOfArena, registerArena } from '../../wire/arena.ts';
import { Arena } from '../linux/arena.ts';
import { hasRest, placeRest, putOff } from './placement.ts';
import type { Process } from './process.ts';
import { readNear, SMALL_BYTES } from './read-ahead.ts';
import { readOn } from './read-on.ts';

const ATOMIC_BYTES = 8;
const cell = new Arena(ATOMIC_BYTES);
registerArena(cell.bytes);

export class ProcessMemory implements Memory, Loser {
  readonly byteLength: number;
  readonly #process: Process;
  readonly #address: number;
  /** What was put off could not be placed: the next write says so. */
  #hasFailed = false;

  constructor(process: Process, address: number, byteLength: number) {
    this.#process = process;
    this.#address = address;
    this.byteLength = byteLength;
  }

  read(offset: number, target: Uint8Array, at: number, length: number, ahead = 0): boolean {
    return offset + length <= this.byteLength && readOn(this, offset, target, at, length, ahead);
  }

  readPosted(offset: number, target: Uint8Array, at: number, length: number, ahead: number): boolean {
    if (ahead > 0 || length > SMALL_BYTES) return this.read(offset, target, at, length, ahead);
    return offset + length <= this.byteLength && readNear(this, offset, target, at, length);
  }

  /** As `read`, and nothing ahead; inside the memory. */
  readNow(offset: number, target: Uint8Array, at: number, length: number): boolean {
    return this.#process.read(this.#address + offset, target, at, length);
  }

  write(offset: number, source: Uint8Array, at: number, length: number, isFollowed = false): boolean {
    lookAgain();
    if (offset + length > this.byteLength) return false;
    const address = isFollowed || hasRest() ? addressOfArena(source) : undefined;
    if (address === undefined) {
      placeRest();
      return this.#process.write(this.#address + offset, source, at, length) && this.#isWhole();
    }
    putOff(this, this.#process, this.#address + offset, address + at, length);
    if (!isFollowed) placeRest();
    return this.#isWhole();
  }

  lost(): void {
    this.#hasFailed = true;
  }

  forgetLoss(): void {
    this.#hasFailed = false;
  }

  /** All that was put off is placed, as far as is known. */
  #isWhole(): boolean {
    const isWhole = !this.#hasFailed;
    this.#hasFailed = false;
    return isWhole;
  }

  /** Atomic among the work of this vRNIC, not towards the process's own instructions: ATOMIC_HCA of `ibv_atomic_cap`. */
  compareSwap(
    offset: number,
    compareHi: number,
    compareLo: number,
    swapHi: number,
    swapLo: number,
    old: Uint32Array,
  ): boolean {
    if (!this.#take(offset, old)) return false;
    if (old[0] !== compareLo >>> 0 || old[1] !== compareHi >>> 0) return true;
    return this.#put(offset, swapHi, swapLo);
  }

  fetchAdd(offset: number, addHi: number, addLo: number, old: Uint32Array): boolean {
    if (!this.#take(offset, old)) return false;
    const lo = old[0]! + (addLo >>> 0);
    return this.#put(offset, old[1]! + (addHi >>> 0) + (lo > 0xffff_ffff ? 1 : 0), lo);
  }

  #take(offset: number, old: Uint32Array): boolean {
    if (offset + ATOMIC_BYTES > this.byteLength || ((this.#address + offset) & 7) !== 0) return false;
    if (!this.readNow(offset, cell.bytes, 0, ATOMIC_BYTES)) return false;
    old[0] = cell.view.getUint32(0, true);
    old[1] = cell.view.getUint32(4, true);
    return true;
  }

  #put(offset: number, hi: number, lo: number): boolean {
    cell.view.setUint32(0, lo % 2 ** 32, true);
    cell.view.setUint32(4, hi % 2 ** 32, true);
    return this.write(offset, cell.bytes, 0, ATOMIC_BYTES);
  }
}
