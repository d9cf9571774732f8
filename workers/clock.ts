/** The monotonic clock of a loop that breathes a million times a second. */
import { boxed } from '../wire/arena.ts';
import type { Micros } from '../wire/types.ts';
import { Arena } from './linux/arena.ts';
import { CLOCK_MONOTONIC } from './linux/constants.ts';
import * as Libc from './linux/libc.ts';

/** struct timespec: seconds, nanoseconds. */
const time = new Arena(16);
const seconds = (): number => time.view.getInt32(0, true);

Libc.clockGettime(CLOCK_MONOTONIC, time.address);
const origin = seconds();
/** Between this thread's clock, which began when the thread did, and the machine's, which all threads have in common. */
export const ORIGIN: Micros = origin * 1e6;

/** As dear as `performance.now`, which leaves two objects on the heap with each reading. */
export function clock(): Micros {
  Libc.clockGettime(CLOCK_MONOTONIC, boxed(time.address));
  return (seconds() - origin) * 1e6 + time.view.getInt32(8, true) / 1000;
}

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
    if (isIdle && this.#left > 0) this.#left--;
    else {
      this.#left = IDLE_BREATHS;
      this.#held[1] = clock();
    }
    return this.#held[1] as Micros;
  }
}
