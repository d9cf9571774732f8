/** A shared receive queue. `ibv_create_srq(3)`, `ibv_post_srq_recv(3)`. */
import type { Answers, SrqAttributes } from '../rnic/commands.ts';
import * as Layout from '../rnic/queue/layout.ts';
import { Ring } from '../rnic/queue/ring.ts';
import type { Context } from './context.ts';
import { granted } from './errors.ts';
import { postAll } from './posting.ts';
import { type RecvWr, writeRecv } from './work-requests.ts';

export class Srq {
  readonly context: Context;
  readonly handle: number;
  readonly srqNum: number;
  readonly maxSge: number;
  #ring: Ring;
  #isOpen = true;

  constructor(context: Context, answer: Answers['createSrq']) {
    this.context = context;
    this.handle = answer.srq;
    this.srqNum = answer.srqNum;
    this.maxSge = answer.maxSge;
    this.#ring = new Ring(answer.queue, answer.maxWr + 1, Layout.recvElementBytes(answer.maxSge));
  }

  /** @throws VerbsError ENOMEM when it is full, EINVAL; `badWr` says which of a list. */
  postRecv(wr: RecvWr | readonly RecvWr[]): void {
    const { view } = this.#ring;
    postAll('postSrqRecv', this.#ring, wr, (one, at) => writeRecv(view, at, one, this.maxSge));
  }

  /** maxWr resizes it, srqLimit arms SRQ_LIMIT_REACHED. */
  async modify(attributes: SrqAttributes): Promise<void> {
    const answer = granted(
      'modifySrq',
      await this.context.link.call({ op: 'modifySrq', srq: this.handle, attributes }),
    );
    if (!answer.queue) return;
    const { maxWr } = await this.query();
    this.#ring = new Ring(answer.queue, maxWr + 1, Layout.recvElementBytes(this.maxSge));
  }

  async query(): Promise<Required<SrqAttributes>> {
    const { maxWr, maxSge, srqLimit } = granted(
      'querySrq',
      await this.context.link.call({ op: 'querySrq', srq: this.handle }),
    );
    return { maxWr, maxSge, srqLimit };
  }

  async destroy(): Promise<void> {
    if (!this.#isOpen) return;
    granted('destroySrq', await this.context.link.call({ op: 'destroySrq', srq: this.handle }));
    this.#isOpen = false;
    this.context.forgetSrq(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }
}
