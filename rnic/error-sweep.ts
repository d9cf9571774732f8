/** QPs in ERR: a receive WQE that is posted there rings no doorbell, so what such QPs were given is flushed from time to time (SPEC-CHECKLIST ). */
import type { Micros } from '../wire/types.ts';
import { QpState, WcStatus } from './constants.ts';
import type { QueuePair } from './qp.ts';
import type { Timer, Timers } from './timers.ts';

const INTERVAL: Micros = 5000;

export class ErrorSweep implements Timer {
  deadline: Micros = Number.POSITIVE_INFINITY;
  slot = -1;
  readonly #timers: Timers;
  readonly #qps = new Set<QueuePair>();
  #now: Micros = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  add(qp: QueuePair): void {
    this.#qps.add(qp);
    if (this.deadline === Number.POSITIVE_INFINITY) this.#timers.arm(this, this.#now + INTERVAL);
  }

  remove(qp: QueuePair): void {
    this.#qps.delete(qp);
  }

  handleTimeout(now: Micros): void {
    this.#now = now;
    for (const qp of this.#qps) {
      if (qp.state !== QpState.ERR) this.#qps.delete(qp);
      else {
        qp.sender.flush(WcStatus.SUCCESS);
        qp.responder.flush();
      }
    }
    if (this.#qps.size !== 0) this.#timers.arm(this, now + INTERVAL);
  }
}
