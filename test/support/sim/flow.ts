/** Work requests from one RC QP to its peer until they are complete, and the messages that they bring: each completion once, in order, not before its data. */
import { AsyncEvent, SendFlag, WcFlag, WcOpcode, WcStatus } from '../../../rnic/constants.ts';
import * as Area from './area.ts';
import { Broken } from './broken.ts';
import type { SimHost, SimQp } from './host.ts';
import { Image, type Mutation } from './image.ts';
import type { KeyUser, SharedKey } from './keys.ts';
import type { Random } from './random.ts';
import type { Receives } from './receives.ts';
import { type Completion, readCompletion, type SendRequest } from './work.ts';

/** What ends the first work request of a connection that breaks by losses. */
const LOSSES: readonly number[] = [WcStatus.RETRY_EXC_ERR, WcStatus.RNR_RETRY_EXC_ERR];

/** How a work request fails that has to, or may. */
export interface Failure {
  readonly isSure: boolean;
  readonly status: number;
  /** Status of the receive WQE that it spoils; null: it spoils none. */
  readonly receive: number | null;
  /** Asynchronous event of the peer's QP; null: none. */
  readonly event: number | null;
}

/** A refusal by the peer, as its key check says it. */
export const ACCESS_REFUSED: Failure = {
  isSure: true,
  status: WcStatus.REM_ACCESS_ERR,
  receive: null,
  event: AsyncEvent.QP_ACCESS_ERR,
};

/** A message that the peer is to be told of. */
export interface Message {
  readonly length: number;
  readonly opcode: number;
  readonly immediate: number | null;
  /** The key that it takes back. */
  readonly invalidated: SharedKey | null;
  readonly isSolicited: boolean;
  /** What it holds; null for a WRITE. */
  readonly octets: Uint8Array | null;
  /** Its sender knows that it arrived. */
  isAcknowledged: boolean;
}

/** What a work request means to the model. */
export interface Meaning {
  /** Opcode of its completion. */
  readonly opcode: number;
  /** Looks at what its completion promises. */
  readonly check?: () => void;
  /** It was flushed: what it held is free again. Or nobody knows whether it was done. */
  readonly undo?: (isUnsure: boolean) => void;
  readonly fails?: Failure | undefined;
  readonly mutation?: Mutation | undefined;
  readonly message?: Message | undefined;
  /** The key that it names. */
  readonly key?: SharedKey | null;
}

interface Posted extends Meaning, KeyUser {
  readonly wrId: number;
  readonly signaled: boolean;
  fails: Failure | undefined;
}

/** One end of a connection. */
export interface FlowEnd {
  readonly host: SimHost;
  qp: SimQp;
  /** Octet of the host's memory where the connection's area begins. */
  readonly area: number;
  readonly receives: Receives;
  readonly hasChannel: boolean;
  /** Keys of this host that the peer may use. */
  readonly keys: readonly SharedKey[];
  /** Its send queue has been stopped (SQD), and what was under way is done. */
  isDrained: boolean;
}

/** What becomes of a connection; both its flows share it. */
export interface Fate {
  /** So much is lost that the sender may give up. */
  readonly mayBreak: boolean;
  /** Something was lost, spoilt or overtaken on the wire. */
  hasLosses(): boolean;
  isBroken: boolean;
  /** The application has ended it. */
  isForced: boolean;
}

/** What each flow knows of the one in the other direction. */
export interface Opposite {
  readonly hazards: number;
}

export class Flow {
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  readonly image: Image;
  readonly random: Random;
  readonly #fate: Fate;
  readonly #sqSigAll: boolean;
  opposite: Opposite = { hazards: 0 };
  nextWrId = 0;
  #posted: Posted[] = [];
  #messages: Message[] = [];
  /** Of this incarnation of the connection: work requests that had to fail or might, how they end the peer's receive WQE, and its events. */
  hazards = 0;
  readonly events = new Set<number>();
  readonly #receiveErrors = new Set<number>();
  #hasFailed = false;
  #receiveHasFailed = false;
  /** NAKs that the peer's application must have heard of too. */
  refusals = 0;
  /** Armed for solicited completions, or for any: SOLICITED, NEXT or null. */
  #armed: 'solicited' | 'any' | null = null;
  /** Its QPs were reset or destroyed. */
  isAbandoned = false;
  /** The CQ that its application does not look at for a while. */
  unpolled: 'sendCq' | 'recvCq' | null = null;
  /** Completions, and those of them with an error. */
  completed = 0;
  errors = 0;

  constructor(from: FlowEnd, to: FlowEnd, fate: Fate, sqSigAll: boolean, random: Random) {
    this.from = from;
    this.to = to;
    this.#fate = fate;
    this.#sqSigAll = sqSigAll;
    this.random = random;
    this.image = new Image(to.host.bytes, to.area + Area.TARGET_AT, to.area + Area.WRITTEN_END);
  }

  /** Nothing is outstanding, or nothing that will ever be heard of. */
  get isIdle(): boolean {
    if (this.#fate.isBroken) return this.#posted.every(({ signaled }) => !signaled);
    return this.#posted.length === 0 && this.#messages.length === 0;
  }

  get state(): string {
    return `${this.nextWrId} posted, ${this.#posted.length} outstanding, ${this.#messages.length} messages due`;
  }

  /** False when the send queue is full. */
  submit(request: SendRequest, meaning: Meaning): boolean {
    const { host, qp } = this.from;
    if (!host.postSend(qp, request)) return false;
    const signaled = this.#sqSigAll || (request.flags & SendFlag.SIGNALED) !== 0;
    const warn = (): void => this.#warn(posted);
    const posted: Posted = { ...meaning, wrId: request.wrId, signaled, fails: undefined, warn };
    this.#posted.push(posted);
    meaning.key?.users.add(posted);
    if (meaning.message !== undefined) this.#messages.push(meaning.message);
    if (meaning.fails !== undefined) this.#expectFailure(posted, meaning.fails);
    this.nextWrId++;
    return true;
  }

  poll(): void {
    if (this.isAbandoned && this.from.qp.sendCq.count() + this.to.qp.recvCq.count() > 0)
      throw new Broken('something completed on a QP that was reset or destroyed');
    if (this.unpolled !== 'sendCq') this.#pollSends();
    if (this.unpolled !== 'recvCq') this.#pollReceives();
  }

  /** Its receive CQ is another one. */
  forgetArming(): void {
    this.#armed = null;
  }

  /** The last word: nothing is left to hear, and the peer's memory is what the model says. */
  finish(): void {
    this.unpolled = null;
    this.poll();
    if (this.#fate.isBroken) this.close();
    else if (!this.image.isRight()) throw new Broken('memory is not what was written');
  }

  /** Both QPs are in ERR and have been polled: what is left was done, for it would have been flushed otherwise. Or they were abandoned, or the simulation ends. */
  close(): void {
    if (this.isAbandoned) for (const posted of this.#posted) posted.undo?.(true);
    for (const posted of this.#fate.isForced && !this.isAbandoned ? this.#posted : []) {
      if (posted.signaled) throw new Broken(`send ${posted.wrId} was never flushed`);
      this.#succeed(posted);
    }
    const lost = this.#messages.find((message) => message.isAcknowledged);
    if (lost !== undefined) throw new Broken(`a message of ${lost.length} octets was acknowledged and never arrived`);
    if (!this.image.recover()) throw new Broken('memory is not what the first few work requests wrote');
  }

  /** The connection begins anew. */
  restart(): void {
    this.#posted = [];
    this.#messages = [];
    this.events.clear();
    this.#receiveErrors.clear();
    this.hazards = 0;
    this.refusals = 0;
    this.#hasFailed = false;
    this.#receiveHasFailed = false;
    this.isAbandoned = false;
  }

  #warn(posted: Posted): void {
    const receive = posted.message === undefined ? null : WcStatus.LOC_ACCESS_ERR;
    if (posted.fails === undefined) this.#expectFailure(posted, { ...ACCESS_REFUSED, isSure: false, receive });
  }

  #expectFailure(posted: Posted, failure: Failure): void {
    posted.fails = failure;
    this.hazards++;
    if (failure.event !== null) this.events.add(failure.event);
    if (failure.receive !== null) this.#receiveErrors.add(failure.receive);
  }

  // ── Send completions ──

  /** signalled ones once, in order, and those before them are done. */
  #pollSends(): void {
    const { sendCq } = this.from.qp;
    for (let got = readCompletion(sendCq); got; got = readCompletion(sendCq)) {
      if (got.status !== WcStatus.SUCCESS) this.#takeError(got);
      else if (this.#hasFailed) throw new Broken(`send ${got.wrId} ended well behind an error`);
      else this.#takeSuccess(got);
      this.completed++;
    }
  }

  #takeSuccess(got: Completion): void {
    if (this.from.isDrained) throw new Broken(`send ${got.wrId} completed on a send queue that was drained`);
    const index = this.#posted.findIndex((posted) => posted.signaled);
    const due = this.#posted[index];
    if (due === undefined) throw new Broken(`a completion of ${got.wrId} that was not due`);
    if (due.wrId !== got.wrId || due.opcode !== got.opcode)
      throw new Broken(`a completion of ${got.wrId} (${got.opcode}) before ${due.wrId} (${due.opcode})`);
    for (const posted of this.#posted.splice(0, index + 1)) this.#succeed(posted);
  }

  #succeed(posted: Posted): void {
    const { wrId, fails, mutation, message } = posted;
    posted.key?.users.delete(posted);
    if (fails?.isSure) throw new Broken(`send ${wrId} ended well, and had to end with status ${fails.status}`);
    if (message !== undefined) message.isAcknowledged = true;
    if (mutation !== undefined) {
      this.image.settle(mutation);
      if (!this.image.isThere(mutation)) throw new Broken(`send ${wrId} completed before its data was there`);
    }
    posted.check?.();
  }

  /** one work request fails; all that was posted behind it is flushed, signalled or not, in order. */
  #takeError(got: Completion): void {
    const index = this.#posted.findIndex((posted) => posted.wrId === got.wrId);
    const isInOrder = index !== -1 && this.#posted.slice(0, index).every((posted) => !posted.signaled);
    if (!isInOrder || (this.#hasFailed && index !== 0)) throw new Broken(`an error of ${got.wrId}, which was not due`);
    for (const posted of this.#posted.splice(0, index)) this.#succeed(posted);
    const failed = this.#posted.shift()!;
    const isAllowed = this.#hasFailed ? got.status === WcStatus.WR_FLUSH_ERR : this.#mayFail(failed, got.status);
    if (!isAllowed) throw new Broken(`send ${got.wrId} ended with status ${got.status}`);
    if (got.status === WcStatus.REM_ACCESS_ERR || got.status === WcStatus.REM_INV_REQ_ERR) this.refusals++;
    failed.key?.users.delete(failed);
    failed.undo?.(false);
    this.#hasFailed = true;
    this.#fate.isBroken = true;
    this.errors++;
  }

  /** The first error: the one that was due, exactly, where nothing else can have come between. */
  #mayFail({ fails }: Posted, status: number): boolean {
    const isOwn = fails?.status === status;
    const { mayBreak, isBroken, isForced } = this.#fate;
    const isAlone = this.hazards === 1 && this.opposite.hazards === 0;
    if (fails?.isSure && isAlone && !isForced && !this.#fate.hasLosses()) return isOwn;
    if (isOwn) return true;
    // The peer's QP ended without our hearing why.
    if (LOSSES.includes(status)) return mayBreak || this.hazards + this.opposite.hazards > 0;
    return status === WcStatus.WR_FLUSH_ERR && (isBroken || this.opposite.hazards > 0);
  }

  // ── Receive completions ──

  #pollReceives(): void {
    const { recvCq } = this.to.qp;
    let any = 0;
    let solicited = 0;
    for (let got = readCompletion(recvCq); got; got = readCompletion(recvCq)) {
      any++;
      if (this.#takeReceive(got)) solicited++;
    }
    if (this.to.hasChannel) this.#checkEvent(any, solicited);
  }

  /** one event for each arming, when there is something to tell, and only then. */
  #checkEvent(any: number, solicited: number): void {
    const { host, qp } = this.to;
    const isDue = this.#armed !== null && (this.#armed === 'any' ? any : solicited) > 0;
    const events = host.takeCompletionEvents(qp.recvCqHandle);
    if (events !== (isDue ? 1 : 0))
      throw new Broken(`${events} completion events, armed for ${this.#armed}, with ${solicited} of ${any} solicited`);
    if (isDue) this.#armed = null;
    if (this.#armed !== null || this.random.chance(0.5)) return;
    this.#armed = this.random.chance(0.6) ? 'solicited' : 'any';
    host.execute({ op: 'reqNotifyCq', cq: qp.recvCqHandle, solicitedOnly: this.#armed === 'solicited' });
  }

  /** True when it is of the solicited kind. */
  #takeReceive(got: Completion): boolean {
    const at = this.to.receives.complete(got.wrId);
    if (got.status !== WcStatus.SUCCESS) {
      this.#takeReceiveError(got);
      return true;
    }
    const due = this.#messages.shift();
    if (due === undefined) throw new Broken(`a receive completion ${got.wrId} that was not due`);
    if (this.#receiveHasFailed) throw new Broken(`receive ${got.wrId} ended well behind an error`);
    this.#checkReceive(got, due, at);
    due.invalidated?.taken();
    return due.isSolicited;
  }

  #takeReceiveError({ wrId, status }: Completion): void {
    const mayBreak = this.#fate.mayBreak || this.#fate.isBroken || this.hazards + this.opposite.hazards > 0;
    const isFlushed = status === WcStatus.WR_FLUSH_ERR && mayBreak;
    const isSpoilt = !this.#receiveHasFailed && this.#receiveErrors.has(status);
    if (!isFlushed && !isSpoilt) throw new Broken(`receive ${wrId} ended with status ${status}`);
    this.#receiveHasFailed = true;
    this.#fate.isBroken = true;
  }

  #checkReceive(got: Completion, due: Message, at: number): void {
    const { invalidated, immediate } = due;
    const flags = (immediate === null ? 0 : WcFlag.WITH_IMM) | (invalidated === null ? 0 : WcFlag.WITH_INV);
    const same =
      got.opcode === due.opcode &&
      got.byteLen === due.length &&
      got.qpNum === this.to.qp.qpNum &&
      got.wcFlags === flags &&
      (immediate === null || got.immediate === immediate) &&
      (invalidated === null || got.immediate === invalidated.key);
    if (!same)
      throw new Broken(`receive ${JSON.stringify(got)} where ${JSON.stringify({ ...due, octets: 0 })} was due`);
    if (due.octets === null) return;
    const placed = this.to.host.bytes.subarray(at, at + due.length);
    if (Buffer.compare(placed, due.octets) !== 0) throw new Broken(`receive ${got.wrId} holds other octets`);
  }
}

/** A message of a SEND. */
export const sendMessage = (octets: Uint8Array, isSolicited: boolean): Message => ({
  length: octets.length,
  opcode: WcOpcode.RECV,
  immediate: null,
  invalidated: null,
  isSolicited,
  octets,
  isAcknowledged: false,
});
