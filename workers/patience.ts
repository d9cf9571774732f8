/** How long who finds nothing to do goes on looking before he sleeps: as told, and longer while sleep has turned out too short to be worth being woken. */
import type { Micros } from '../wire/types.ts';
import type { Spin } from './vrnic-config.ts';

/** To be woken costs both sides: who sends pays some 10 µs for each frame that wakes somebody. A sleep shorter than this was a mistake. */
const SHORT_SLEEP_MICROS: Micros = 200;

export class Patience {
  readonly #told: Micros;
  /** So long from the last thing done. Infinity: for ever. */
  micros: Micros;

  constructor(spin: Spin) {
    this.#told = spin === 'always' ? Number.POSITIVE_INFINITY : spin;
    this.micros = this.#told;
  }

  /** Was told to spin for ever. */
  get isEndless(): boolean {
    return this.#told === Number.POSITIVE_INFINITY;
  }

  /** A sleep has ended. Who was told not to spin does not learn it. */
  slept(micros: Micros): void {
    if (this.#told === 0) return;
    this.micros = micros < SHORT_SLEEP_MICROS ? Math.max(this.#told, SHORT_SLEEP_MICROS) : this.#told;
  }
}
