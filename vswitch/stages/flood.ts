/** How many frames a port, or a vRNIC's multicast, may send to everybody: a bucket of frames that fills steadily. */
import type { Micros } from '../../wire/types.ts';

/** Where nobody says otherwise. */
export const FLOOD_PER_SECOND = 10_000;
/** The most that anybody may say, but for: */
export const FLOOD_MAX = 10_000_000;
/** As many as there are. */
export const UNBOUNDED = Number.POSITIVE_INFINITY;

/** Frames at once after a pause: a tenth of a second's. */
export const floodBurst = (perSecond: number): number => Math.ceil(perSecond / 10);

export class FloodBudget {
  #perSecond: number;
  #left: number;
  #at: Micros = 0;

  constructor(perSecond = FLOOD_PER_SECOND) {
    this.#perSecond = perSecond;
    this.#left = floodBurst(perSecond);
  }

  /** So many frames a second from now on; what is left of the budget stays, as far as it fits. */
  update(perSecond: number): void {
    this.#perSecond = perSecond;
    this.#left = Math.min(this.#left, floodBurst(perSecond));
  }

  hasRoom(now: Micros): boolean {
    if (this.#perSecond === UNBOUNDED) return true;
    const earned = (Math.max(0, now - this.#at) * this.#perSecond) / 1e6;
    this.#left = Math.min(floodBurst(this.#perSecond), this.#left + earned);
    this.#at = now;
    return this.#left >= 1;
  }

  /** False: there is no room. */
  take(now: Micros): boolean {
    if (!this.hasRoom(now)) return false;
    this.#left--;
    return true;
  }
}
