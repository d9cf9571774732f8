/** A queue pair. `ibv_create_qp(3)`, `ibv_modify_qp(3)`, `ibv_post_send(3)`, `ibv_post_recv(3)`. */
import { type Answers, Errno, type QpAttributes, type QpCap } from '../rnic/commands.ts';
import { AsyncEvent, QpAttr, QpState, QpType, WrOpcode } from '../rnic/constants.ts';
import type { Underlay } from '../rnic/path.ts';
import * as Layout from '../rnic/queue/layout.ts';
import { Ring } from '../rnic/queue/ring.ts';
import type { Cq } from './completion-queue.ts';
import type { Context } from './context.ts';
import { granted, VerbsError } from './errors.ts';
import type { Mw } from './memory-window.ts';
import { postAll } from './posting.ts';
import type { Srq } from './shared-receive-queue.ts';
import { type RecvWr, type SendLimits, type SendWr, writeRecv, writeSend } from './work-requests.ts';

/** `ibv_qp_init_attr`. */
export interface QpInitAttributes {
  readonly type: QpType;
  readonly sendCq: Cq;
  readonly recvCq: Cq;
  readonly srq?: Srq;
  readonly cap?: Partial<QpCap>;
  /** Every send completes, signaled or not. */
  readonly sqSigAll?: boolean;
}

export const DEFAULT_CAP: QpCap = { maxSendWr: 128, maxRecvWr: 128, maxSendSge: 4, maxRecvSge: 4, maxInlineData: 64 };

/** What the peer of a connection must be told, and tells. */
export interface Destination {
  /** 16 octets. */
  readonly gid: Uint8Array;
  readonly qpNum: number;
  /** The peer's sqPsn. */
  readonly psn: number;
}

const MEMBER_BITS: readonly (readonly [keyof QpAttributes, number])[] = [
  ['qpState', QpAttr.STATE],
  ['curQpState', QpAttr.CUR_STATE],
  ['enSqdAsyncNotify', QpAttr.EN_SQD_ASYNC_NOTIFY],
  ['qpAccessFlags', QpAttr.ACCESS_FLAGS],
  ['pKeyIndex', QpAttr.PKEY_INDEX],
  ['portNum', QpAttr.PORT],
  ['qKey', QpAttr.QKEY],
  ['av', QpAttr.AV],
  ['pathMtu', QpAttr.PATH_MTU],
  ['timeout', QpAttr.TIMEOUT],
  ['retryCnt', QpAttr.RETRY_CNT],
  ['rnrRetry', QpAttr.RNR_RETRY],
  ['rqPsn', QpAttr.RQ_PSN],
  ['maxRdAtomic', QpAttr.MAX_QP_RD_ATOMIC],
  ['minRnrTimer', QpAttr.MIN_RNR_TIMER],
  ['sqPsn', QpAttr.SQ_PSN],
  ['maxDestRdAtomic', QpAttr.MAX_DEST_RD_ATOMIC],
  ['cap', QpAttr.CAP],
  ['destQpNum', QpAttr.DEST_QPN],
];
const FATAL: readonly number[] = [AsyncEvent.QP_FATAL, AsyncEvent.QP_REQ_ERR, AsyncEvent.QP_ACCESS_ERR];
const MAY_SEND: readonly number[] = [QpState.RTS, QpState.SQD, QpState.SQE, QpState.ERR];

export class Qp {
  readonly context: Context;
  readonly handle: number;
  readonly qpNum: number;
  readonly type: QpType;
  readonly cap: QpCap;
  readonly sendCq: Cq;
  readonly recvCq: Cq;
  readonly srq: Srq | null;
  /** As far as this side knows: the engine may have moved it to ERR a moment ago. */
  state: QpState = QpState.RESET;
  readonly #slot: number;
  readonly #sq: Ring;
  readonly #rq: Ring | null;
  readonly #limits: SendLimits;
  #isOpen = true;

  constructor(context: Context, init: QpInitAttributes, answer: Answers['createQp']) {
    this.context = context;
    this.handle = answer.qp;
    this.qpNum = answer.qpNum;
    this.type = init.type;
    this.cap = answer.cap;
    this.sendCq = init.sendCq;
    this.recvCq = init.recvCq;
    this.srq = init.srq ?? null;
    this.#slot = answer.slot;
    const { maxSendWr, maxRecvWr, maxSendSge, maxRecvSge, maxInlineData } = answer.cap;
    this.#sq = new Ring(answer.sq, maxSendWr + 1, Layout.sendElementBytes(maxSendSge, maxInlineData));
    this.#rq = answer.rq ? new Ring(answer.rq, maxRecvWr + 1, Layout.recvElementBytes(maxRecvSge)) : null;
    this.#limits = { type: init.type, maxSge: maxSendSge, maxInline: maxInlineData };
  }

  /**
   * Posts one send work request, or a list. No system call while the worker is awake.
   * @throws VerbsError ENOMEM when the queue is full, EINVAL for a bad request or state; `badWr` says which of a list.
   */
  postSend(wr: SendWr | readonly SendWr[]): void {
    if (!MAY_SEND.includes(this.state)) {
      throw new VerbsError('postSend', Errno.EINVAL, `the QP is in ${stateName(this.state)}: sends need RTS`);
    }
    const { view, bytes } = this.#sq;
    try {
      postAll('postSend', this.#sq, wr, (one, at) => writeSend(view, bytes, at, one, this.#limits));
    } finally {
      this.#ring();
    }
  }

  /** Posts one receive work request, or a list. @throws VerbsError as postSend; EINVAL on a QP with an SRQ. */
  postRecv(wr: RecvWr | readonly RecvWr[]): void {
    const rq = this.#rq;
    if (!rq) throw new VerbsError('postRecv', Errno.EINVAL, 'the QP receives from a shared receive queue: post there');
    if (this.state === QpState.RESET)
      throw new VerbsError('postRecv', Errno.EINVAL, 'the QP is in RESET: receives need INIT');
    postAll('postRecv', rq, wr, (one, at) => writeRecv(rq.view, at, one, this.cap.maxRecvSge));
    if (this.state === QpState.ERR) this.#ring();
  }

  /** Posts a WQE that `write(view, at)` fills by itself (rnic/queue/layout.ts): for callers that allocate nothing. False when the queue is full. */
  postRaw(write: (view: DataView, at: number) => void): boolean {
    const sq = this.#sq;
    const producer = sq.producer();
    const next = sq.next(producer);
    if (next === sq.consumer()) return false;
    write(sq.view, sq.slotAt(producer));
    sq.publishProducer(next);
    this.#ring();
    return true;
  }

  /** Binds a window under a new key; `mw.rKey` is the new one when this returns. The completion says whether it was granted. */
  bindMw(mw: Mw, bind: { wrId?: bigint; sendFlags?: number; bindInfo: NonNullable<SendWr['bindInfo']> }): void {
    const rKey = mw.nextRKey();
    this.postSend({ ...bind, opcode: WrOpcode.BIND_MW, mw, rKey });
    mw.rKey = rKey;
  }

  /**
   * Changes attributes and state. `mask` is made from the members given when it is left out.
   * @throws VerbsError EINVAL names the attribute that is missing, not allowed or out of range: nothing has changed then. EHOSTUNREACH, ETIMEDOUT when the
   * peer's address could not be resolved.
   */
  async modifyQp(attributes: QpAttributes, mask = maskOf(attributes)): Promise<void> {
    const answer = granted(
      'modifyQp',
      await this.context.link.call({ op: 'modifyQp', qp: this.handle, mask, attributes }),
    );
    this.state = answer.state;
    if (answer.state === QpState.RESET) this.#purge();
  }

  async queryQp(): Promise<Answers['queryQp']> {
    const answer = granted('queryQp', await this.context.link.call({ op: 'queryQp', qp: this.handle }));
    this.state = answer.attributes.qpState;
    return answer;
  }

  /** RESET → INIT with everything it needs: access flags (RC, UC) or Q_Key (UD). */
  toInit(options: { accessFlags?: number; qKey?: number } = {}): Promise<void> {
    const common = { qpState: QpState.INIT, pKeyIndex: 0, portNum: 1 };
    if (this.type === QpType.UD) return this.modifyQp({ ...common, qKey: options.qKey ?? 0 });
    return this.modifyQp({ ...common, qpAccessFlags: options.accessFlags ?? 0 });
  }

  /** INIT → RTR. UD needs no destination. `underlay`: in a tenant's network, the way of this connection; both ends say the same. */
  toRtr(
    to?: Destination,
    options: { sgidIndex?: number; pathMtu?: number; underlay?: Underlay } & Partial<QpAttributes> = {},
  ): Promise<void> {
    if (this.type === QpType.UD) return this.modifyQp({ qpState: QpState.RTR });
    if (!to) throw new VerbsError('modifyQp', Errno.EINVAL, 'a connected QP needs a destination', 'to');
    const { sgidIndex = 0, pathMtu = 3, maxDestRdAtomic = 16, minRnrTimer = 12, underlay } = options;
    const path = { sgidIndex, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
    const av = { dgid: to.gid, ...path, ...(underlay && { underlay }) };
    const connected = { qpState: QpState.RTR, av, pathMtu, destQpNum: to.qpNum, rqPsn: to.psn };
    return this.modifyQp(this.type === QpType.UC ? connected : { ...connected, maxDestRdAtomic, minRnrTimer });
  }

  /** RTR → RTS. */
  toRts(psn: number, options: Partial<QpAttributes> = {}): Promise<void> {
    if (this.type !== QpType.RC) return this.modifyQp({ qpState: QpState.RTS, sqPsn: psn });
    const { timeout = 14, retryCnt = 7, rnrRetry = 7, maxRdAtomic = 16 } = options;
    return this.modifyQp({ qpState: QpState.RTS, sqPsn: psn, timeout, retryCnt, rnrRetry, maxRdAtomic });
  }

  /** Receives what is sent to a multicast GID. UD only. */
  async attachMcast(gid: Uint8Array): Promise<void> {
    granted('attachMcast', await this.context.link.call({ op: 'attachMcast', qp: this.handle, gid }));
  }

  async detachMcast(gid: Uint8Array): Promise<void> {
    granted('detachMcast', await this.context.link.call({ op: 'detachMcast', qp: this.handle, gid }));
  }

  /** @throws VerbsError EBUSY while it is attached to a multicast group. */
  async destroy(): Promise<void> {
    if (!this.#isOpen) return;
    granted('destroyQp', await this.context.link.call({ op: 'destroyQp', qp: this.handle }));
    this.#isOpen = false;
    this.#purge();
    this.context.forgetQp(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }

  /** For the context: an asynchronous event of this QP. */
  handleAsyncEvent(code: AsyncEvent): void {
    if (FATAL.includes(code)) this.state = QpState.ERR;
  }

  #ring(): void {
    const { link } = this.context;
    if (link.doorbell.ring(this.#slot)) link.wake();
  }

  #purge(): void {
    this.sendCq.purge(this.qpNum);
    if (this.recvCq !== this.sendCq) this.recvCq.purge(this.qpNum);
  }
}

const STATE_NAMES = Object.keys(QpState);
export const stateName = (state: QpState): string => STATE_NAMES[state] ?? `state ${state}`;

function maskOf(attributes: QpAttributes): number {
  return MEMBER_BITS.reduce((mask, [member, bit]) => (attributes[member] === undefined ? mask : mask | bit), 0);
}
