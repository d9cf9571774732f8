/** Numbers that nobody can guess and that do not come again for long: a keyed permutation of 0 … size - 1, walked from the start. Keys and QPNs are drawn from it. */

const ROUNDS = 6;

/** Mixes 32 bits with a secret (finalizer of a well-known integer hash; not a cipher: keys carry further random bits). */
function mix(value: number, secret: number): number {
  let x = (value ^ secret) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** A Feistel network over 2·halfBits bits; values beyond `size` are walked through again until they fall inside (cycle walking). */
export class Permutation {
  readonly #size: number;
  readonly #halfBits: number;
  readonly #secrets: Uint32Array;
  #next = 0;

  /** @param size how many numbers there are, up to 2^30. */
  constructor(size: number, random32: () => number) {
    this.#size = size;
    const bits = Math.max(2, 32 - Math.clz32(size - 1));
    this.#halfBits = (bits + 1) >> 1;
    this.#secrets = Uint32Array.from({ length: ROUNDS }, () => random32());
  }

  /** The next number: none comes twice before all have come once. */
  draw(): number {
    let value = this.#next;
    this.#next = (this.#next + 1) % this.#size;
    do value = this.#permute(value);
    while (value >= this.#size);
    return value;
  }

  #permute(value: number): number {
    const mask = (1 << this.#halfBits) - 1;
    let left = value >>> this.#halfBits;
    let right = value & mask;
    for (let round = 0; round < ROUNDS; round++) {
      const mixed = left ^ (mix(right, this.#secrets[round]!) & mask);
      left = right;
      right = mixed;
    }
    return ((left << this.#halfBits) | right) >>> 0;
  }
}
