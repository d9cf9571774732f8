/**
 * In which order the vRNICs and switch ports of a worker breathe, and which of them may send: those below their guarantee first, and last those whom their limit has
 * stopped. Where several have something to do, each has as much of the worker's time: start-time fair queueing (Goyal, Vin and Cheng, 1996), by the time that breaths took.
 */
import type { Micros } from '../wire/types.ts';
import { clock } from './clock.ts';

export interface Breather {
  /** What it has had of the worker. */
  readonly share: Share;
  /** True when there was something to do. `mayTransmit` false: others go first. `crowd`: how many had something to do in the last round. */
  breathe(now: Micros, mayTransmit: boolean, crowd: number): boolean;
  /** Time of its last breath that it gave to others: it does not pay for that. */
  readonly errandMicros: Micros;
  /** It need not breathe. */
  dozes(now: Micros): boolean;
  /** It has something to send, and has sent less than it is guaranteed. */
  isOwed(now: Micros): boolean;
  /** It sent until its limit stopped it. */
  readonly hasRunOut: boolean;
}

/** Frames that a breath receives where others have something to do, so that they need not wait for long. */
export const CROWD_FRAMES = 4;
/** So many breaths, and those without a guarantee have their turn. */
const HELD_BREATHS_MAX = 16;
/** Who has had so much more than the least served waits for that one. */
const LEAD_MAX: Micros = 20;
/** A breath that took longer did not: the thread had lost its core, or V8 collected. */
const BREATH_MAX: Micros = 500;
const UNKNOWN: Micros = -1;

/** Of one breather, and its turns' alone. */
export class Share {
  /** Time that it has had, and what others had beside whom it had nothing to do. */
  served: Micros = 0;
  /** It had something to do when it was last asked, or waits to be asked. */
  isBusy = false;

  charge(micros: Micros): void {
    this.served += Math.min(micros, BREATH_MAX);
  }
}

export class Turns {
  /** Whether any of them has a guarantee. */
  hasGuarantees = false;
  readonly #clock: () => Micros;
  #first = 0;
  #crowd = 0;
  /** Breaths in a row in which some had to let others send. */
  #heldBreaths = 0;
  /** What the least served of those has had who had something to do in the last round. */
  #least: Micros = 0;

  /** @param readClock is read between two breaths where others have something to do. */
  constructor(readClock: () => Micros = clock) {
    this.#clock = readClock;
  }

  /** One round: a breath of each, but of those who have had more than others who wait. True when any had something to do. */
  breathe(all: readonly Breather[], now: Micros): boolean {
    const holdsBack = this.hasGuarantees && this.#isSomeOwed(all, now);
    let begin = UNKNOWN;
    let busy = 0;
    let least = Number.POSITIVE_INFINITY;
    let next = this.#first;
    for (let i = 0; i < all.length; i++) {
      const index = (this.#first + i) % all.length;
      const one = all[index]!;
      const { share } = one;
      if (one.dozes(now)) {
        share.isBusy = false;
        continue;
      }
      const isOwed = holdsBack && one.isOwed(now);
      if (!isOwed && this.#isAhead(share)) share.isBusy = true;
      else {
        this.#wake(share);
        const isTimed = this.#crowd > (share.isBusy ? 1 : 0);
        if (isTimed && begin === UNKNOWN) begin = this.#clock();
        share.isBusy = one.breathe(now, !holdsBack || isOwed, this.#crowd);
        const end = isTimed ? this.#clock() : UNKNOWN;
        if (isTimed && share.isBusy) share.charge(end - begin - one.errandMicros);
        begin = end;
        if (one.hasRunOut) next = index + 1;
      }
      if (!share.isBusy) continue;
      busy++;
      if (share.served < least) least = share.served;
    }
    this.#first = next;
    this.#crowd = busy;
    if (busy > 0) this.#least = least;
    return busy > 0;
  }

  /** Whether commands of this one may be run before the next round, in which it breathes or waits. */
  admits({ share }: Breather): boolean {
    return !this.#isAhead(share);
  }

  /** Its commands took so long. */
  charge({ share }: Breather, micros: Micros): void {
    this.#wake(share);
    share.charge(micros);
  }

  #isAhead(share: Share): boolean {
    return share.served > this.#least + LEAD_MAX;
  }

  /** Who had nothing to do has saved nothing by it. */
  #wake(share: Share): void {
    if (!share.isBusy && share.served < this.#least) share.served = this.#least;
  }

  #isSomeOwed(all: readonly Breather[], now: Micros): boolean {
    let isOwed = false;
    for (let i = 0; i < all.length && !isOwed; i++) isOwed = all[i]!.isOwed(now);
    if (isOwed && this.#heldBreaths++ < HELD_BREATHS_MAX) return true;
    this.#heldBreaths = 0;
    return false;
  }
}
