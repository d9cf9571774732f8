/**
 * When an RC sender sends again, and when it gives up. SPEC-CHECKLIST §6, R-101 … R-107.
 *
 * T is the local ACK timeout, 4.096 µs × 2^timeout. Strict: the timer runs for T, each expiry costs a retry. Otherwise it runs for SRTT + 4 RTTVAR (RFC 6298),
 * doubled at each expiry, at most T; what counts is the time without progress, so that giving up takes T × (retry_cnt + 1) either way.
 */
import * as PsnMath from '../wire/psn.ts';
import type { Micros, Psn } from '../wire/types.ts';
import type { Qp } from './core.ts';

const TIMEOUT_UNIT: Micros = 4.096;
/** The timer before the first measurement, and its lower bound. */
const FIRST_INTERVAL: Micros = 10_000;
const LEAST_INTERVAL: Micros = 1000;
/** While an expiry costs one packet and no more, a false one does no harm. */
const LEAST_REPAIR_INTERVAL: Micros = 100;
/**
 * The timer's lower bound on a path that has lost nothing lately: there a peer that is silent for a fraction of a millisecond is waiting for its core, or taking
 * what it has. Sending again would only give it more to do.
 */
const LEAST_WITHOUT_LOSS: Micros = 2000;
const LOSS_REMEMBERED: Micros = 1_000_000;
/** T is no shorter than this: a peer in software may not be scheduled for a millisecond. */
const LEAST_TIMEOUT: Micros = 1000;
/** A timer that fires so much later than it was due: nobody looked at the clock. */
const LATE: Micros = 5000;
/** Where `timeout` 0 sets no bound. */
const GREATEST_INTERVAL: Micros = 1_000_000;
/** Repeated NAKs that come sooner than this part of a round trip are copies of one. */
const REPEAT_SHARE = 0.5;
/** No answer comes sooner than this part of the shortest round trip seen. */
const ANSWER_SHARE = 0.75;
const DOUBTFUL_SHARE = 0.25;
const DOUBTFUL_SAMPLES = 8;
/** Round trips of more than this say that packets wait. */
const QUEUEING_FACTOR = 1.5;
const QUEUEING_SLACK: Micros = 30;
/** `rnr_retry` 7: for ever. */
const RNR_FOREVER = 7;

export class Recovery {
  /** Smoothed round trip; 0 before the first measurement. */
  smoothed: Micros = 0;
  /** The shortest round trip seen; 0 before the first measurement. */
  least: Micros = 0;
  #variation: Micros = 0;
  /** Doublings of the timer since the last progress. */
  #doublings = 0;
  /** PSN whose answer is being timed, -1 when none is, and when it left. */
  #timedPsn = -1;
  #timedAt: Micros = 0;
  #isPathTimed = false;
  /** Since when nothing has moved. */
  #stalledSince: Micros = 0;
  /** When the timer that runs is due. */
  #due: Micros = Number.POSITIVE_INFINITY;
  /** NAKs and RNR NAKs since the last progress. */
  #naks = 0;
  #nakPsn = -1;
  #rnrNaks = 0;
  /** Samples in a row that were far below all before them. */
  #doubtful = 0;
  #wentBackAt: Micros = 0;
  #wentBackTo = -1;
  #lossAt: Micros = Number.NEGATIVE_INFINITY;

  /** Times that the timer ran out since the last progress. */
  get expiries(): number {
    return this.#doublings;
  }

  /** Packets wait somewhere on the way: losses are likely to come of that, and not of chance. */
  get isQueueing(): boolean {
    return this.smoothed === 0 || this.smoothed > this.least * QUEUEING_FACTOR + QUEUEING_SLACK;
  }

  /** A packet leaves whose answer will measure the round trip. `isPath`: it finds nobody before it on the way. */
  sent(psn: Psn, now: Micros, isPath: boolean): void {
    if (this.#timedPsn !== -1) return;
    this.#timedPsn = psn;
    this.#timedAt = now;
    this.#isPathTimed = isPath;
  }

  /** Something is outstanding from now on. */
  start(now: Micros): void {
    this.#stalledSince = now;
  }

  /** Everything before `una` is acknowledged. Returns how long the path is, where that has been measured by now; else 0. */
  progressed(una: Psn, now: Micros): Micros {
    let path = 0;
    if (this.#timedPsn !== -1 && PsnMath.difference(una, this.#timedPsn as Psn) > 0) {
      const sample = now - this.#timedAt;
      this.measured(sample);
      this.#timedPsn = -1;
      if (this.#isPathTimed) path = sample;
    }
    this.heard(now);
    return path;
  }

  /** What left after this moment cannot have been answered by now. */
  answeredBy(now: Micros): Micros {
    return now - this.least * ANSWER_SHARE;
  }

  /** Something was lost not long ago. */
  isLossy(now: Micros): boolean {
    return now - this.#lossAt < LOSS_REMEMBERED;
  }

  /** Octets are sent again from `una`: what is being timed no longer tells anything (Karn). */
  wentBack(una: Psn, now: Micros): void {
    this.#timedPsn = -1;
    this.#wentBackAt = now;
    this.#wentBackTo = una;
  }

  /** True for a NAK that only repeats what was just acted upon. */
  isRepeated(una: Psn, now: Micros): boolean {
    return this.#wentBackTo === una && now - this.#wentBackAt < this.smoothed * REPEAT_SHARE;
  }

  /** A NAK asked for `psn`. False when the retries are used up: one for a PSN behind the last one's is progress of a kind. */
  mayRetry(qp: Qp, psn: Psn): boolean {
    if (this.#nakPsn === -1 || PsnMath.difference(psn, this.#nakPsn as Psn) > 0) this.#naks = 0;
    this.#nakPsn = psn;
    return ++this.#naks <= qp.retryCount;
  }

  /** Something was lost: the peer says so. It answers within so much at most, if nothing better is known. */
  lost(now: Micros): void {
    this.#lossAt = now;
    if (this.smoothed === 0) this.measured(now - this.#stalledSince);
  }

  /** An RNR NAK came. False when the RNR retries are used up. */
  mayWait(qp: Qp): boolean {
    return qp.rnrRetry === RNR_FOREVER || ++this.#rnrNaks <= qp.rnrRetry;
  }

  /** The timer ran out. False when the time for all retries has passed. Time in which this machine slept is no time that the peer had. */
  expired(qp: Qp, strict: boolean, now: Micros): boolean {
    if (now - this.#due > LATE) this.#stalledSince += now - this.#due;
    if (now >= this.#giveUpAt(qp, strict)) return false;
    this.#doublings++;
    return true;
  }

  /** When the timer is due that starts now; Infinity for never. */
  deadline(qp: Qp, strict: boolean, isRepair: boolean, now: Micros): Micros {
    this.#due = this.#deadline(qp, strict, isRepair, now);
    return this.#due;
  }

  #deadline(qp: Qp, strict: boolean, isRepair: boolean, now: Micros): Micros {
    const timeout = ackTimeout(qp.timeout, strict);
    if (strict) return now + timeout;
    const measured = this.smoothed === 0 ? FIRST_INTERVAL : this.smoothed + 4 * this.#variation;
    const leastAfterLoss = isRepair ? LEAST_REPAIR_INTERVAL : LEAST_INTERVAL;
    const least = this.isLossy(now) ? leastAfterLoss : LEAST_WITHOUT_LOSS;
    const interval = Math.max(measured, least) * (1 << Math.min(this.#doublings, 20));
    const due = now + Math.min(interval, timeout, GREATEST_INTERVAL);
    return Math.min(due, Math.max(this.#giveUpAt(qp, strict), now));
  }

  #giveUpAt(qp: Qp, strict: boolean): Micros {
    return this.#stalledSince + ackTimeout(qp.timeout, strict) * Math.max(qp.retryCount + 1 - this.#naks, 0);
  }

  /** Something came that was not known. */
  heard(now: Micros): void {
    this.#stalledSince = now;
    this.#naks = 0;
    this.#nakPsn = -1;
    this.#rnrNaks = 0;
    // Karn: on a path longer than the first timer nothing would ever be measured, if the timer began anew with each packet.
    if (this.smoothed !== 0) this.#doublings = 0;
  }

  /** A round trip took so long. */
  measured(sample: Micros): void {
    // What seemed to answer a packet answered an earlier copy of it; or the path has changed, and more of them follow.
    const isDoubtful = sample < this.least * DOUBTFUL_SHARE && this.#doubtful < DOUBTFUL_SAMPLES;
    this.#doubtful = isDoubtful ? this.#doubtful + 1 : 0;
    if (isDoubtful) return;
    this.least = this.least === 0 ? sample : Math.min(this.least, sample);
    if (this.smoothed === 0) {
      this.smoothed = sample;
      this.#variation = sample / 2;
      return;
    }
    this.#variation += (Math.abs(this.smoothed - sample) - this.#variation) / 4;
    this.smoothed += (sample - this.smoothed) / 8;
  }
}

const TIMEOUTS: readonly Micros[] = Array.from({ length: 32 }, (_, exponent) => TIMEOUT_UNIT * 2 ** exponent);

/** T. Below a millisecond software cannot tell loss from a busy processor: only strict timers go there. `timeout` 0: never. */
function ackTimeout(timeout: number, strict: boolean): Micros {
  if (timeout === 0) return Number.POSITIVE_INFINITY;
  const exact = TIMEOUTS[timeout & 31]!;
  return strict ? exact : Math.max(exact, LEAST_TIMEOUT);
}
