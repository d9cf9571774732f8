/** Queue memory of in-process applications: pieces of SharedArrayBuffers, each slab one application's alone. */
import type { QueueMemory } from '../rnic/queue/ring.ts';

const SLAB_BYTES = 1 << 20;
const GRAIN_BYTES = 1024;
/** A queue of this size has a buffer to itself. */
const LARGE_BYTES = SLAB_BYTES / 4;

interface Slabs {
  current: SharedArrayBuffer | null;
  end: number;
  /** Pieces given back, by size. */
  readonly free: Map<number, QueueMemory[]>;
}

export class QueueSlabs {
  readonly #contexts = new Map<number, Slabs>();

  /** Zeroed memory, cache-line aligned; undefined when the process has none left. */
  allocate(context: number, bytes: number): QueueMemory | undefined {
    const rounded = Math.ceil(bytes / GRAIN_BYTES) * GRAIN_BYTES;
    const slabs = this.#slabsOf(context);
    const used = slabs.free.get(rounded)?.pop();
    if (used) {
      new Uint8Array(used.buffer, used.byteOffset, used.byteLength).fill(0);
      return used;
    }
    try {
      return rounded >= LARGE_BYTES ? piece(new SharedArrayBuffer(rounded), 0, rounded) : cut(slabs, rounded);
    } catch {
      return undefined; // RangeError: the allocation failed
    }
  }

  free(context: number, memory: QueueMemory): void {
    const slabs = this.#contexts.get(context);
    if (!slabs || memory.byteLength >= LARGE_BYTES) return;
    const pieces = slabs.free.get(memory.byteLength) ?? [];
    pieces.push(memory);
    slabs.free.set(memory.byteLength, pieces);
  }

  /** The application is gone: all its slabs with it. */
  close(context: number): void {
    this.#contexts.delete(context);
  }

  #slabsOf(context: number): Slabs {
    const known = this.#contexts.get(context);
    if (known) return known;
    const slabs: Slabs = { current: null, end: 0, free: new Map() };
    this.#contexts.set(context, slabs);
    return slabs;
  }
}

const piece = (buffer: SharedArrayBuffer, byteOffset: number, byteLength: number): QueueMemory => ({
  buffer,
  byteOffset,
  byteLength,
  mapOffset: 0,
});

function cut(slabs: Slabs, bytes: number): QueueMemory {
  if (!slabs.current || slabs.end + bytes > SLAB_BYTES) {
    slabs.current = new SharedArrayBuffer(SLAB_BYTES);
    slabs.end = 0;
  }
  const memory = piece(slabs.current, slabs.end, bytes);
  slabs.end += bytes;
  return memory;
}
