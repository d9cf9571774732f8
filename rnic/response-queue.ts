/**
 * READ, atomic, ATOMIC_WRITE and FLUSH requests that an RC responder accepted: first what still has to be answered, in the order of the requests, then
 * what may be asked for again. A ring of max_dest_rd_atomic places, made when the first one comes.
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
  /** True while packets of it are to be sent. */
  isPending = false;
  /** True until it has been answered once: only then may its place be given away. */
  isUnanswered = false;
  /** READ: what is to be sent, in packets from `psn`: [next, end); `from` is where this answer starts. */
  next = 0;
  end = 0;
  from = 0;
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
  #pending = 0;

  constructor(maxDestRdAtomic: number) {
    this.#places = placesFor(maxDestRdAtomic);
  }

  get hasPending(): boolean {
    return this.#pending > 0;
  }

  /** True when one more request can be taken: the place it would get was answered. A repetition of what stood there is given up. */
  hasRoom(): boolean {
    return !this.#ring[this.#tail]?.isUnanswered;
  }

  /** The place for a new request, which is pending from now on. */
  add(kind: number, psn: Psn, packets: number): Response {
    if (this.#ring.length === this.#tail) this.#ring.push(new Response());
    const response = this.#ring[this.#tail]!;
    this.#tail = (this.#tail + 1) % this.#places;
    if (!response.isPending) this.#pending++;
    response.kind = kind;
    response.psn = psn;
    response.packets = packets;
    response.ackBefore = -1;
    response.isPending = true;
    response.isUnanswered = true;
    response.next = 0;
    response.from = 0;
    response.end = packets;
    return response;
  }

  /** The oldest that is to be answered. */
  first(): Response | null {
    if (this.#pending === 0) return null;
    const { length } = this.#ring;
    for (let i = 0; i < length; i++) {
      const response = this.#ring[(this.#tail + i) % length]!;
      if (response.isPending) return response;
    }
    return null;
  }

  /** It was answered in full. */
  done(response: Response): void {
    response.isPending = false;
    response.isUnanswered = false;
    this.#pending--;
  }

  /** The request whose PSNs hold `psn`; null when it is no longer kept. */
  find(psn: Psn): Response | null {
    for (const response of this.#ring) {
      const index = PsnMath.difference(psn, response.psn);
      if (response.kind !== ResponseKind.NONE && index >= 0 && index < response.packets) return response;
    }
    return null;
  }

  /** A duplicate asks again for packets [from, end). */
  repeat(response: Response, from: number, end: number): void {
    response.from = from;
    response.next = from;
    response.end = end;
    if (response.isPending) return;
    response.isPending = true;
    this.#pending++;
  }
}
