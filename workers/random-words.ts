/** Random 32-bit words: one system call for many. */
import { randomFillSync } from 'node:crypto';

const WORDS = 64;

export class RandomWords {
  readonly #words = new Uint32Array(WORDS);
  #left = 0;

  next(): number {
    if (this.#left === 0) {
      randomFillSync(this.#words);
      this.#left = WORDS;
    }
    return this.#words[--this.#left]!;
  }
}
