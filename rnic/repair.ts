/**
 * The packet that a peer lacks, sent again by an RC sender while the peer keeps what came behind it. SPEC-CHECKLIST §6. Each answer names the next gap, so that
 * every gap costs a round trip, and a lost repair a timeout: where losses are frequent it is sent twice.
 */
import * as PsnMath from '../wire/psn.ts';
import type { Psn } from '../wire/types.ts';

/** Fewer packets than this between two gaps: a second copy costs less than the timeouts that it saves. */
const FREQUENT_GAP = 512;
/** Packets between gaps before anything is known, and the most that is counted. */
const FIRST_GAP = 1024;
const SMOOTHING = 0.25;
/** So many repairs in a row that bring nothing but the next gap: the peer keeps nothing. */
const VAIN_REPAIRS = 3;
/** Of a peer that was seen to keep packets, chance may make so few. */
const VAIN_OF_HOLDER = 32;

export class Repair {
  /** The peer is taken to keep what comes early, so that only what is missing need be sent again, until it shows otherwise. */
  peerHolds = true;
  /** PSN that is repaired and waits for its answer; -1 for none. */
  psn = -1;
  /** First PSN that had never been sent when the repair began: what lies before it has arrived or is lost once the answer comes. */
  high = 0 as Psn;
  /** Copies that are still to leave. */
  copies = 0;
  /** It is known to be lost, and was not repaired before: its answer measures the round trip (Karn). */
  isMeasure = false;
  /** PSN behind a request with a response of its own that was repaired: if the peer keeps what follows, that is executed next. -1 for none. */
  nextKept = -1;
  #last = -1;
  /** Repairs in a row that brought nothing but their own answer. */
  #vain = 0;
  #mostVain = VAIN_REPAIRS;
  /** Packets between two gaps, on average. */
  #gap = FIRST_GAP;

  /** A repair of `psn` begins; `isLost`: the peer says that it has not come. */
  start(psn: Psn, high: Psn, isLost: boolean): void {
    const isFirst = psn !== this.#last;
    this.isMeasure = isFirst && isLost;
    if (isFirst && this.#last !== -1) {
      const gap = Math.max(1, Math.min(PsnMath.difference(psn, this.#last as Psn), FIRST_GAP));
      this.#gap += (gap - this.#gap) * SMOOTHING;
    }
    this.#last = psn;
    this.psn = psn;
    this.high = high;
    this.copies = this.#gap < FREQUENT_GAP ? 2 : 1;
  }

  /** It is over, or everything is sent again instead. */
  end(): void {
    this.psn = -1;
    this.copies = 0;
    this.nextKept = -1;
  }

  /** A repair was answered: in vain, or not. */
  judge(isVain: boolean): void {
    this.#vain = isVain ? this.#vain + 1 : 0;
    if (this.#vain === this.#mostVain) this.peerHolds = false;
  }

  /** The peer has executed all before `next`. When that is more than the packet that was repaired, it had kept the others. */
  answered(next: Psn): void {
    if (this.psn === -1 || PsnMath.difference(next, PsnMath.next(this.psn as Psn)) <= 0) return;
    if (PsnMath.difference(this.high, PsnMath.next(this.psn as Psn)) > 0) this.#mostVain = VAIN_OF_HOLDER;
  }
}
