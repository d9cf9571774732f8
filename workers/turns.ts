/** In which order the vRNICs of a worker breathe, and which of them may send: those below their guarantee first, and last those whom their limit has stopped. */
import type { Micros } from '../wire/types.ts';

export interface Breather {
  /** True when there was something to do. `mayTransmit` false: others go first. `crowd`: how many had something to do in the last round. */
  breathe(now: Micros, mayTransmit: boolean, crowd: number): boolean;
  /** It need not breathe. */
  dozes(now: Micros): boolean;
  /** It has something to send, and has sent less than it is guaranteed. */
  isOwed(now: Micros): boolean;
  /** It sent until its limit stopped it. */
  readonly hasRunOut: boolean;
}

/** So many breaths, and those without a guarantee have their turn. */
const HELD_BREATHS_MAX = 16;

export class Turns {
  /** Whether any of them has a guarantee. */
  hasGuarantees = false;
  #first = 0;
  #crowd = 0;
  /** Breaths in a row in which some had to let others send. */
  #heldBreaths = 0;

  /** One breath of each. True when any had something to do. */
  breathe(all: readonly Breather[], now: Micros): boolean {
    const holdsBack = this.hasGuarantees && this.#isSomeOwed(all, now);
    let busy = 0;
    let next = this.#first;
    for (let i = 0; i < all.length; i++) {
      const index = (this.#first + i) % all.length;
      const one = all[index]!;
      if (one.dozes(now)) continue;
      if (one.breathe(now, !holdsBack || one.isOwed(now), this.#crowd)) busy++;
      if (one.hasRunOut) next = index + 1;
    }
    this.#first = next;
    this.#crowd = busy;
    return busy > 0;
  }

  #isSomeOwed(all: readonly Breather[], now: Micros): boolean {
    let isOwed = false;
    for (let i = 0; i < all.length && !isOwed; i++) isOwed = all[i]!.isOwed(now);
    if (isOwed && this.#heldBreaths++ < HELD_BREATHS_MAX) return true;
    this.#heldBreaths = 0;
    return false;
  }
}
