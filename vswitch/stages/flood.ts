/** How much a port may flood: a bucket of frames that fills steadily. */
import type { Micros } from '../../wire/types.ts';

export const FLOOD_PER_SECOND = 10_000;
export const FLOOD_BURST = 1000;

export class FloodBudget {
  #left = FLOOD_BURST;
  #at: Micros = 0;

  take(now: Micros): boolean {
    const earned = ((now - this.#at) * FLOOD_PER_SECOND) / 1e6;
    this.#left = Math.min(FLOOD_BURST, this.#left + Math.max(0, earned));
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
