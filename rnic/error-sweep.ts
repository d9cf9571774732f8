/**
 * QPs in ERR: a receive WQE that is posted there rings no doorbell, so what such QPs were given is flushed from time to time (SPEC-CHECKLIST ).
 * While nothing comes the sweeps grow rarer.
 */
import type { Micros } from '../wire/types.ts';
import { QpState } from './constants.ts';
import type { QueuePair } from './qp.ts';
import type { Timer, Timers } from './timers.ts';

const INTERVAL: Micros = 5000;
const INTERVAL_MAX: Micros = 80_000;

export class ErrorSweep implements Timer {
  deadline: Micros = Number.POSITIVE_INFINITY;
  slot = -1;
  readonly #timers: Timers;
  /** Those with a receive queue of their own: a send queue has its doorbell, an SRQ's WQEs stay. */
  readonly #qps = new Set<QueuePair>();
  #interval: Micros = INTERVAL;
  #now: Micros = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  add(qp: QueuePair): void {
    if (qp.rq === null) return;
    this.#qps.add(qp);
    this.#interval = INTERVAL;
    this.#timers.arm(this, this.#now + INTERVAL);
  }

  remove(qp: QueuePair): void {
    this.#qps.delete(qp);
  }

  handleTimeout(now: Micros): void {
    this.#now = now;
    let found = false;
    for (const qp of this.#qps) {
      if (qp.state !== QpState.ERR) this.#qps.delete(qp);
      else if (qp.rq!.count() !== 0) {
        qp.responder.flush();
        found = true;
      }
    }
    this.#interval = found ? INTERVAL : Math.min(2 * this.#interval, INTERVAL_MAX);
    if (this.#qps.size !== 0) this.#timers.arm(this, now + this.#interval);
  }
}
