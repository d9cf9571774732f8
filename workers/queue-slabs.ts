/** Queue memory of in-process applications: pieces of SharedArrayBuffers, each slab one application's alone. */
import type { QueueMemory } from '../rnic/queue/ring.ts';

const SLAB_BYTES = 1 << 20;
const GRAIN_BYTES = 1024;
/** A queue of this size has a buffer to itself. */
const LARGE_BYTES = SLAB_BYTES / 4;

/** Where the queues of one application come from. */
export interface QueueAllocator {
  /** Zeroed memory; undefined when there is none left. */
  allocate(bytes: number): QueueMemory | undefined;
  free(memory: QueueMemory): void;
}

export class QueueSlabs {
  readonly #contexts = new Map<number, Slabs>();

  of(context: number): QueueAllocator {
    const known = this.#contexts.get(context);
    if (known) return known;
    const slabs = new Slabs();
    this.#contexts.set(context, slabs);
    return slabs;
  }

  /** The application is gone: all its slabs with it. */
  close(context: number): void {
    this.#contexts.delete(context);
  }
}

class Slabs implements QueueAllocator {
  #current: SharedArrayBuffer | null = null;
  #end = 0;
  /** Pieces given back, by size. */
  readonly #free = new Map<number, QueueMemory[]>();

  /** Cache-line aligned. */
  allocate(bytes: number): QueueMemory | undefined {
    // In integers: a double costs each queue an object for its size and one for its place.
    const rounded = (bytes + GRAIN_BYTES - 1) & -GRAIN_BYTES;
    const used = this.#free.get(rounded)?.pop();
    if (used) {
      new Uint8Array(used.buffer, used.byteOffset, used.byteLength).fill(0);
      return used;
    }
    try {
      return rounded >= LARGE_BYTES ? piece(new SharedArrayBuffer(rounded), 0, rounded) : this.#cut(rounded);
    } catch {
      return undefined; // RangeError: the allocation failed
    }
  }

  free(memory: QueueMemory): void {
    if (memory.byteLength >= LARGE_BYTES) return;
    const pieces = this.#free.get(memory.byteLength) ?? [];
    pieces.push(memory);
    this.#free.set(memory.byteLength, pieces);
  }

  #cut(bytes: number): QueueMemory {
    if (!this.#current || this.#end + bytes > SLAB_BYTES) {
      this.#current = new SharedArrayBuffer(SLAB_BYTES);
      this.#end = 0;
    }
    const memory = piece(this.#current, this.#end, bytes);
    this.#end += bytes;
    return memory;
  }
}

const piece = (buffer: SharedArrayBuffer, byteOffset: number, byteLength: number): QueueMemory => ({
  buffer,
  byteOffset,
  byteLength,
  mapOffset: 0,
});
