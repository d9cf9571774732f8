/** Memory of this process: a SharedArrayBuffer of a TypeScript program, or an ArrayBuffer over a mapped file. */
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';
import type { Memory } from './memory.ts';

const MASK_32 = 0xffff_ffffn;

const join = (hi: number, lo: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

function split(value: bigint, into: Uint32Array): void {
  into[0] = Number(value & MASK_32);
  into[1] = Number((value >> 32n) & MASK_32);
}

export class SharedMemory implements Memory {
  readonly byteLength: number;
  readonly #bytes: Uint8Array;
  /** Aligned 64-bit cells for the atomics; an atomic is as atomic to JavaScript's Atomics and to a CPU as it is to other QPs. */
  readonly #cells: BigUint64Array;
  /** Octets of the buffer before the first octet of this memory. */
  readonly #base: number;

  /** @param buffer neither growable nor resizable: its length is captured here. */
  constructor(buffer: ArrayBufferLike, byteOffset = 0, byteLength = buffer.byteLength - byteOffset) {
    if ('growable' in buffer && buffer.growable)
      throw new TypeError('a growable SharedArrayBuffer cannot be registered');
    if ('resizable' in buffer && buffer.resizable) throw new TypeError('a resizable ArrayBuffer cannot be registered');
    this.byteLength = byteLength;
    this.#base = byteOffset;
    this.#bytes = new Uint8Array(buffer, byteOffset, byteLength);
    this.#cells = new BigUint64Array(buffer, 0, buffer.byteLength >>> 3);
    registerArena(this.#bytes);
  }

  read(offset: number, target: Uint8Array, at: number, length: number): boolean {
    if (offset + length > this.byteLength) return false;
    copy(this.#bytes, offset, target, at, length);
    return true;
  }

  readPosted(offset: number, target: Uint8Array, at: number, length: number): boolean {
    return this.read(offset, target, at, length);
  }

  write(offset: number, source: Uint8Array, at: number, length: number): boolean {
    if (offset + length > this.byteLength) return false;
    copy(source, at, this.#bytes, offset, length);
    return true;
  }

  compareSwap(
    offset: number,
    compareHi: number,
    compareLo: number,
    swapHi: number,
    swapLo: number,
    old: Uint32Array,
  ): boolean {
    const cell = this.#cellAt(offset);
    if (cell === -1) return false;
    split(Atomics.compareExchange(this.#cells, cell, join(compareHi, compareLo), join(swapHi, swapLo)), old);
    return true;
  }

  fetchAdd(offset: number, addHi: number, addLo: number, old: Uint32Array): boolean {
    const cell = this.#cellAt(offset);
    if (cell === -1) return false;
    split(Atomics.add(this.#cells, cell, join(addHi, addLo)), old);
    return true;
  }

  /** -1 when the eight octets are not an aligned cell inside this memory: a region may begin at any octet. */
  #cellAt(offset: number): number {
    const at = this.#base + offset;
    return (at & 7) === 0 && offset + 8 <= this.byteLength ? at / 8 : -1;
  }
}
