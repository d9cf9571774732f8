/** A shared receive queue, engine side. IBA Vol. 1, §10.2.9; SPEC-CHECKLIST R-162 … R-164. */
import { AsyncEvent } from './constants.ts';
import type { Pd, Srq } from './core.ts';
import type { Events } from './events.ts';
import type { Ring } from './queue/ring.ts';

export class SharedReceiveQueue implements Srq {
  readonly handle: number;
  readonly pd: Pd;
  readonly cookie: bigint;
  readonly maxSge: number;
  ring: Ring;
  /** 0 = not armed. */
  limit = 0;
  users = 0;
  asyncEvents = 0;
  readonly #events: Events;

  constructor(handle: number, pd: Pd, cookie: bigint, maxSge: number, ring: Ring, events: Events) {
    this.handle = handle;
    this.pd = pd;
    this.cookie = cookie;
    this.maxSge = maxSge;
    this.ring = ring;
    this.#events = events;
  }

  taken(): void {
    if (this.limit === 0 || this.ring.count() >= this.limit) return;
    this.limit = 0;
    if (this.#events.async(this.pd.context, AsyncEvent.SRQ_LIMIT_REACHED, this.handle, this.cookie)) this.asyncEvents++;
  }
}
