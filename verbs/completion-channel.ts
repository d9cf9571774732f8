/** A completion channel: tells which CQ completed something while it was armed. `ibv_create_comp_channel(3)`, `ibv_get_cq_event(3)`. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Errno } from '../rnic/commands.ts';
import type { Driver } from '../workers/device-link.ts';
import type { Cq } from './completion-queue.ts';
import type { Context } from './context.ts';
import { granted, VerbsError } from './errors.ts';

/** So long the event loop of a polled device's thread waits at most for its turn. */
const SLEEP_MICROS = 5000;

export class CompChannel {
  readonly context: Context;
  readonly handle: number;
  readonly #events: Cq[] = [];
  readonly #waiters: { resolve(cq: Cq): void; reject(error: Error): void }[] = [];
  #ended: VerbsError | null = null;

  constructor(context: Context, handle: number) {
    this.context = context;
    this.handle = handle;
  }

  /** The next CQ that raised an event. Waits as long as it takes; rejects when the channel or its device ends. */
  getCqEvent(): Promise<Cq> {
    const cq = this.#events.shift();
    if (cq) return Promise.resolve(cq);
    if (this.#ended) return Promise.reject(this.#ended);
    const { driver } = this.context.link;
    if (driver !== undefined) return this.#drive(driver);
    return this.#nextEvent();
  }

  /** A polled device moves while somebody waits, and its thread sleeps when there is nothing to move. */
  async #drive(driver: Driver): Promise<Cq> {
    const event = this.#nextEvent();
    const waiter = this.#waiters.at(-1)!;
    while (this.#waiters.includes(waiter)) {
      if (!driver.progress() && !driver.sleep(SLEEP_MICROS)) await nextTurn();
    }
    return event;
  }

  #nextEvent(): Promise<Cq> {
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  async destroy(): Promise<void> {
    if (this.#ended) return;
    granted('destroyCompChannel', await this.context.link.call({ op: 'destroyCompChannel', channel: this.handle }));
    this.context.forgetChannel(this);
    this.end(new VerbsError('getCqEvent', Errno.ECONNRESET, 'the channel was destroyed'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }

  /** For the context: an event came. */
  handleEvent(cq: Cq): void {
    const waiter = this.#waiters.shift();
    if (waiter) waiter.resolve(cq);
    else this.#events.push(cq);
  }

  /** For the context: no event will come any more. */
  end(error: VerbsError): void {
    this.#ended = error;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }
}
