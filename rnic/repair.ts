/**
 * The oldest packet of an RC sender, sent again while its peer keeps what came behind it. SPEC-CHECKLIST §6. Each answer names the next gap, so that every gap
 * costs a round trip, and a lost repair a timeout: where losses are frequent it is sent twice.
 */
import * as PsnMath from '../wire/psn.ts';
import type { Psn } from '../wire/types.ts';

/** Fewer packets than this between two gaps: a second copy costs less than the timeouts that it saves. */
const FREQUENT_GAP = 512;
/** Packets between gaps before anything is known, and the most that is counted. */
const FIRST_GAP = 1024;
const SMOOTHING = 0.25;

export class Repair {
  /** First PSN that had never been sent when the repair began: what lies before it has arrived or is lost once the answer comes. */
  high = 0 as Psn;
  /** Copies that are still to leave. */
  copies = 0;
  /** The packet was not repaired before: its answer measures the round trip (Karn). */
  isFirst = false;
  #psn = -1;
  /** Packets between two gaps, on average. */
  #gap = FIRST_GAP;

  /** A repair of `una` begins. */
  start(una: Psn, high: Psn): void {
    this.isFirst = una !== this.#psn;
    if (this.isFirst && this.#psn !== -1) {
      const gap = Math.max(1, Math.min(PsnMath.difference(una, this.#psn as Psn), FIRST_GAP));
      this.#gap += (gap - this.#gap) * SMOOTHING;
    }
    this.#psn = una;
    this.high = high;
    this.copies = this.#gap < FREQUENT_GAP ? 2 : 1;
  }
}
