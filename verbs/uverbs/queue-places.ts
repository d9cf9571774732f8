/** The queues of an attached program: pieces of its queue file, mapped where they are first spoken of. The daemon gives a piece that is free again to a queue of the same size. */
import type { QueueMemory } from '../../rnic/queue/ring.ts';
import { closeOwned, own } from '../../workers/linux/descriptors.ts';
import { type Mapping, mapShared, release } from '../../workers/linux/memory-map.ts';

export class QueuePlaces {
  readonly #fd: number;
  readonly #mappings = new Map<number, Mapping>();

  /** Takes the queue file over. */
  constructor(fd: number) {
    this.#fd = own(fd);
  }

  /** @throws SystemError of mmap. */
  at(mapOffset: number, byteLength: number): QueueMemory {
    let mapping = this.#mappings.get(mapOffset);
    if (!mapping) {
      mapping = mapShared(this.#fd, mapOffset, byteLength);
      this.#mappings.set(mapOffset, mapping);
    }
    return { buffer: mapping.buffer, byteOffset: 0, byteLength, mapOffset };
  }

  /** Their addresses serve nobody else afterwards: a program may still poll a queue of a link that has ended, and finds it empty. */
  close(): void {
    for (const mapping of this.#mappings.values()) release(mapping);
    this.#mappings.clear();
    closeOwned(this.#fd);
  }
}
