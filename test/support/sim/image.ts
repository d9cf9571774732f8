/** What a stretch of memory must be that a peer writes: what is known to be written, and the writes that are under way, in their order. */

/** Octets that a work request writes, at an octet of the host's memory. */
export interface Mutation {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** A READ under way: what stood there when it was posted, and what was written after it, which it may bring too. */
export interface Watch extends Mutation {
  readonly later: Mutation[];
}

const overlap = (a: Mutation, b: Mutation): boolean => a.at < b.at + b.bytes.length && b.at < a.at + a.bytes.length;

export class Image {
  readonly #memory: Uint8Array;
  readonly #from: number;
  readonly #settled: Uint8Array;
  #pending: Mutation[] = [];
  readonly #watches = new Set<Watch>();

  constructor(bytes: Uint8Array, from: number, end: number) {
    this.#memory = bytes.subarray(from, end);
    this.#from = from;
    this.#settled = this.#memory.slice();
  }

  /** A work request is posted that will write these octets after all that were posted before it. */
  write(at: number, bytes: Uint8Array): Mutation {
    const mutation = { at, bytes: bytes.slice() };
    this.#pending.push(mutation);
    for (const watch of this.#watches) if (overlap(watch, mutation)) watch.later.push(mutation);
    return mutation;
  }

  /** It ended well, and so did those before it. */
  settle(mutation: Mutation): void {
    while (this.#pending.length > 0) {
      const next = this.#pending.shift()!;
      this.#apply(next);
      if (next === mutation) return;
    }
  }

  /** Whether a settled one can be seen, as far as nothing behind it may hide it. */
  isThere(mutation: Mutation): boolean {
    if (this.#pending.some((later) => overlap(later, mutation))) return true;
    const from = mutation.at - this.#from;
    const end = from + mutation.bytes.length;
    return Buffer.compare(this.#memory.subarray(from, end), this.#settled.subarray(from, end)) === 0;
  }

  /** What stands there when all that is posted is done. */
  expected(at: number, length: number): Uint8Array {
    const from = at - this.#from;
    const bytes = this.#settled.slice(from, from + length);
    const there = { at, bytes };
    for (const mutation of this.#pending) {
      if (!overlap(there, mutation)) continue;
      const skipped = Math.max(0, at - mutation.at);
      bytes.set(mutation.bytes.subarray(skipped, at + length - mutation.at), Math.max(0, mutation.at - at));
    }
    return bytes;
  }

  watch(at: number, length: number): Watch {
    const watch = { at, bytes: this.expected(at, length), later: [] };
    this.#watches.add(watch);
    return watch;
  }

  /** Whether a READ may have brought this. */
  explains(watch: Watch, got: Uint8Array): boolean {
    this.#watches.delete(watch);
    if (Buffer.compare(got, watch.bytes) === 0) return true;
    const { at, bytes, later } = watch;
    return got.every(
      (octet, i) => octet === bytes[i] || later.some((mutation) => octet === mutation.bytes[at + i - mutation.at]),
    );
  }

  /** Whether memory is what was written, and nothing else. */
  isRight(): boolean {
    return Buffer.compare(this.#memory, this.#settled) === 0;
  }

  /**
   * A connection broke: the first few of the writes under way were done, the next one perhaps up to some octet, and no other. False when memory is not that. What
   * stands there counts from now on.
   */
  recover(): boolean {
    let isRight = this.isRight();
    for (const mutation of isRight ? [] : this.#pending) {
      isRight = this.#isBegun(mutation);
      this.#apply(mutation);
      isRight ||= this.isRight();
      if (isRight) break;
    }
    this.#pending = [];
    this.#watches.clear();
    this.#settled.set(this.#memory);
    return isRight;
  }

  #apply({ at, bytes }: Mutation): void {
    this.#settled.set(bytes, at - this.#from);
  }

  /** Whether memory is what it was and the first octets of this one. */
  #isBegun({ at, bytes }: Mutation): boolean {
    const from = at - this.#from;
    let done = 0;
    while (done < bytes.length && this.#memory[from + done] === bytes[done]) done++;
    const begun = this.#settled.slice();
    begun.set(bytes.subarray(0, done), from);
    return Buffer.compare(this.#memory, begun) === 0;
  }
}
