/**
 * A one-way ring of frames in shared memory, one writer and one reader, each in its own thread or both in one.
 *
 *     words:   0 reader's position    16 writer's position    32 1 while the reader sleeps       (octets, modulo 2^32; own cache lines)
 *     then records: octets, segmentBytes, headerBytes, tag (4 × 32 bits), the frame, up to a multiple of 16. Octets -1: go on at the start.
 */
import { addressOf } from '../linux/arena.ts';
import * as Libc from '../linux/libc.ts';

const READER = 0;
const WRITER = 16;
const SLEEPING = 32;
const HEAD_BYTES = 192;
const RECORD_BYTES = 16;
const SKIP = -1;

const roundUp = (bytes: number): number => (bytes + RECORD_BYTES - 1) & ~(RECORD_BYTES - 1);

/** @param dataBytes a power of two. */
export const newFrameRingMemory = (dataBytes = 1 << 20): SharedArrayBuffer =>
  new SharedArrayBuffer(HEAD_BYTES + dataBytes);

export class FrameRing {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #records: Int32Array;
  readonly #address: number;
  readonly #mask: number;
  /** Own position, published now and then, and the other side's as last seen. */
  #position: number;
  #other = 0;

  constructor(memory: SharedArrayBuffer, side: 'reader' | 'writer') {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#records = new Int32Array(memory, HEAD_BYTES);
    this.#address = addressOf(new Uint8Array(memory)) + HEAD_BYTES;
    this.#mask = memory.byteLength - HEAD_BYTES - 1;
    this.#position = Atomics.load(this.#words, side === 'reader' ? READER : WRITER);
  }

  /** Writer: copies a frame in; false when there is no room. Not seen before `publish`. @param tag the writer's own, for the reader. */
  push(frameAddress: number, frameBytes: number, segmentBytes: number, headerBytes: number, tag = 0): boolean {
    const needed = RECORD_BYTES + roundUp(frameBytes);
    const at = this.#position & this.#mask;
    const toEnd = this.#mask + 1 - at;
    const skipped = needed > toEnd ? toEnd : 0;
    if (!this.#hasRoom(needed + skipped)) return false;
    if (skipped > 0) this.#records[at >> 2] = SKIP;
    this.#position = (this.#position + skipped) | 0;
    const word = (this.#position & this.#mask) >> 2;
    this.#records[word] = frameBytes;
    this.#records[word + 1] = segmentBytes;
    this.#records[word + 2] = headerBytes;
    this.#records[word + 3] = tag;
    Libc.memcpy(this.#address + word * 4 + RECORD_BYTES, frameAddress, frameBytes);
    this.#position = (this.#position + needed) | 0;
    return true;
  }

  /** Writer: what was pushed can be read. True when the reader sleeps and must be woken. */
  publish(): boolean {
    Atomics.store(this.#words, WRITER, this.#position);
    return Atomics.load(this.#words, SLEEPING) !== 0;
  }

  /** Reader: octets of the next frame; -1 when there is none. */
  peek(): number {
    if (this.#position === this.#other) {
      // Mostly there is none, and an atomic look takes ten times as long.
      if (this.#position === this.#words[WRITER]) return -1;
      this.#other = Atomics.load(this.#words, WRITER);
    }
    const at = this.#position & this.#mask;
    const frameBytes = this.#records[at >> 2]!;
    if (frameBytes !== SKIP) return frameBytes;
    this.#position = (this.#position + this.#mask + 1 - at) | 0;
    return this.#records[0]!;
  }

  /** Reader, after peek: that frame's segment octets. */
  segmentBytes(): number {
    return this.#records[((this.#position & this.#mask) >> 2) + 1]!;
  }

  headerBytes(): number {
    return this.#records[((this.#position & this.#mask) >> 2) + 2]!;
  }

  tag(): number {
    return this.#records[((this.#position & this.#mask) >> 2) + 3]!;
  }

  /** Reader, after peek: where in the memory that frame lies, until `releaseTaken`. */
  frameAt(): number {
    return HEAD_BYTES + (this.#position & this.#mask) + RECORD_BYTES;
  }

  /** Reader, after peek: copies the frame out and goes on. */
  take(targetAddress: number, frameBytes: number): void {
    Libc.memcpy(targetAddress, this.#address + (this.#position & this.#mask) + RECORD_BYTES, frameBytes);
    this.pass(frameBytes);
  }

  /** Reader, after peek: goes on. */
  pass(frameBytes: number): void {
    this.#position = (this.#position + RECORD_BYTES + roundUp(frameBytes)) | 0;
  }

  /** Reader: the room of what was taken is free again. */
  releaseTaken(): void {
    Atomics.store(this.#words, READER, this.#position);
  }

  /** Reader: false when there is something to read, so that nobody sleeps on it. */
  setSleeping(asleep: boolean): boolean {
    Atomics.store(this.#words, SLEEPING, asleep ? 1 : 0);
    return Atomics.load(this.#words, WRITER) === this.#position;
  }

  #hasRoom(bytes: number): boolean {
    const capacity = this.#mask + 1;
    if (((this.#position - this.#other) >>> 0) + bytes <= capacity) return true;
    this.#other = Atomics.load(this.#words, READER);
    return ((this.#position - this.#other) >>> 0) + bytes <= capacity;
  }
}
