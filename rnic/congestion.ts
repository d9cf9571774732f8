/** How much an RC sender may have in flight: grows with what is acknowledged, shrinks with loss, delay and congestion notifications. SPEC-CHECKLIST §6. */
import type { Micros } from '../wire/types.ts';

const FIRST_BYTES = 262_144;
/** Receivers in software hold about this much in their socket. */
const MOST_BYTES = 1_048_576;
/** One loss says little on a path that loses at random: the window does not fall below what keeps such a path busy. */
const LEAST_AFTER_LOSS_BYTES = 131_072;
/** After a timeout, or when told to slow down again and again. */
const LEAST_BYTES = 16_384;
const LOSS_FACTOR = 0.7;
const CNP_FACTOR = 0.7;
/** DCQCN's notification interval: cuts come no more often. */
const CUT_INTERVAL: Micros = 50;
/** Octets by which the window grows when a whole window is acknowledged. */
const GROWTH_BYTES = 16_384;

export class CongestionWindow {
  bytes = FIRST_BYTES;
  /** Below this the window doubles with each round trip. */
  #threshold = MOST_BYTES;
  #cutAt: Micros = Number.NEGATIVE_INFINITY;

  admits(inFlightBytes: number): boolean {
    return inFlightBytes < this.bytes;
  }

  /** `bytes` were acknowledged. */
  handleProgress(bytes: number): void {
    if (this.bytes >= MOST_BYTES) return;
    const growth = this.bytes < this.#threshold ? bytes : Math.ceil((GROWTH_BYTES * bytes) / this.bytes);
    this.bytes = Math.min(this.bytes + growth, MOST_BYTES);
  }

  /** A gap: at most one cut a round trip. */
  handleLoss(now: Micros, roundTrip: Micros): void {
    if (now - this.#cutAt < roundTrip) return;
    this.#cut(now, LOSS_FACTOR, LEAST_AFTER_LOSS_BYTES);
  }

  handleTimeout(now: Micros): void {
    this.#cutAt = now;
    this.#threshold = Math.max(this.bytes / 2, LEAST_AFTER_LOSS_BYTES);
    this.bytes = LEAST_BYTES;
  }

  handleCnp(now: Micros): void {
    if (now - this.#cutAt >= CUT_INTERVAL) this.#cut(now, CNP_FACTOR, LEAST_BYTES);
  }

  #cut(now: Micros, factor: number, least: number): void {
    this.#cutAt = now;
    this.bytes = Math.max(Math.floor(this.bytes * factor), Math.min(least, this.bytes));
    this.#threshold = this.bytes;
  }
}
