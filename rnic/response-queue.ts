/**
 * READ, atomic, ATOMIC_WRITE and FLUSH requests that an RC responder accepted, kept as long as they may be asked for again: a ring of
 * max_dest_rd_atomic places, made when the first one comes. And the answers that are due, in the order in which they were asked for: a request's own, and
 * those to duplicates, which may ask for parts of a READ.
 */
import * as PsnMath from '../wire/psn.ts';
import type { Psn } from '../wire/types.ts';
import type { Region } from './core.ts';

export const ResponseKind = { NONE: 0, READ: 1, ATOMIC: 2, EMPTY: 3 } as const;

/** One request that has a response of its own. */
export class Response {
  kind: number = ResponseKind.NONE;
  /** PSN of the request, and how many PSNs its responses take. */
  psn = 0 as Psn;
  packets = 0;
  msn = 0;
  /** Last PSN of requests before it that asked for an acknowledgement: answered first; −1 when none did. */
  ackBefore = -1;
  /** True until it has been answered once: only then may its place be given away. */
  isUnanswered = false;
  hi = 0;
  lo = 0;
  rKey = 0;
  length = 0;
  region: Region | null = null;
  offset = 0;
  /** Atomic: the original value. */
  originalHi = 0;
  originalLo = 0;
}

/** An answer that is due: packets [from, end) of a response. */
export class Answer {
  response: Response;
  /** The response's, when it was asked for: its place may be given to another request meanwhile. */
  psn = 0 as Psn;
  from = 0;
  end = 0;
  /** The packet to be sent now, and how many leave with it as one (span.ts). */
  next = 0;
  span = 1;

  constructor(response: Response) {
    this.response = response;
  }
}

/** Answers to duplicates that may wait, for each place of the ring. */
const REPEATS = 3;

/** How many more than max_dest_rd_atomic: rxe requesters round the depth they were told up to a power of two. */
function placesFor(maxDestRdAtomic: number): number {
  let places = 1;
  while (places < maxDestRdAtomic) places *= 2;
  return places;
}

export class ResponseQueue {
  readonly #ring: Response[] = [];
  readonly #places: number;
  /** Place that the next request takes. */
  #tail = 0;
  /** Answers that are due, and used ones behind them. */
  readonly #answers: Answer[] = [];
  #head = 0;
  #due = 0;

  constructor(maxDestRdAtomic: number) {
    this.#places = placesFor(maxDestRdAtomic);
  }

  get hasPending(): boolean {
    return this.#due > 0;
  }

  /** True when one more request can be taken: the place it would get was answered. A repetition of what stood there is given up. */
  hasRoom(): boolean {
    return !this.#ring[this.#tail]?.isUnanswered;
  }

  /** The place for a new request, whose answer is due from now on. */
  add(kind: number, psn: Psn, packets: number): Response {
    if (this.#ring.length === this.#tail) this.#ring.push(new Response());
    const response = this.#ring[this.#tail]!;
    this.#tail = (this.#tail + 1) % this.#places;
    response.kind = kind;
    response.psn = psn;
    response.packets = packets;
    response.ackBefore = -1;
    response.isUnanswered = true;
    this.#push(response, 0, packets);
    return response;
  }

  /** The answer that is due now. */
  first(): Answer | null {
    while (this.#due > 0) {
      const answer = this.#answers[this.#head]!;
      if (answer.psn === answer.response.psn) return answer;
      this.#drop();
    }
    return null;
  }

  /** The next packet of the first answer has left. */
  sent(answer: Answer): void {
    answer.next += answer.span;
    if (answer.next < answer.end) return;
    answer.response.isUnanswered = false;
    this.#drop();
  }

  /** The first answer is given up: nothing more of it can be sent. */
  giveUp(): void {
    this.#drop();
  }

  /** The request whose PSNs hold `psn`; null when it is no longer kept. */
  find(psn: Psn): Response | null {
    for (const response of this.#ring) {
      const index = PsnMath.difference(psn, response.psn);
      if (response.kind !== ResponseKind.NONE && index >= 0 && index < response.packets) return response;
    }
    return null;
  }

  /** A duplicate asks for packets [from, end). False when too many answers wait; true also when those packets are still to be sent anyway. */
  repeat(response: Response, from: number, end: number): boolean {
    for (let i = 0; i < this.#due; i++) {
      const answer = this.#at(i);
      if (answer.psn === response.psn && answer.next <= from && answer.end >= end) return true;
    }
    if (this.#due >= this.#places * (1 + REPEATS)) return false;
    this.#push(response, from, end);
    return true;
  }

  #at(index: number): Answer {
    return this.#answers[(this.#head + index) % this.#answers.length]!;
  }

  #push(response: Response, from: number, end: number): void {
    if (this.#due === this.#answers.length) this.#grow(response);
    const answer = this.#at(this.#due++);
    answer.response = response;
    answer.psn = response.psn;
    answer.from = from;
    answer.next = from;
    answer.span = 1;
    answer.end = end;
  }

  #drop(): void {
    this.#head = (this.#head + 1) % this.#answers.length;
    this.#due--;
  }

  /** Room for one more, between the last answer that is due and the first. */
  #grow(response: Response): void {
    this.#answers.splice(this.#head, 0, new Answer(response));
    if (this.#due > 0) this.#head++;
  }
}
