/**
 * The queue file of a program in another process: one sealed memfd, which both sides map.
 *
 *     0              doorbell page (rnic/queue/doorbell.ts)
 *     next page …    queues, each from a page boundary on: a queue's offset in the file is what the program gives to mmap
 *
 * The file is sparse and as long as it will ever be. Small queues lie in slabs that the worker maps as a whole; a large one has a mapping of its own.
 */
import { DoorbellPage, doorbellBytes } from '../../rnic/queue/doorbell.ts';
import type { QueueMemory } from '../../rnic/queue/ring.ts';
import { closeOwned, own } from '../linux/descriptors.ts';
import { type Mapping, mapShared, release, remap } from '../linux/memory-map.ts';

export const PAGE_BYTES = 4096;
const SLAB_BYTES = 1 << 20;
const LARGE_BYTES = SLAB_BYTES / 4;

const pages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** Mappings that were given back, by size: their addresses can serve no other purpose, for views of them may live. Per worker thread. */
const spare = new Map<number, Mapping[]>();

function map(fd: number, offset: number, byteLength: number): Mapping {
  const used = spare.get(byteLength)?.pop();
  if (!used) return mapShared(fd, offset, byteLength);
  remap(used, fd, offset);
  return used;
}

function unmap(mapping: Mapping): void {
  release(mapping);
  const pool = spare.get(mapping.byteLength);
  if (pool) pool.push(mapping);
  else spare.set(mapping.byteLength, [mapping]);
}

interface Piece {
  readonly mapping: Mapping;
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly mapOffset: number;
}

export class QueueFile {
  readonly doorbell: DoorbellPage;
  readonly #fd: number;
  readonly #byteLength: number;
  readonly #head: Mapping;
  readonly #mappings: Mapping[] = [];
  readonly #free = new Map<number, QueueMemory[]>();
  #end: number;
  #slab: Piece | null = null;
  #slabUsed = 0;

  /** Takes the descriptor over. @throws SystemError of mmap. */
  constructor(fd: number, byteLength: number, slots: number) {
    this.#fd = own(fd);
    this.#byteLength = byteLength;
    this.#end = pages(doorbellBytes(slots));
    try {
      this.#head = map(fd, 0, this.#end);
    } catch (error) {
      closeOwned(fd);
      throw error;
    }
    this.doorbell = new DoorbellPage(new Int32Array(this.#head.buffer), slots);
  }

  /** Zeroed memory; undefined when the file is full or the kernel refuses the mapping. */
  allocate(bytes: number): QueueMemory | undefined {
    const rounded = pages(bytes);
    const used = this.#free.get(rounded)?.pop();
    if (used) {
      new Uint8Array(used.buffer, used.byteOffset, used.byteLength).fill(0);
      return used;
    }
    try {
      const piece = rounded >= LARGE_BYTES ? this.#extend(rounded) : this.#cut(rounded);
      if (!piece) return undefined;
      const { mapping, byteOffset, byteLength, mapOffset } = piece;
      return { buffer: mapping.buffer, byteOffset, byteLength, mapOffset };
    } catch {
      return undefined; // mmap: out of mappings or memory
    }
  }

  free(memory: QueueMemory): void {
    const pool = this.#free.get(memory.byteLength);
    if (pool) pool.push(memory);
    else this.#free.set(memory.byteLength, [memory]);
  }

  close(): void {
    for (const mapping of this.#mappings) unmap(mapping);
    unmap(this.#head);
    closeOwned(this.#fd);
  }

  #cut(bytes: number): Piece | undefined {
    if (!this.#slab || this.#slabUsed + bytes > SLAB_BYTES) {
      this.#slab = this.#extend(SLAB_BYTES) ?? null;
      this.#slabUsed = 0;
    }
    if (!this.#slab) return undefined;
    const { mapping, mapOffset } = this.#slab;
    const byteOffset = this.#slabUsed;
    this.#slabUsed += bytes;
    return { mapping, byteOffset, byteLength: bytes, mapOffset: mapOffset + byteOffset };
  }

  #extend(bytes: number): Piece | undefined {
    if (this.#end + bytes > this.#byteLength) return undefined;
    const mapping = map(this.#fd, this.#end, bytes);
    this.#mappings.push(mapping);
    const mapOffset = this.#end;
    this.#end += bytes;
    return { mapping, byteOffset: 0, byteLength: bytes, mapOffset };
  }
}
