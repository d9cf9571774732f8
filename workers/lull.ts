/**
 * When a burst that a limit has kept back is least in the way. The vRNICs of a thread wait for each other's bursts; but who has just sent waits for an answer in any case. So a
 * burst that may leave goes behind what another vRNIC sends, if one does soon.
 */
import type { Micros } from '../wire/types.ts';

/** A burst waits so long for others to send, while its bucket fills. */
const PATIENCE: Micros = 64;
const NEVER: Micros = Number.NEGATIVE_INFINITY;

/** Bursts that the vRNICs of this thread have sent. */
let sent = 0;

/** Of one vRNIC. */
export class Lull {
  /** Of `sent`, those that are this vRNIC's. */
  #own = 0;
  /** What others had sent when this one's last burst left, and when its next might. */
  #atLast = 0;
  #atReady = 0;
  /** Since when the next one might leave. */
  #readySince = NEVER;

  get #others(): number {
    return sent - this.#own;
  }

  /** This vRNIC has sent something. */
  hasSent(): void {
    sent++;
    this.#own++;
  }

  /** A burst has left; its limit keeps the next one back. */
  begin(): void {
    this.#atLast = this.#others;
    this.#readySince = NEVER;
  }

  /** The limit lets the next one go. True when it is better sent later: others have sent since the last one, but not since this one might leave. */
  isAwaited(now: Micros): boolean {
    if (this.#readySince === NEVER) {
      this.#readySince = now;
      this.#atReady = this.#others;
    }
    if (this.#atReady === this.#atLast || this.#atReady !== this.#others) return false;
    return now < this.#readySince + PATIENCE;
  }
}
