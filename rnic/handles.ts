/** Handles of one kind of object in one context: small numbers that an application names its objects by. A handle that was given back is not valid again soon. */

const INDEX_BITS = 20;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
/** Objects of one kind that a context can name. */
export const HANDLES_MAX = 1 << INDEX_BITS;
const GENERATIONS = 1 << 11;

/** Where a handle's object stands: dense, reused. */
export const indexOf = (handle: number): number => handle & INDEX_MASK;

export class Handles<T extends object> {
  readonly #objects: (T | undefined)[] = [];
  readonly #generations: number[] = [];
  readonly #free: number[] = [];
  #count = 0;

  get size(): number {
    return this.#count;
  }

  /** Takes a place; `make` gets the handle. */
  add<U extends T>(make: (handle: number) => U): U {
    const index = this.#free.pop() ?? this.#objects.length;
    if (index >= HANDLES_MAX) throw new RangeError('more objects than handles');
    const generation = this.#generations[index] ?? 0;
    const object = make((generation << INDEX_BITS) | index);
    this.#objects[index] = object;
    this.#generations[index] = generation;
    this.#count++;
    return object;
  }

  /** Undefined for whatever is not a live handle: applications pass anything. */
  get(handle: unknown): T | undefined {
    if (typeof handle !== 'number' || !Number.isInteger(handle) || handle < 0) return undefined;
    const index = indexOf(handle);
    if (this.#generations[index] !== handle >>> INDEX_BITS) return undefined;
    return this.#objects[index];
  }

  at(index: number): T | undefined {
    return this.#objects[index];
  }

  remove(handle: number): void {
    const index = indexOf(handle);
    if (this.#objects[index] === undefined) return;
    this.#objects[index] = undefined;
    this.#generations[index] = ((this.#generations[index] ?? 0) + 1) % GENERATIONS;
    this.#free.push(index);
    this.#count--;
  }

  *[Symbol.iterator](): Generator<T> {
    for (const object of this.#objects) if (object !== undefined) yield object;
  }
}
