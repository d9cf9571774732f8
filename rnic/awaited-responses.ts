/**
 * Requests of an RC sender that only a response of their own completes (READ, atomics, ATOMIC_WRITE, FLUSH), from the first packet that leaves until the last
 * response has come; and which of those responses came early, before one that is missing. SPEC-CHECKLIST §6, R-042 ….
 *
 * A responder answers in the order in which it was asked. So what was asked before another request, and is still missing when that one is answered, is lost; and
 * so is what is missing when the last response of a request has come. It is asked for again, from the first to the last packet that is missing. There is one
 * question for each request at a time, and each begins no earlier than the one before: rxe answers no other.
 */
import * as PsnMath from '../wire/psn.ts';
import type { Micros, Psn } from '../wire/types.ts';
import type { SendWork } from './send-work.ts';

/** Responses may be this far ahead of the oldest that is missing. A power of two. */
export const EARLY_PACKETS = 8192;
const FIRST_PLACES = 4;

/** One request. A long READ is several. */
export class Awaited {
  work: SendWork | null = null;
  /** First PSN, and the one behind the last. */
  psn = 0 as Psn;
  end = 0 as Psn;
  /** What was asked for last: PSNs [from, to). */
  from = 0 as Psn;
  to = 0 as Psn;
  /** Responses that have not come. */
  missing = 0;
  /** Its place in the order of questions; among those of one round PSNs decide. */
  round = 0;
  /** Times it was asked. */
  tries = 0;
  askedAt: Micros = 0;
  /** It is to be asked again. */
  isDue = false;
}

export class AwaitedResponses {
  /** Requests that wait. */
  count = 0;
  /** Those of them that are to be asked again. */
  dueCount = 0;
  /** Responses that came early. */
  early = 0;
  #ring: Awaited[] = [];
  #head = 0;
  #round = 0;
  /** The latest question of which an answer was seen. */
  #seenRound = -1;
  #seenPsn = 0 as Psn;
  /** One bit for each PSN, modulo its length. */
  #bits: Int32Array | null = null;

  at(index: number): Awaited {
    return this.#ring[(this.#head + index) & (this.#ring.length - 1)]!;
  }

  oldest(): Awaited | null {
    return this.count === 0 ? null : this.at(0);
  }

  /** The request whose responses hold `psn`; null when there is none. */
  find(psn: Psn): Awaited | null {
    for (let i = 0; i < this.count; i++) {
      const awaited = this.at(i);
      if (PsnMath.difference(psn, awaited.psn) < 0) return null;
      if (PsnMath.difference(psn, awaited.end) < 0) return awaited;
    }
    return null;
  }

  /** A request with `packets` responses leaves for the first time. */
  add(work: SendWork, psn: Psn, packets: number, now: Micros): void {
    if (this.count === this.#ring.length) this.#grow();
    const awaited = this.at(this.count++);
    awaited.work = work;
    awaited.psn = psn;
    awaited.end = PsnMath.add(psn, packets);
    awaited.missing = packets;
    awaited.tries = 0;
    awaited.isDue = false;
    this.#asked(awaited, psn, awaited.end, now);
  }

  /** It was asked again, for PSNs [from, to). */
  askedAgain(awaited: Awaited, from: Psn, to: Psn, now: Micros): void {
    this.#round++;
    this.#asked(awaited, from, to, now);
  }

  #asked(awaited: Awaited, from: Psn, to: Psn, now: Micros): void {
    awaited.from = from;
    awaited.to = to;
    awaited.round = this.#round;
    awaited.askedAt = now;
    awaited.tries++;
    this.#settle(awaited);
  }

  /** The peer keeps the requests behind this one, and answers them after it: they count as asked with it. */
  keepBehind(awaited: Awaited): void {
    for (let i = this.count - 1; i >= 0 && this.at(i) !== awaited; i--) this.at(i).round = awaited.round;
  }

  /** The oldest that is to be asked again. */
  due(): Awaited | null {
    for (let i = 0; this.dueCount > 0 && i < this.count; i++) if (this.at(i).isDue) return this.at(i);
    return null;
  }

  /** It is to be asked again, unless it was asked after `since`. False when it is not, or when that was known. */
  lose(awaited: Awaited, since: Micros): boolean {
    if (awaited.isDue || awaited.missing === 0 || awaited.askedAt > since) return false;
    awaited.isDue = true;
    this.dueCount++;
    return true;
  }

  /** An acknowledgement names a PSN behind them: their answers are lost, unless they were asked again meanwhile. Is any? */
  loseBefore(psn: Psn, since: Micros): boolean {
    let any = false;
    for (let i = 0; i < this.count; i++) {
      const awaited = this.at(i);
      if (PsnMath.difference(awaited.end, psn) > 0) break;
      if (awaited.tries === 1 && this.lose(awaited, since)) any = true;
    }
    return any;
  }

  /** Nothing has come for long: all that the peer must have, up to `executed`, is asked again if it was last asked before `since`. Is any? */
  loseOlder(executed: Psn, since: Micros): boolean {
    let any = false;
    for (let i = 0; i < this.count; i++) {
      const awaited = this.at(i);
      if (PsnMath.difference(awaited.psn, executed) > 0) break;
      if (this.lose(awaited, since)) any = true;
    }
    return any;
  }

  /** True when the response at `psn` is wanted, and may be kept while the one at `una` is missing. */
  wants(psn: Psn, una: Psn): boolean {
    return ((psn - una) & PsnMath.MASK) < EARLY_PACKETS && !this.has(psn);
  }

  has(psn: Psn): boolean {
    return this.#bits !== null && (this.#bits[(psn & (EARLY_PACKETS - 1)) >> 5]! & (1 << (psn & 31))) !== 0;
  }

  /**
   * The response at `psn` was placed. True when it shows that others are lost: they are due now. What was asked after `since` cannot have been answered yet: what
   * comes is late, and an answer to an earlier question.
   * @param span responses from `psn` on that came as one (span.ts).
   */
  took(awaited: Awaited, psn: Psn, since: Micros, span = 1): boolean {
    this.#bits ??= new Int32Array(EARLY_PACKETS / 32);
    for (let i = 0; i < span; i++) this.#note(awaited, PsnMath.add(psn, i));
    const isEnd = PsnMath.add(psn, span) === awaited.to && this.lose(awaited, since);
    if (awaited.missing === 0) this.#settle(awaited);
    return this.#losePassed(awaited, since) || isEnd;
  }

  #note(awaited: Awaited, psn: Psn): void {
    if (this.has(psn)) return;
    this.#bits![(psn & (EARLY_PACKETS - 1)) >> 5]! |= 1 << (psn & 31);
    this.early++;
    awaited.missing--;
  }

  /** What was asked before this one should have been answered before it. */
  #losePassed(answered: Awaited, since: Micros): boolean {
    const { round, psn } = answered;
    const isLater =
      round > this.#seenRound || (round === this.#seenRound && PsnMath.difference(psn, this.#seenPsn) > 0);
    if (!isLater) return false;
    this.#seenRound = round;
    this.#seenPsn = psn;
    let any = false;
    for (let i = 0; i < this.count; i++) {
      const other = this.at(i);
      if (other.round > round || (other.round === round && PsnMath.difference(other.psn, psn) >= 0)) continue;
      if (this.lose(other, since)) any = true;
    }
    return any;
  }

  /** Moves `una` on over the response at it, if that has come. */
  passes(una: Psn): boolean {
    if (!this.has(una)) return false;
    this.#bits![(una & (EARLY_PACKETS - 1)) >> 5]! &= ~(1 << (una & 31));
    this.early--;
    const oldest = this.at(0);
    if (PsnMath.next(una) === oldest.end) {
      oldest.work = null;
      this.#head = (this.#head + 1) & (this.#ring.length - 1);
      this.count--;
    }
    return true;
  }

  /** First PSN of a request that is missing; nothing before `una` is. */
  firstMissing(awaited: Awaited, una: Psn): Psn {
    let psn = PsnMath.difference(una, awaited.psn) > 0 ? una : awaited.psn;
    while (this.has(psn)) psn = PsnMath.next(psn);
    return psn;
  }

  /** The PSN behind the last one that is missing. */
  missingEnd(awaited: Awaited): Psn {
    let psn = awaited.end;
    while (this.has(PsnMath.add(psn, -1))) psn = PsnMath.add(psn, -1);
    return psn;
  }

  #settle(awaited: Awaited): void {
    if (awaited.isDue) this.dueCount--;
    awaited.isDue = false;
  }

  #grow(): void {
    const ring: Awaited[] = [];
    for (let i = 0; i < this.count; i++) ring.push(this.at(i));
    const length = Math.max(FIRST_PLACES, this.count * 2);
    while (ring.length < length) ring.push(new Awaited());
    this.#ring = ring;
    this.#head = 0;
  }
}
