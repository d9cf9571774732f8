/** A completion queue: polled in shared memory, armed in shared memory. `ibv_create_cq(3)`, `ibv_poll_cq(3)`, `ibv_req_notify_cq(3)`. */
import * as Layout from '../rnic/queue/layout.ts';
import type { QueueMemory } from '../rnic/queue/ring.ts';
import { Ring } from '../rnic/queue/ring.ts';
import type { CompChannel } from './completion-channel.ts';
import type { Context } from './context.ts';
import { granted } from './errors.ts';
import { WorkCompletion } from './work-completion.ts';

export class Cq {
  readonly context: Context;
  readonly handle: number;
  readonly channel: CompChannel | null;
  /** Completions that it holds. */
  cqe: number;
  #ring: Ring;
  /** QPs that were reset or destroyed: what they left here is passed over (SPEC-CHECKLIST R-154). */
  readonly #purged = new Map<number, number>();
  #isOpen = true;

  constructor(context: Context, handle: number, channel: CompChannel | null, cqe: number, queue: QueueMemory) {
    this.context = context;
    this.handle = handle;
    this.channel = channel;
    this.cqe = cqe;
    this.#ring = new Ring(queue, cqe + 1, Layout.Cqe.ELEMENT_BYTES);
  }

  /** Takes up to `max` completions. No system call, never waits. */
  pollCq(max = 16): WorkCompletion[] {
    const found: WorkCompletion[] = [];
    while (found.length < max) {
      const completion = new WorkCompletion();
      if (!this.pollOne(completion)) break;
      found.push(completion);
    }
    return found;
  }

  /** As `pollCq`, into objects that the caller keeps: nothing is allocated. Returns how many were filled. */
  pollInto(into: readonly WorkCompletion[]): number {
    for (let count = 0; count < into.length; count++) if (!this.pollOne(into[count]!)) return count;
    return into.length;
  }

  /** Takes one completion; false when there is none. @throws VerbsError EIO when there is none and the device has ended by itself: there will be none. */
  pollOne(into: WorkCompletion): boolean {
    if (this.#take(into)) return true;
    const { failure, link } = this.context;
    if (failure !== null) throw failure;
    const { driver } = link;
    return driver?.progress() === true && this.#take(into);
  }

  #take(into: WorkCompletion): boolean {
    if (this.#ring.looksEmpty()) return false;
    for (;;) {
      const index = this.#ring.consumer();
      if (index === this.#ring.producer()) return false;
      into.load(this.#ring.view, this.#ring.slotAt(index));
      this.#ring.publishConsumer(this.#ring.next(index));
      if (this.#purged.size === 0 || !this.#isPurged(into.qpNum)) return true;
    }
  }

  /** Asks for one event on the CQ's channel at the next completion (or the next solicited one, or error). Poll once more after it. */
  reqNotify(solicitedOnly = false): void {
    this.#ring.arm(solicitedOnly ? Layout.Arm.SOLICITED : Layout.Arm.NEXT);
  }

  /** Waits for at least one completion and takes up to `max`. Needs a CQ with a channel that nobody else reads. */
  async next(max = 16): Promise<WorkCompletion[]> {
    if (!this.channel) throw new Error('a completion queue without a channel cannot be waited for: poll it');
    for (;;) {
      const found = this.pollCq(max);
      if (found.length > 0) return found;
      this.reqNotify();
      const raced = this.pollCq(max);
      if (raced.length > 0) return raced;
      await this.channel.getCqEvent();
    }
  }

  /** @throws VerbsError EINVAL when more completions wait than fit. Only while no other thread polls it. */
  async resize(cqe: number): Promise<void> {
    const answer = granted('resizeCq', await this.context.link.call({ op: 'resizeCq', cq: this.handle, cqe }));
    this.#ring = new Ring(answer.queue, answer.cqe + 1, Layout.Cqe.ELEMENT_BYTES);
    this.cqe = answer.cqe;
  }

  /** @throws VerbsError EBUSY while QPs complete to it. */
  async destroy(): Promise<void> {
    if (!this.#isOpen) return;
    granted('destroyCq', await this.context.link.call({ op: 'destroyCq', cq: this.handle }));
    this.#isOpen = false;
    this.context.forgetCq(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }

  /** For QPs: completions of this QP that are in the queue now are nobody's. */
  purge(qpNum: number): void {
    const { producer, consumer } = { producer: this.#ring.producer(), consumer: this.#ring.consumer() };
    const waiting = (producer - consumer) & this.#ring.mask;
    let count = 0;
    for (let i = 0; i < waiting; i++) {
      const at = this.#ring.slotAt(consumer + i);
      if (this.#ring.view.getUint32(at + Layout.Cqe.QP_NUM, true) === qpNum) count++;
    }
    if (count > 0) this.#purged.set(qpNum, (this.#purged.get(qpNum) ?? 0) + count);
  }

  #isPurged(qpNum: number): boolean {
    const left = this.#purged.get(qpNum);
    if (left === undefined) return false;
    if (left === 1) this.#purged.delete(qpNum);
    else this.#purged.set(qpNum, left - 1);
    return true;
  }
}
