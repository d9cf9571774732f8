/** Work requests on a UC or UD QP: each completes when it is handed over, and a wrong one stops the send queue until the application lets it go on. */
import { QpAttr, QpState, SendFlag, WcStatus } from '../../../rnic/constants.ts';
import { Broken } from './broken.ts';
import type { SimHost, SimQp } from './host.ts';
import { readCompletion, type SendRequest } from './work.ts';

interface Posted {
  readonly wrId: number;
  readonly signaled: boolean;
  readonly opcode: number;
  readonly status: number;
}

export class OneWayPosts {
  readonly #host: SimHost;
  readonly #qp: SimQp;
  readonly #sqSigAll: boolean;
  #posted: Posted[] = [];
  #next = 0;
  completed = 0;
  errors = 0;
  /** False behind a wrong work request, and until the QP is in RTS again: all that is posted is flushed. */
  isSending = true;

  constructor(host: SimHost, qp: SimQp, sqSigAll: boolean) {
    this.#host = host;
    this.#qp = qp;
    this.#sqSigAll = sqSigAll;
  }

  get count(): number {
    return this.#next;
  }

  get isIdle(): boolean {
    return this.#posted.length === 0;
  }

  /** False when the send queue is full. @param status how it ends when it is sent; its turn may not come. */
  post(request: Omit<SendRequest, 'wrId'>, opcode: number, status: number = WcStatus.SUCCESS): boolean {
    const wrId = this.#next;
    if (!this.#host.postSend(this.#qp, { ...request, wrId })) return false;
    const ends = this.isSending ? status : WcStatus.WR_FLUSH_ERR;
    const signaled = this.#sqSigAll || (request.flags & SendFlag.SIGNALED) !== 0 || ends !== WcStatus.SUCCESS;
    this.#posted.push({ wrId, signaled, opcode, status: ends });
    this.#next++;
    if (ends !== WcStatus.SUCCESS) this.isSending = false;
    return true;
  }

  /** All that was posted has been handed over since: nothing waits for an answer. */
  poll(): void {
    const due = this.#posted.filter(({ signaled }) => signaled);
    this.#posted = [];
    for (const { wrId, opcode, status } of due) {
      const got = readCompletion(this.#qp.sendCq);
      const isRight = got?.wrId === wrId && got.status === status;
      if (!isRight || (status === WcStatus.SUCCESS && got.opcode !== opcode))
        throw new Broken(`${JSON.stringify(got)} where ${wrId} had to end with status ${status}`);
      this.completed++;
      if (status !== WcStatus.SUCCESS) this.errors++;
    }
    if (readCompletion(this.#qp.sendCq) !== undefined) throw new Broken('one completion too many');
  }

  /** From SQE back to RTS. */
  resume(): void {
    if (this.isSending) return;
    this.#host.modify(this.#qp, QpAttr.STATE, { qpState: QpState.RTS });
    this.isSending = true;
  }
}
