/** Octets of another process as a region's memory. Nothing is pinned: a page that is gone is a protection error when it is used. */
import type { Memory } from '../../rnic/memory/memory.ts';
import { lookAgain } from '../../rnic/memory/posted.ts';
import { registerArena } from '../../wire/arena.ts';
import { Arena } from '../linux/arena.ts';
import type { Process } from './process.ts';
import { readNear, SMALL_BYTES } from './read-ahead.ts';

const ATOMIC_BYTES = 8;
const cell = new Arena(ATOMIC_BYTES);
registerArena(cell.bytes);

export class ProcessMemory implements Memory {
  readonly byteLength: number;
  readonly #process: Process;
  readonly #address: number;

  constructor(process: Process, address: number, byteLength: number) {
    this.#process = process;
    this.#address = address;
    this.byteLength = byteLength;
  }

  read(offset: number, target: Uint8Array, at: number, length: number): boolean {
    return offset + length <= this.byteLength && this.#process.read(this.#address + offset, target, at, length);
  }

  readPosted(offset: number, target: Uint8Array, at: number, length: number): boolean {
    if (length > SMALL_BYTES) return this.read(offset, target, at, length);
    return offset + length <= this.byteLength && readNear(this, offset, target, at, length);
  }

  write(offset: number, source: Uint8Array, at: number, length: number): boolean {
    lookAgain();
    return offset + length <= this.byteLength && this.#process.write(this.#address + offset, source, at, length);
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
    if (((this.#address + offset) & 7) !== 0 || !this.read(offset, cell.bytes, 0, ATOMIC_BYTES)) return false;
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
