/** The applications of one vRNIC: who rang, who sleeps, and where their queues lie. */
import type { Micros } from '../wire/types.ts';
import type { Application } from './application.ts';
import type { LinkEvent } from './device-link.ts';
import { type QueueAllocator, QueueSlabs } from './queue-slabs.ts';
import type { Sleeper } from './sleeper.ts';

export class Applications {
  /** The vRNIC's bit of the worker's bell; -1: none, its doorbells have to be looked at. */
  summons = -1;
  /** Some have doorbells that have to be looked at. */
  #hasPages = false;
  readonly #byContext = new Map<number, Application>();
  /** The same in a row, for the loop. */
  #row: Application[] = [];
  #wakeFds: number[] = [];
  readonly #slabs = new QueueSlabs();

  get hasPages(): boolean {
    return this.#hasPages;
  }

  get all(): readonly Application[] {
    return this.#row;
  }

  add(application: Application): void {
    this.#byContext.set(application.context, application);
    this.#line();
  }

  /** False: it was not there. */
  remove({ context }: Application): boolean {
    if (!this.#byContext.delete(context)) return false;
    this.#line();
    return true;
  }

  /** Once the engine has let go of its queues. */
  freeQueues({ context }: Application): void {
    this.#slabs.close(context);
  }

  #line(): void {
    this.#row = [...this.#byContext.values()];
    this.#hasPages = this.#row.some(({ program }) => program !== null || this.summons < 0);
    this.#wakeFds = this.#row.flatMap(({ program }) => (program ? [program.wakeFd] : []));
  }

  isRung(): boolean {
    const row = this.#row;
    for (let i = 0; i < row.length; i++) if (row[i]!.doorbell.isRung()) return true;
    return false;
  }

  /** Told before and after the worker sleeps. False: one has rung. */
  setSleeping(asleep: boolean): boolean {
    for (const { doorbell } of this.#row) doorbell.setSleeping(asleep);
    return !this.#row.some(({ doorbell }) => doorbell.pending());
  }

  /** Adds what programs of other processes wake the worker by. */
  watch(sleeper: Sleeper): void {
    for (const fd of this.#wakeFds) sleeper.add(fd, false);
  }

  /** The worker is awake again. */
  drainWakeFds(): void {
    for (const { program } of this.#row) program?.drain();
  }

  /** A neighbour table has changed. */
  retry(now: Micros): void {
    for (const application of this.#row) if (application.isWaiting) application.retry(now);
  }

  notify(context: number, event: LinkEvent): void {
    this.#byContext.get(context)?.notify(event);
  }

  /** A program's queues lie in its own file, all others in slabs. */
  queuesOf(context: number): QueueAllocator {
    return this.#byContext.get(context)?.program?.queues ?? this.#slabs.of(context);
  }
}
