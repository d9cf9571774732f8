/** The monotonic clock of a loop that breathes a million times a second. */
import { performance } from 'node:perf_hooks';
import type { Micros } from '../wire/types.ts';

export const clock = (): Micros => performance.now() * 1000;

/** So many breaths in which nothing happened share one reading, some microseconds in all. */
const IDLE_BREATHS = 48;

/**
 * Readings for breaths. A time is too large for a small integer: each reading that is handed from function to function is an object on the heap, and an idle loop
 * would fill it for nothing.
 */
export class IdleClock {
  /** Holds anything, so that the number stays the object that it is. */
  readonly #held: unknown[] = [null, 0];
  #left = 0;

  /** @param isIdle nothing happened since the last reading. */
  read(isIdle: boolean): Micros {
    if (isIdle && this.#left > 0) {
      this.#left--;
      return this.#held[1] as Micros;
    }
    this.#left = IDLE_BREATHS;
    const now = clock();
    this.#held[1] = now;
    return now;
  }
}
