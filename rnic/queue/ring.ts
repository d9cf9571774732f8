/** A queue over shared memory, seen from either side. Indices come from a stranger: they are masked at every read, and so is every slot. */
import * as Layout from './layout.ts';

/** Where a queue lives. `buffer` is a SharedArrayBuffer, or an ArrayBuffer over memory mapped from a file. */
export interface QueueMemory {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Offset inside the file that a process maps to see the queue; 0 for SharedArrayBuffers. */
  readonly mapOffset: number;
}

export class Ring {
  readonly memory: QueueMemory;
  /** Over the queue's memory: slots are octet offsets into this view. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly mask: number;
  readonly elementBytes: number;
  readonly #words: Int32Array;
  readonly #log2: number;

  /** @param slots a power of two. The header is taken from these arguments, never from the memory. */
  constructor(memory: QueueMemory, slots: number, elementBytes: number) {
    this.memory = memory;
    this.view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    this.bytes = new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
    this.#words = new Int32Array(memory.buffer, memory.byteOffset, Layout.DATA >> 2);
    this.mask = slots - 1;
    this.elementBytes = elementBytes;
    this.#log2 = 31 - Math.clz32(elementBytes);
    if (memory.byteLength < Layout.DATA + slots * elementBytes) throw new RangeError('queue memory is too small');
  }

  /** Writes the header of an empty queue. Done once, by the engine. */
  format(): void {
    this.#words[Layout.LOG2_ELEMENT_BYTES >> 2] = this.#log2;
    this.#words[Layout.INDEX_MASK >> 2] = this.mask;
    Atomics.store(this.#words, Layout.PRODUCER >> 2, 0);
    Atomics.store(this.#words, Layout.CONSUMER >> 2, 0);
    Atomics.store(this.#words, Layout.ARM >> 2, 0);
  }

  producer(): number {
    return Atomics.load(this.#words, Layout.PRODUCER >> 2) & this.mask;
  }

  consumer(): number {
    return Atomics.load(this.#words, Layout.CONSUMER >> 2) & this.mask;
  }

  publishProducer(index: number): void {
    Atomics.store(this.#words, Layout.PRODUCER >> 2, index & this.mask);
  }

  publishConsumer(index: number): void {
    Atomics.store(this.#words, Layout.CONSUMER >> 2, index & this.mask);
  }

  /** Elements waiting: 0 … slots - 1. */
  count(): number {
    return (this.producer() - this.consumer()) & this.mask;
  }

  next(index: number): number {
    return (index + 1) & this.mask;
  }

  /** Octet offset of slot `index` inside `view`. */
  slotAt(index: number): number {
    return Layout.DATA + ((index & this.mask) << this.#log2);
  }

  /** CQ only: asks for an event (`Layout.Arm`). NEXT is not lowered to SOLICITED. One-shot. */
  arm(kind: number): void {
    if (kind === Layout.Arm.SOLICITED) {
      Atomics.compareExchange(this.#words, Layout.ARM >> 2, Layout.Arm.NONE, kind);
    } else Atomics.store(this.#words, Layout.ARM >> 2, kind);
  }

  armed(): number {
    return Atomics.load(this.#words, Layout.ARM >> 2);
  }

  disarm(): void {
    Atomics.store(this.#words, Layout.ARM >> 2, Layout.Arm.NONE);
  }
}
