/** Responder of an RC QP. Checks in the order of IBA Vol. 1, §9.7.4.1; answers in the order of the requests. SPEC-CHECKLIST §2.2, §2.3. */
import * as Aeth from '../wire/aeth.ts';
import * as AtomicEth from '../wire/atomic-eth.ts';
import * as Bth from '../wire/bth.ts';
import * as Feth from '../wire/feth.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Ieth from '../wire/ieth.ts';
import * as Opcode from '../wire/opcode.ts';
import * as PsnMath from '../wire/psn.ts';
import * as Reth from '../wire/reth.ts';
import type { Micros, OpFlags, Psn } from '../wire/types.ts';
import { executeAtomic, executeAtomicWrite } from './atomic-requests.ts';
import { Access, AsyncEvent, QpState, WcFlag, WcOpcode, WcStatus } from './constants.ts';
import { type EngineCore, KeyVerdict, type Qp, type Responder } from './core.ts';
import { Counter } from './counters.ts';
import { EarlyPackets } from './early-packets.ts';
import { completeEnded, type EndedMessage, type Teller } from './ended-messages.ts';
import { putOffBytes } from './memory/put-off.ts';
import { Notifier } from './notifier.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import { flushReceiveQueue } from './receive-completion.ts';
import { ReceiveWork } from './receive-work.ts';
import { Put, packetsFor } from './request-packets.ts';
import { putAck, putAcknowledge, putReadResponse, putShortResponse } from './response-packets.ts';
import { type Answer, type Response, ResponseKind, ResponseQueue } from './response-queue.ts';
import { MAX_MESSAGE_BYTES } from './send-work.ts';
import { isFull, spanOf } from './span.ts';
import { Verdict } from './verdict.ts';
import { WriteTarget } from './write-target.ts';

/** What the responder refuses until the expected PSN comes. */
const Latch = { NONE: 0, NAK: 1, RNR: 2 } as const;
const NO_FLAGS = 0 as OpFlags;
const ORIGINAL = new Uint32Array(2);

export class RcResponder implements Responder, Teller {
  readonly #qp: Qp;
  readonly #core: EngineCore;
  #ePsn = 0 as Psn;
  #msn = 0;
  /** IS_SEND or IS_WRITE inside a message of several packets. */
  #inside: OpFlags = NO_FLAGS;
  #latch: number = Latch.NONE;
  /** Last SEND or WRITE packet that was executed: what an ACK names. An ACK never names a READ: rxe would take it for the data. */
  #ackPsn = 0 as Psn;
  #ackDue = false;
  owesReceipt = false;
  /** NAK to be sent behind all answers that are due: its syndrome, 0 when none is. Its PSN is the expected one. */
  #nak = 0;
  /** Octets of the SEND in hand. */
  #receivedBytes = 0;
  #established = false;
  #receive: ReceiveWork | null = null;
  #target: WriteTarget | null = null;
  #responses: ResponseQueue | null = null;
  #early: EarlyPackets | null = null;
  #notifier: Notifier | null = null;

  constructor(qp: Qp, core: EngineCore) {
    this.#qp = qp;
    this.#core = core;
  }

  // ── Input ──

  stateChanged(_now: Micros): void {
    if (this.#qp.state !== QpState.RTR) return;
    this.#ePsn = this.#qp.rqPsn as Psn;
    this.#ackPsn = PsnMath.add(this.#ePsn, -1);
  }

  reset(): void {
    this.#early?.releaseAll(this.#core.reorderPool);
    this.#msn = 0;
    this.#inside = NO_FLAGS;
    this.#latch = Latch.NONE;
    this.#ackDue = false;
    this.owesReceipt = false;
    this.#nak = 0;
    this.#receivedBytes = 0;
    this.#established = false;
    this.#receive = null;
    this.#target = null;
    this.#responses = null;
    this.#early = null;
    this.#notifier = null;
  }

  flush(): void {
    this.#early?.releaseAll(this.#core.reorderPool);
    flushReceiveQueue(this.#qp, this.#core, this.#receive);
  }

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    const qp = this.#qp;
    if (!this.#established) this.#establish();
    this.#noteCongestion(packet, now);
    const psn = Bth.psn(packet.view, packet.bthAt);
    const ahead = PsnMath.difference(psn, this.#ePsn);
    if (ahead === 0) this.#handleExpected(packet);
    else if (ahead < 0) this.#handleDuplicate(packet, psn);
    else this.#handleAhead(packet, ahead);
    if (this.#ackDue || this.#nak !== 0 || this.#responses?.hasPending) this.#core.schedule(qp);
  }

  /** */
  #establish(): void {
    this.#established = true;
    if (this.#qp.state === QpState.RTR) this.#core.raise(this.#qp, AsyncEvent.COMM_EST);
  }

  #noteCongestion(packet: ReceivedPacket, now: Micros): void {
    if (!Notifier.isMarked(packet)) return;
    this.#core.counters.add(Counter.np_ecn_marked_roce_packets);
    this.#notifier ??= new Notifier();
    if (this.#notifier.mark(now)) this.#core.schedule(this.#qp);
  }

  /** The expected packet, and after it those that had come too early. */
  #handleExpected(packet: ReceivedPacket): void {
    if (!this.#run(packet)) return;
    const early = this.#early;
    if (early === null || early.count === 0) return;
    const pool = this.#core.reorderPool;
    for (let slot = early.take(this.#ePsn); slot !== -1; slot = early.take(this.#ePsn)) {
      const accepted = this.#run(pool.open(slot));
      pool.release(slot);
      if (!accepted) return;
      this.#ackDue = true;
    }
    // A gap that is left behind the run is a new one: it earns its own NAK.
    early.releasePassed(pool, this.#ePsn);
    if (early.count > 0) this.#askAgain();
  }

  /** one NAK for a gap, then silence until the expected PSN comes. What came too early may be kept; nobody can tell. */
  #handleAhead(packet: ReceivedPacket, ahead: number): void {
    const { counters, config, reorderPool } = this.#core;
    counters.add(Counter.out_of_sequence);
    if (this.#latch === Latch.RNR) {
      counters.add(Counter.drop_rnr_wait);
      return;
    }
    if (config.reorderWindow > 0) {
      this.#early ??= new EarlyPackets(config.reorderWindow);
      const held = this.#early.hold(reorderPool, packet, this.#ePsn, ahead);
      counters.add(held ? Counter.reorder_held : Counter.reorder_full);
    } else if (this.#latch === Latch.NAK) counters.add(Counter.drop_after_nak);
    if (this.#latch === Latch.NONE) this.#askAgain();
  }

  #askAgain(): void {
    this.#latch = Latch.NAK;
    this.#nak = Aeth.NAK_PSN_SEQUENCE_ERROR;
    this.#core.counters.add(Counter.send_seq_err);
  }

  // ── Duplicates ──

  #handleDuplicate(packet: ReceivedPacket, psn: Psn): void {
    const flags = Opcode.flags(Bth.opcode(packet.view, packet.bthAt));
    this.#core.counters.add(Counter.duplicate_request);
    // executed once, acknowledged again.
    if ((flags & (Opcode.IS_SEND | Opcode.IS_WRITE)) !== 0) this.#ackDue = true;
    else if ((flags & Opcode.IS_READ) !== 0) this.#repeatRead(packet, psn);
    else this.#repeatResult(psn);
  }

  /** from memory, inside what was asked for the first time. */
  #repeatRead(packet: ReceivedPacket, psn: Psn): void {
    const { view, bthAt } = packet;
    const at = bthAt + Bth.BYTES;
    const response = this.#responses?.find(psn) ?? null;
    if (response !== null && response.kind === ResponseKind.READ) {
      const from = PsnMath.difference(psn, response.psn);
      const passed = from * this.#qp.pathMtuBytes;
      const length = Reth.length(view, at);
      const lo = response.lo + passed;
      const sameAddress =
        Reth.virtualAddressLo(view, at) === lo % 2 ** 32 &&
        Reth.virtualAddressHi(view, at) === response.hi + (lo >= 2 ** 32 ? 1 : 0);
      const end = from + packetsFor(length, this.#qp.pathMtuBytes);
      if (sameAddress && Reth.rKey(view, at) === response.rKey && passed + length <= response.length) {
        if (!this.#responses!.repeat(response, from, end)) this.#core.counters.add(Counter.drop_duplicate_read);
        return;
      }
    }
    this.#core.counters.add(Counter.drop_duplicate_read);
  }

  /** the saved result, never the operation. */
  #repeatResult(psn: Psn): void {
    const response = this.#responses?.find(psn) ?? null;
    const isKept = response !== null && response.kind !== ResponseKind.READ;
    if (!isKept || !this.#responses!.repeat(response, 0, 1)) this.#core.counters.add(Counter.drop_duplicate_atomic);
  }

  // ── The expected request ──

  /** Checks and executes the request at the expected PSN. True when it was accepted. */
  #run(packet: ReceivedPacket): boolean {
    const { view, bthAt } = packet;
    const opcode = Bth.opcode(view, bthAt);
    const flags = Opcode.flags(opcode);
    const at = bthAt + Bth.BYTES;
    const payloadAt = bthAt + Opcode.headerBytes(opcode);
    const payloadBytes = packet.end - Icrc.BYTES - Bth.padCount(view, bthAt) - payloadAt;
    if (!isData(flags)) {
      // What it reads, those before it have written.
      this.#core.ended.settle();
      if (this.#qp.state === QpState.ERR) return false;
    }
    const verdict =
      this.#checkOpSequence(flags) ||
      this.#checkOpAllowed(flags, view, at) ||
      this.#checkResources(flags) ||
      this.#checkLength(flags, view, at, payloadBytes, spanOf(packet)) ||
      this.#checkRKey(flags, view, at) ||
      this.#checkReceiveForWrite(flags) ||
      this.#execute(packet, flags, payloadAt, payloadBytes);
    if (verdict !== Verdict.ACCEPT) {
      // Those before it are told of first; one of them may have ended the QP.
      this.#core.ended.settle();
      if (this.#qp.state !== QpState.ERR) this.#refuse(verdict, flags);
      return false;
    }
    this.#latch = Latch.NONE;
    if (this.#nak === Aeth.NAK_PSN_SEQUENCE_ERROR || Aeth.isRnrNak(this.#nak)) this.#nak = 0;
    return true;
  }

  /** */
  #checkOpSequence(flags: OpFlags): Verdict {
    const starts = (flags & Opcode.STARTS) !== 0;
    if (this.#inside === NO_FLAGS) return starts ? Verdict.ACCEPT : Verdict.OP_SEQUENCE;
    return !starts && (flags & this.#inside) !== 0 ? Verdict.ACCEPT : Verdict.OP_SEQUENCE;
  }

  /** */
  #checkOpAllowed(flags: OpFlags, view: DataView, at: number): Verdict {
    const { accessFlags } = this.#qp;
    let needed = 0;
    if ((flags & (Opcode.IS_WRITE | Opcode.IS_ATOMIC_WRITE)) !== 0) needed = Access.REMOTE_WRITE;
    else if ((flags & Opcode.IS_READ) !== 0) needed = Access.REMOTE_READ;
    else if ((flags & Opcode.IS_ATOMIC) !== 0) needed = Access.REMOTE_ATOMIC;
    else if ((flags & Opcode.IS_FLUSH) !== 0) needed = flushAccess(view, at);
    return (accessFlags & needed) === needed ? Verdict.ACCEPT : Verdict.OP_NOT_ALLOWED;
  }

  /** A WRITE's receive WQE is asked for after its key. */
  #checkResources(flags: OpFlags): Verdict {
    if ((flags & Opcode.IS_SEND) !== 0 && (flags & Opcode.NEEDS_RECV_WQE) !== 0) return this.#takeReceive();
    if ((flags & (Opcode.IS_SEND | Opcode.IS_WRITE)) !== 0) return Verdict.ACCEPT;
    const { maxDestRdAtomic } = this.#qp;
    if (maxDestRdAtomic === 0) return Verdict.TOO_MANY_READS;
    this.#responses ??= new ResponseQueue(maxDestRdAtomic);
    return this.#responses.hasRoom() ? Verdict.ACCEPT : Verdict.TOO_MANY_READS;
  }

  #checkReceiveForWrite(flags: OpFlags): Verdict {
    const needs = (flags & Opcode.IS_WRITE) !== 0 && (flags & Opcode.NEEDS_RECV_WQE) !== 0;
    return needs ? this.#takeReceive() : Verdict.ACCEPT;
  }

  #takeReceive(): Verdict {
    this.#receive ??= new ReceiveWork();
    if (!this.#receive.isTaken && !this.#receive.take(this.#qp)) return Verdict.NO_RECV_WQE;
    this.#receivedBytes = 0;
    return this.#receive.isValid ? Verdict.ACCEPT : Verdict.LOCAL_WQE;
  }

  /** R-069 … R-074. */
  #checkLength(flags: OpFlags, view: DataView, at: number, payloadBytes: number, span: number): Verdict {
    const isData = (flags & (Opcode.IS_SEND | Opcode.IS_WRITE)) !== 0;
    if (!isData) return this.#checkShortLength(flags, view, at, payloadBytes);
    const ends = (flags & Opcode.ENDS) !== 0;
    if (!isFull(payloadBytes, this.#qp.pathMtuBytes, span, flags)) return Verdict.LENGTH;
    if ((flags & Opcode.IS_SEND) !== 0) {
      return this.#receivedBytes + payloadBytes > this.#receive!.totalBytes ? Verdict.RECV_TOO_SMALL : Verdict.ACCEPT;
    }
    if ((flags & Opcode.HAS_RETH) !== 0) {
      this.#target ??= new WriteTarget();
      this.#target.measure(view, at);
      if (this.#target.length > MAX_MESSAGE_BYTES) return Verdict.LENGTH;
    }
    const { left } = this.#target!;
    return (ends ? payloadBytes === left : payloadBytes < left) ? Verdict.ACCEPT : Verdict.LENGTH;
  }

  /** */
  #checkShortLength(flags: OpFlags, view: DataView, at: number, payloadBytes: number): Verdict {
    const expected = (flags & Opcode.IS_ATOMIC_WRITE) !== 0 ? 8 : 0;
    if (payloadBytes !== expected) return Verdict.LENGTH;
    if ((flags & Opcode.IS_ATOMIC) !== 0) return Verdict.ACCEPT;
    const rethAt = (flags & Opcode.HAS_FETH) !== 0 ? at + Feth.BYTES : at;
    const length = Reth.length(view, rethAt);
    if ((flags & Opcode.IS_ATOMIC_WRITE) !== 0) return length === 8 ? Verdict.ACCEPT : Verdict.LENGTH;
    return length <= MAX_MESSAGE_BYTES ? Verdict.ACCEPT : Verdict.LENGTH;
  }

  /** */
  #checkRKey(flags: OpFlags, view: DataView, at: number): Verdict {
    if ((flags & Opcode.IS_SEND) !== 0) return Verdict.ACCEPT;
    if ((flags & Opcode.IS_WRITE) !== 0) {
      const target = this.#target!;
      if ((flags & Opcode.HAS_RETH) === 0) return target.isValid() ? Verdict.ACCEPT : Verdict.KEY;
      return target.open(this.#core.regions, this.#qp, view, at) === KeyVerdict.ACCEPT ? Verdict.ACCEPT : Verdict.KEY;
    }
    if ((flags & Opcode.IS_ATOMIC) !== 0) {
      if ((AtomicEth.virtualAddressLo(view, at) & 7) !== 0) return Verdict.MISALIGNED;
      return this.#checkRange(AtomicEth.rKey(view, at), view, at, 8, Access.REMOTE_ATOMIC);
    }
    if ((flags & Opcode.IS_ATOMIC_WRITE) !== 0) {
      if ((Reth.virtualAddressLo(view, at) & 7) !== 0) return Verdict.MISALIGNED;
      return this.#checkRange(Reth.rKey(view, at), view, at, 8, Access.REMOTE_WRITE);
    }
    const isFlush = (flags & Opcode.IS_FLUSH) !== 0;
    const rethAt = isFlush ? at + Feth.BYTES : at;
    const access = isFlush ? flushAccess(view, at) : Access.REMOTE_READ;
    return this.#checkRange(Reth.rKey(view, rethAt), view, rethAt, Reth.length(view, rethAt), access);
  }

  /** Address at `at`, as RETH and AtomicETH both begin. */
  #checkRange(rKey: number, view: DataView, at: number, length: number, access: number): Verdict {
    const { regions } = this.#core;
    regions.found = null;
    if (length === 0) return Verdict.ACCEPT;
    const { pd, qpn } = this.#qp;
    const verdict = regions.checkRemote(rKey | 0, view.getInt32(at), view.getInt32(at + 4), length, pd, qpn, access);
    return verdict === KeyVerdict.ACCEPT ? Verdict.ACCEPT : Verdict.KEY;
  }

  // ── Execution ──

  #execute(packet: ReceivedPacket, flags: OpFlags, payloadAt: number, payloadBytes: number): Verdict {
    const { counters } = this.#core;
    if ((flags & Opcode.IS_SEND) !== 0) {
      const verdict = this.#placeSend(packet, flags, payloadAt, payloadBytes);
      if (verdict !== Verdict.ACCEPT) return verdict;
    } else if ((flags & Opcode.IS_WRITE) !== 0) {
      if (!this.#target!.place(packet.bytes, payloadAt, payloadBytes, mayWait(packet, flags))) return Verdict.KEY;
    } else return this.#executeShort(packet, flags, payloadAt);
    this.#ackPsn = PsnMath.add(this.#ePsn, spanOf(packet) - 1);
    this.#ePsn = PsnMath.next(this.#ackPsn);
    if (Bth.ackRequest(packet.view, packet.bthAt)) {
      if (this.#ackDue) counters.add(Counter.ack_deferred);
      this.#ackDue = true;
    }
    const ends = (flags & Opcode.ENDS) !== 0;
    this.#inside = ends ? NO_FLAGS : ((flags & (Opcode.IS_SEND | Opcode.IS_WRITE)) as OpFlags);
    if (ends) this.#endMessage(packet, flags, payloadAt);
    return Verdict.ACCEPT;
  }

  #placeSend(packet: ReceivedPacket, flags: OpFlags, payloadAt: number, payloadBytes: number): Verdict {
    const receive = this.#receive!;
    const { regions } = this.#core;
    const pd = receive.pd(this.#qp);
    const { bytes } = packet;
    const isFollowed = mayWait(packet, flags);
    if (!receive.sges.scatter(regions, pd, Access.LOCAL_WRITE, bytes, payloadAt, payloadBytes, isFollowed)) {
      return Verdict.LOCAL_PROTECTION;
    }
    this.#receivedBytes += payloadBytes;
    if ((flags & Opcode.HAS_IETH) === 0) return Verdict.ACCEPT;
    // after the data is placed, before its completion.
    const key = Ieth.rKey(packet.view, payloadAt - Ieth.BYTES);
    return regions.invalidate(key, this.#qp.pd, this.#qp.qpn) === 0 ? Verdict.ACCEPT : Verdict.INVALIDATE;
  }

  /** Last packet of a SEND or WRITE: …. Whoever is to hear of it does so once its payload is placed. */
  #endMessage(packet: ReceivedPacket, flags: OpFlags, payloadAt: number): void {
    const { ended } = this.#core;
    const message = ended.add(this);
    message.psn = this.#ackPsn;
    message.msn = this.#msn;
    message.isSend = (flags & Opcode.IS_SEND) !== 0;
    message.completes = (flags & Opcode.COMPLETES_RECV_WQE) !== 0;
    this.#msn = (this.#msn + 1) & PsnMath.MASK;
    if (message.completes) this.#describe(message, packet, flags, payloadAt);
    if (!mayWait(packet, flags) || putOffBytes() === 0) ended.settle();
  }

  /** What its CQE says. */
  #describe(message: EndedMessage, { view, bthAt }: ReceivedPacket, flags: OpFlags, payloadAt: number): void {
    this.#receive!.leave(message);
    message.byteLen = message.isSend ? this.#receivedBytes : this.#target!.length;
    message.immediate = 0;
    message.wcFlags = 0;
    message.solicited = Bth.solicited(view, bthAt);
    if ((flags & Opcode.HAS_IMM) !== 0) {
      message.immediate = view.getUint32(payloadAt - 4, true);
      message.wcFlags = WcFlag.WITH_IMM;
    } else if ((flags & Opcode.HAS_IETH) !== 0) {
      message.immediate = Ieth.rKey(view, payloadAt - Ieth.BYTES);
      message.wcFlags = WcFlag.WITH_INV;
    }
  }

  tell(message: EndedMessage): void {
    this.#core.counters.add(message.isSend ? Counter.rx_send_requests : Counter.rx_write_requests);
    if (message.completes) this.owesReceipt = true;
    completeEnded(this.#qp, this.#core, message, WcStatus.SUCCESS);
  }

  /** As if the last packet of the first one came now, and its memory is gone. */
  refuseEnded(messages: readonly EndedMessage[], first: number, count: number): void {
    const qp = this.#qp;
    const lost = messages[first]!;
    this.#ePsn = lost.psn;
    this.#msn = lost.msn;
    completeEnded(qp, this.#core, lost, lost.isSend ? WcStatus.LOC_PROT_ERR : WcStatus.LOC_ACCESS_ERR);
    for (let i = first + 1; i < count; i++) completeEnded(qp, this.#core, messages[i]!, WcStatus.WR_FLUSH_ERR);
    if (lost.isSend) return this.#fail(Aeth.NAK_REMOTE_OPERATIONAL_ERROR, -1);
    qp.violations++;
    this.#fail(Aeth.NAK_REMOTE_ACCESS_ERROR, AsyncEvent.QP_ACCESS_ERR);
  }

  /** READ, atomic, ATOMIC_WRITE, FLUSH: each leaves a response, to be sent now and kept for repetitions. */
  #executeShort(packet: ReceivedPacket, flags: OpFlags, payloadAt: number): Verdict {
    const { view, bthAt } = packet;
    const at = bthAt + Bth.BYTES;
    const { regions, counters } = this.#core;
    const isRead = (flags & Opcode.IS_READ) !== 0;
    const isAtomic = (flags & Opcode.IS_ATOMIC) !== 0;
    if (isAtomic && !executeAtomic(regions, view, bthAt, ORIGINAL)) return Verdict.KEY;
    if ((flags & Opcode.IS_ATOMIC_WRITE) !== 0 && !executeAtomicWrite(regions, view, payloadAt, ORIGINAL))
      return Verdict.KEY;
    const packets = isRead ? packetsFor(Reth.length(view, at), this.#qp.pathMtuBytes) : 1;
    const kind = isRead ? ResponseKind.READ : isAtomic ? ResponseKind.ATOMIC : ResponseKind.EMPTY;
    const response = this.#responses!.add(kind, this.#ePsn, packets);
    if (isRead) this.#keepRead(response, view, at);
    response.region = regions.found;
    response.offset = regions.offset;
    response.originalLo = ORIGINAL[0]!;
    response.originalHi = ORIGINAL[1]!;
    // a READ counts as done when it is accepted.
    this.#msn = (this.#msn + 1) & PsnMath.MASK;
    response.msn = this.#msn;
    if (this.#ackDue) response.ackBefore = this.#ackPsn;
    this.#ackDue = false;
    this.#ePsn = PsnMath.add(this.#ePsn, packets);
    if (isRead) counters.add(Counter.rx_read_requests);
    else if (isAtomic) counters.add(Counter.rx_atomic_requests);
    return Verdict.ACCEPT;
  }

  #keepRead(response: Response, view: DataView, rethAt: number): void {
    response.hi = Reth.virtualAddressHi(view, rethAt);
    response.lo = Reth.virtualAddressLo(view, rethAt);
    response.rKey = Reth.rKey(view, rethAt);
    response.length = Reth.length(view, rethAt);
  }

  // ── Refusal ──

  /** The only place where a NAK is chosen. Classes: IBA Vol. 1, §9.9.3. */
  #refuse(verdict: Verdict, flags: OpFlags): void {
    switch (verdict) {
      case Verdict.NO_RECV_WQE:
        this.#latch = Latch.RNR;
        this.#nak = Aeth.rnrNakSyndrome(this.#qp.minRnrTimer);
        this.#core.counters.add(Counter.send_rnr_err);
        break;
      case Verdict.RECV_TOO_SMALL:
        this.#core.counters.add(Counter.resp_local_length_error);
        this.#end(Aeth.NAK_INVALID_REQUEST, WcStatus.LOC_LEN_ERR, AsyncEvent.QP_REQ_ERR);
        break;
      case Verdict.KEY:
        this.#qp.violations++;
        // a WRITE with immediate data spoils the receive WQE that it would have completed.
        this.#checkReceiveForWrite(flags);
        this.#end(Aeth.NAK_REMOTE_ACCESS_ERROR, WcStatus.LOC_ACCESS_ERR, AsyncEvent.QP_ACCESS_ERR);
        break;
      case Verdict.LOCAL_PROTECTION:
        this.#end(Aeth.NAK_REMOTE_OPERATIONAL_ERROR, WcStatus.LOC_PROT_ERR, -1);
        break;
      case Verdict.LOCAL_WQE:
        this.#end(Aeth.NAK_REMOTE_OPERATIONAL_ERROR, WcStatus.LOC_QP_OP_ERR, -1);
        break;
      case Verdict.INVALIDATE:
        // Class J: the requester is not told.
        this.#end(0, WcStatus.REM_INV_REQ_ERR, AsyncEvent.QP_ACCESS_ERR);
        break;
      default:
        this.#end(Aeth.NAK_INVALID_REQUEST, WcStatus.REM_INV_REQ_ERR, AsyncEvent.QP_REQ_ERR);
    }
  }

  /** the NAK is the last thing that leaves; the WQE in hand, if any, ends with `status`. */
  #end(syndrome: number, status: WcStatus, event: AsyncEvent | -1): void {
    if (this.#receive?.isTaken) {
      this.#receive.complete(this.#qp, this.#core, status, WcOpcode.RECV, 0, 0, 0, 0, false);
    }
    this.#fail(syndrome, event);
  }

  #fail(syndrome: number, event: AsyncEvent | -1): void {
    const { counters } = this.#core;
    if (syndrome === Aeth.NAK_INVALID_REQUEST) counters.add(Counter.resp_remote_invalid_request);
    else if (syndrome === Aeth.NAK_REMOTE_ACCESS_ERROR) counters.add(Counter.resp_remote_access_errors);
    else if (syndrome !== 0) counters.add(Counter.resp_remote_operational_errors);
    this.#nak = syndrome;
    this.#core.fail(this.#qp, WcStatus.WR_FLUSH_ERR, event);
    this.#core.schedule(this.#qp);
  }

  // ── Output ──

  pollTransmit(out: PacketWriter, now: Micros, quantumBytes: number): boolean {
    if (this.#qp.path === null) return false;
    if (this.#notifier?.isDue && !this.#notifier.put(out, this.#qp, this.#core.counters, now)) return true;
    let budget = quantumBytes;
    let put = 0;
    for (let next = this.#responses?.first() ?? null; next !== null; next = this.#responses!.first()) {
      if (budget <= 0 && !(put > this.#qp.pathMtuBytes && out.isOpen)) return true;
      out.turnLeft = budget;
      put = this.#putNext(out, next);
      if (put === Put.FULL) return true;
      if (put !== Put.PROTECTION) budget -= put;
      else if (next.response.isUnanswered) return this.#loseRead(next);
      else this.#passOverRead();
    }
    return !this.#putVerdict(out);
  }

  /** One packet of the answer that is due. */
  #putNext(out: PacketWriter, answer: Answer): number {
    const qp = this.#qp;
    const { response } = answer;
    let put: number;
    if (response.ackBefore !== -1) {
      put = putAck(out, qp, response.ackBefore as Psn, response.msn - 1);
      if (put > 0) response.ackBefore = -1;
    } else if (response.kind === ResponseKind.READ) {
      put = putReadResponse(out, qp, answer);
      if (put > 0) this.#responses!.sent(answer);
    } else {
      put = putShortResponse(out, qp, response);
      if (put > 0) this.#responses!.sent(answer);
    }
    if (put > 0) this.#countSent(put, answer.span);
    return put;
  }

  /** a duplicate may come long after the requester had its answer, and after the key was rightly taken back. It ends nothing. */
  #passOverRead(): void {
    this.#responses!.giveUp();
    this.#core.counters.add(Counter.drop_duplicate_read);
  }

  /** The region went while its octets were being sent for the first time. */
  #loseRead({ response, next }: Answer): boolean {
    this.#responses = null;
    this.#ePsn = PsnMath.add(response.psn, next);
    this.#ackDue = false;
    this.#end(Aeth.NAK_REMOTE_ACCESS_ERROR, WcStatus.LOC_ACCESS_ERR, AsyncEvent.QP_ACCESS_ERR);
    return true;
  }

  /** The NAK or ACK behind all answers. False when there was no room. */
  #putVerdict(out: PacketWriter): boolean {
    if (this.#nak !== 0 || this.#ackDue) {
      const put =
        this.#nak === 0
          ? putAck(out, this.#qp, this.#ackPsn, this.#msn)
          : putAcknowledge(out, this.#qp, this.#ePsn, this.#nak, this.#msn);
      if (put === Put.FULL) return false;
      this.#nak = 0;
      this.#ackDue = false;
      this.#countSent(put);
    }
    // Also where nothing was due: no acknowledgement was asked for, or one left with an answer.
    this.owesReceipt = false;
    return true;
  }

  #countSent(bytes: number, span = 1): void {
    this.#core.counters.add(Counter.sent_pkts, span);
    this.#core.counters.add(Counter.sent_bytes, bytes);
  }
}

const isData = (flags: OpFlags): boolean => (flags & (Opcode.IS_SEND | Opcode.IS_WRITE)) !== 0;

/** Its payload may be placed with that of the packets behind it. R-092: not where a key is taken back once it is placed. */
const mayWait = (packet: ReceivedPacket, flags: OpFlags): boolean =>
  packet.isFollowed && (flags & Opcode.HAS_IETH) === 0;

/** Rights that a FLUSH needs, by its placement type. */
function flushAccess(view: DataView, fethAt: number): number {
  const placement = Feth.placement(view, fethAt);
  const global = (placement & Feth.GLOBAL_VISIBILITY) !== 0 ? Access.FLUSH_GLOBAL : 0;
  return global | ((placement & Feth.PERSISTENCE) !== 0 ? Access.FLUSH_PERSISTENT : 0);
}
