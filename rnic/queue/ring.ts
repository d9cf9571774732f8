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

/** Views over a whole buffer: many small queues share one, and a view of their own would cost each of them more than its state. */
interface Views {
  readonly buffer: ArrayBufferLike;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

/** Offsets of slots are 31-bit integers. */
const OFFSETS_END = 2 ** 31;

const VIEWS = new WeakMap<ArrayBufferLike, Views>();

function viewsOf(buffer: ArrayBufferLike): Views {
  const known = VIEWS.get(buffer);
  if (known !== undefined) return known;
  const views = {
    buffer,
    view: new DataView(buffer),
    bytes: new Uint8Array(buffer),
    words: new Int32Array(buffer, 0, buffer.byteLength >> 2),
  };
  VIEWS.set(buffer, views);
  return views;
}

export class Ring {
  readonly mask: number;
  readonly #views: Views;
  readonly #base: number;
  readonly #byteLength: number;
  readonly #mapOffset: number;
  readonly #log2: number;

  /** @param slots a power of two. The header is taken from these arguments, never from the memory. */
  constructor(memory: QueueMemory, slots: number, elementBytes: number) {
    if (memory.byteLength < Layout.DATA + slots * elementBytes) throw new RangeError('queue memory is too small');
    const end = memory.byteOffset + memory.byteLength;
    if (memory.byteOffset % 4 !== 0 || end > memory.buffer.byteLength || end > OFFSETS_END)
      throw new RangeError('queue memory does not lie in its buffer');
    this.#views = viewsOf(memory.buffer);
    this.#base = memory.byteOffset;
    this.#byteLength = memory.byteLength;
    this.#mapOffset = memory.mapOffset;
    this.mask = slots - 1;
    this.#log2 = 31 - Math.clz32(elementBytes);
  }

  /** Where it lies. Made when asked for: rings are many. */
  get memory(): QueueMemory {
    const byteOffset = this.#base;
    return { buffer: this.#views.buffer, byteOffset, byteLength: this.#byteLength, mapOffset: this.#mapOffset };
  }

  /** Over the whole buffer that the queue lies in: slots are octet offsets into it. */
  get view(): DataView {
    return this.#views.view;
  }

  /** As `view`. */
  get bytes(): Uint8Array {
    return this.#views.bytes;
  }

  get elementBytes(): number {
    return 1 << this.#log2;
  }

  /** Writes the header of an empty queue. Done once, by the engine. */
  format(): void {
    const { words } = this.#views;
    words[this.#word(Layout.LOG2_ELEMENT_BYTES)] = this.#log2;
    words[this.#word(Layout.INDEX_MASK)] = this.mask;
    for (const index of [Layout.PRODUCER, Layout.CONSUMER, Layout.ARM]) Atomics.store(words, this.#word(index), 0);
  }

  producer(): number {
    return Atomics.load(this.#views.words, this.#word(Layout.PRODUCER)) & this.mask;
  }

  consumer(): number {
    return Atomics.load(this.#views.words, this.#word(Layout.CONSUMER)) & this.mask;
  }

  /** For who polls: whether nothing waits. What comes just now the next look sees: it takes a tenth of what two atomic ones do. */
  looksEmpty(): boolean {
    const { words } = this.#views;
    return ((words[this.#word(Layout.PRODUCER)]! ^ words[this.#word(Layout.CONSUMER)]!) & this.mask) === 0;
  }

  publishProducer(index: number): void {
    Atomics.store(this.#views.words, this.#word(Layout.PRODUCER), index & this.mask);
  }

  publishConsumer(index: number): void {
    Atomics.store(this.#views.words, this.#word(Layout.CONSUMER), index & this.mask);
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
    return this.#base + Layout.DATA + ((index & this.mask) << this.#log2);
  }

  /** CQ only: asks for an event (`Layout.Arm`). NEXT is not lowered to SOLICITED. One-shot. */
  arm(kind: number): void {
    if (kind === Layout.Arm.SOLICITED) {
      Atomics.compareExchange(this.#views.words, this.#word(Layout.ARM), Layout.Arm.NONE, kind);
    } else Atomics.store(this.#views.words, this.#word(Layout.ARM), kind);
    // A load, so that whoever looks now, even if not atomically, sees what came before it was armed.
    this.armed();
  }

  armed(): number {
    return Atomics.load(this.#views.words, this.#word(Layout.ARM));
  }

  disarm(): void {
    Atomics.store(this.#views.words, this.#word(Layout.ARM), Layout.Arm.NONE);
  }

  /** Index in `words` of a header word. */
  #word(offset: number): number {
    return (this.#base + offset) >> 2;
  }
}
