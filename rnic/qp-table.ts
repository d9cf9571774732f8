/** QPs by number, and which numbers may be given out. A number names its vRNIC, cannot be guessed, and rests after its QP is destroyed (SPEC-CHECKLIST R-155, T-05, T-20). */
import type { Micros } from '../wire/types.ts';
import { Permutation } from './permutation.ts';
import type { QueuePair } from './qp.ts';

/** Longer than any packet lives on the networks this is made for. */
const QUARANTINE_MICROS = 10e6;
const FIRST_ORDINARY = 2;
const MULTICAST = 0xff_ffff;

export class QpTable {
  readonly #byQpn = new Map<number, QueuePair>();
  /** QPN → when its rest ends; in order of time, since each rests equally long. */
  readonly #resting = new Map<number, Micros>();
  readonly #numbers: Permutation;
  readonly #base: number;
  readonly #count: number;
  #last: QueuePair | undefined;

  constructor(base: number, count: number, random32: () => number) {
    this.#base = Math.max(base, FIRST_ORDINARY);
    this.#count = Math.min(base + count, MULTICAST) - this.#base;
    if (this.#count < 1) throw new RangeError('a vRNIC needs a range of QPNs');
    this.#numbers = new Permutation(this.#count, random32);
  }

  get size(): number {
    return this.#byQpn.size;
  }

  /** QPs that it can number at once. */
  get capacity(): number {
    return this.#count;
  }

  find(qpn: number): QueuePair | undefined {
    if (this.#last?.qpn === qpn) return this.#last;
    const qp = this.#byQpn.get(qpn);
    if (qp !== undefined) this.#last = qp;
    return qp;
  }

  isResting(qpn: number): boolean {
    return this.#resting.has(qpn);
  }

  /** A number to give out; -1 when all are in use or resting. */
  draw(now: Micros): number {
    for (const [qpn, until] of this.#resting) {
      if (until > now) break;
      this.#resting.delete(qpn);
    }
    if (this.#byQpn.size + this.#resting.size >= this.#count) return -1;
    let qpn: number;
    do qpn = this.#base + this.#numbers.draw();
    while (this.#byQpn.has(qpn) || this.#resting.has(qpn));
    return qpn;
  }

  add(qp: QueuePair): void {
    this.#byQpn.set(qp.qpn, qp);
  }

  remove(qp: QueuePair, now: Micros): void {
    this.#byQpn.delete(qp.qpn);
    this.#resting.set(qp.qpn, now + QUARANTINE_MICROS);
    if (this.#last === qp) this.#last = undefined;
  }

  values(): IterableIterator<QueuePair> {
    return this.#byQpn.values();
  }
}
