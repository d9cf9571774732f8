/** Sender of an RC QP: requester, completer and retry in one machine. IBA Vol. 1, §9.7; SPEC-CHECKLIST §2.2, §2.4. */
import * as Aeth from '../wire/aeth.ts';
import * as Bth from '../wire/bth.ts';
import * as Opcode from '../wire/opcode.ts';
import * as PsnMath from '../wire/psn.ts';
import type { Micros, OpFlags, Psn } from '../wire/types.ts';
import { ActiveSends } from './active-sends.ts';
import { AsyncEvent, QpState, SendFlag, WcStatus } from './constants.ts';
import type { EngineCore, Qp, Sender } from './core.ts';
import { Counter } from './counters.ts';
import type { RoomWaiter } from './in-flight.ts';
import { runLocalWork } from './local-work.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import * as Requests from './request-packets.ts';
import { placeResponse } from './response-placement.ts';
import { completeSend, flushSendQueue } from './send-completion.ts';
import { type SendWork, WorkKind } from './send-work.ts';
import type { Timer } from './timers.ts';

/** Verdict of one step of the transmit loop; positive values are octets sent. */
const Step = { BLOCKED: 0, FULL: -1 } as const;
/** Within a long message every so many packets ask for an acknowledgement: rxe does at 65. */
const ACK_REQUEST_PACKETS = 16;
/**
 * A longer READ becomes several requests, so that the window holds for what it brings too. The cuts are always in the same places, for a request that is
 * repeated must lie inside the original one. A multiple of every MTU.
 */
const READ_REQUEST_BYTES = 131_072;
/** So many repairs in a row that bring nothing but the next gap: the peer keeps nothing. */
const VAIN_REPAIRS = 3;
/** So often in a row the timer sends only the oldest packet again; then everything, and the window shrinks. */
const REPAIR_EXPIRIES = 2;
/** What a step without a packet counts for. */
const LOCAL_STEP_BYTES = 64;

export class RcSender implements Sender, Timer, RoomWaiter {
  deadline: Micros = Number.POSITIVE_INFINITY;
  slot = -1;
  readonly #qp: Qp;
  readonly #core: EngineCore;
  #active: ActiveSends | null = null;
  /** Slot of the send ring that is taken next, and the one that the application gets back next. */
  #fetchIndex = 0;
  #hasStarted = false;
  /** nothing is sent until the timer ends the wait. */
  #isWaitingRnr = false;
  /** a gap in responses was acted upon; others are passed over until the expected one comes. */
  #awaitsExpected = false;
  #drainReported = false;
  /** The peer is taken to keep what comes early, so that only what is missing need be sent again, until it shows otherwise. */
  #peerHolds = true;
  /** The oldest packet is to be sent again, alone. */
  #repairDue = false;
  /** PSN that was repaired and waits for its answer, and the last that asked for an acknowledgement; -1 for none. */
  #repairedPsn = -1;
  /** Repairs in a row that brought nothing but their own acknowledgement. */
  #vainRepairs = 0;
  #askedPsn = -1;
  /** What the vRNIC was told of what is in flight (rnic/in-flight.ts). */
  #weight = 0;
  #waitsForRoom = false;

  constructor(qp: Qp, core: EngineCore) {
    this.#qp = qp;
    this.#core = core;
  }

  // ── Input ──

  handleDoorbell(_now: Micros): void {
    if (this.#qp.state === QpState.ERR) this.flush(WcStatus.SUCCESS);
    else this.#core.schedule(this.#qp);
  }

  stateChanged(now: Micros): void {
    const qp = this.#qp;
    if (qp.state === QpState.RTS) {
      this.#hasStarted = true;
      this.#drainReported = false;
      this.#core.schedule(qp);
    } else if (qp.state === QpState.SQD) this.#reportDrained();
    if (this.#active !== null && this.#active.window.outstanding !== 0 && this.deadline === Number.POSITIVE_INFINITY) {
      this.#arm(this.#active, now);
    }
  }

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    const active = this.#active;
    const opcode = Bth.opcode(packet.view, packet.bthAt);
    if (opcode === Opcode.ROCE_CNP) {
      this.#handleCnp(now);
      return;
    }
    const psn = Bth.psn(packet.view, packet.bthAt);
    // what answers nothing outstanding is passed over, NAKs too.
    if (active === null || ((psn - active.window.una) & PsnMath.MASK) >= active.window.outstanding) {
      this.#core.counters.add(Counter.drop_response);
      return;
    }
    const before = active.window.una;
    const flags = Opcode.flags(opcode);
    if ((flags & Opcode.IS_ACK) !== 0) this.#handleAcknowledge(active, packet, psn, now);
    else this.#handleResponse(active, packet, flags, psn, now);
    if (active.window.una !== before) this.#progressed(active, before, now);
    this.#weigh();
  }

  handleTimeout(now: Micros): void {
    this.#handleTimeout(now);
    this.#weigh();
  }

  #handleTimeout(now: Micros): void {
    const active = this.#active;
    if (active === null || active.window.outstanding === 0) return;
    if (this.#isWaitingRnr) {
      this.#isWaitingRnr = false;
      active.recovery.start(now);
      this.#goBack(active, now);
      return;
    }
    this.#core.counters.add(Counter.local_ack_timeout_err);
    if (!active.recovery.expired(this.#qp, this.#core.config.strictTimers, now)) {
      this.#giveUp(WcStatus.RETRY_EXC_ERR, Counter.retry_exceeded_err);
      return;
    }
    this.#awaitsExpected = false;
    if (active.recovery.expiries <= REPAIR_EXPIRIES && this.#startRepair(active, now)) return;
    active.congestion.handleTimeout(now);
    this.#goBack(active, now);
  }

  reset(): void {
    this.#core.timers.remove(this);
    this.#active = null;
    this.#fetchIndex = this.#qp.sq.consumer();
    this.#hasStarted = false;
    this.#isWaitingRnr = false;
    this.#awaitsExpected = false;
    this.#drainReported = false;
    this.#peerHolds = true;
    this.#repairDue = false;
    this.#repairedPsn = -1;
    this.#vainRepairs = 0;
    this.#askedPsn = -1;
    this.#weigh();
  }

  flush(status: WcStatus): void {
    const window = this.#active?.window ?? null;
    this.#core.timers.remove(this);
    let next = status === WcStatus.SUCCESS ? WcStatus.WR_FLUSH_ERR : status;
    while (window !== null && window.count > 0) {
      completeSend(this.#qp, this.#core, window.oldest()!, next);
      window.pop();
      next = WcStatus.WR_FLUSH_ERR;
    }
    this.#active = null;
    this.#isWaitingRnr = false;
    this.#repairDue = false;
    this.#fetchIndex = flushSendQueue(this.#qp, this.#core, this.#fetchIndex, next);
    this.#weigh();
  }

  // ── Transmit ──

  pollTransmit(out: PacketWriter, now: Micros, quantumBytes: number): boolean {
    let budget = quantumBytes;
    let step: number = Step.FULL;
    while (budget > 0) {
      step = this.#step(out, now);
      if (step <= 0) break;
      budget -= step;
    }
    this.#weigh();
    return step !== Step.BLOCKED;
  }

  /** Tells the vRNIC what has changed of what is in flight. */
  #weigh(): void {
    const { inFlight } = this.#core;
    const window = this.#active?.window ?? null;
    const weight = window === null ? 0 : inFlight.weigh(window.inFlightBytes, window.ahead);
    if (weight === this.#weight) return;
    inFlight.change(weight - this.#weight);
    this.#weight = weight;
  }

  /** The peer's buffer is full of other QPs' packets: in line, once. */
  #waitForRoom(): number {
    if (!this.#waitsForRoom) this.#core.inFlight.wait(this);
    this.#waitsForRoom = true;
    return Step.BLOCKED;
  }

  handleRoom(): void {
    this.#waitsForRoom = false;
    this.#core.schedule(this.#qp);
  }

  /** One packet, or one piece of local work. */
  #step(out: PacketWriter, now: Micros): number {
    const { state } = this.#qp;
    if (this.#isWaitingRnr || !this.#hasStarted) return Step.BLOCKED;
    if (state !== QpState.RTS && state !== QpState.SQD) return Step.BLOCKED;
    if (this.#repairDue) return this.#repair(this.#active!, out, now);
    const work = this.#active?.window.current() ?? this.#fetch();
    if (work === null) return Step.BLOCKED;
    const active = this.#active!;
    if (work.status !== WcStatus.SUCCESS) {
      this.#endBadWork(active, work);
      return Step.BLOCKED;
    }
    if (work.kind === WorkKind.LOCAL) return this.#runLocal(active, work);
    if (!work.isStarted && !this.#start(active, work)) return Step.BLOCKED;
    return this.#transmit(active, work, out, now);
  }

  /** Takes the next WQE: the copy is all that is looked at from here on. */
  #fetch(): SendWork | null {
    const qp = this.#qp;
    if (qp.state !== QpState.RTS || this.#fetchIndex === qp.sq.producer()) return null;
    this.#active ??= new ActiveSends(qp.sqPsn as Psn, qp.pathMtuBytes);
    const { window } = this.#active;
    if (window.count === qp.sq.mask) return null;
    const work = window.add();
    work.load(qp, this.#fetchIndex);
    this.#fetchIndex = qp.sq.next(this.#fetchIndex);
    return work;
  }

  /** True when a wire work request begins now. What it waits for is over, or it stays where it is. */
  #start(active: ActiveSends, work: SendWork): boolean {
    const { window } = active;
    const qp = this.#qp;
    if (qp.state !== QpState.RTS) return false;
    if ((work.flags & SendFlag.FENCE) !== 0 && window.responsesDue > 0) return false;
    if (work.awaitsResponse && qp.maxRdAtomic === 0) work.status = WcStatus.LOC_QP_OP_ERR;
    const spansData = work.kind === WorkKind.SEGMENTS || work.kind === WorkKind.READ;
    const packets = spansData ? Requests.packetsFor(work.length, qp.pathMtuBytes) : 1;
    // A long message is refused before its first packet leaves if any of its keys is wrong.
    const isLongSource = work.kind === WorkKind.SEGMENTS && packets > 1 && !work.isInline;
    if (isLongSource && !work.sges.check(this.#core.regions, qp.pd, 0)) work.status = WcStatus.LOC_PROT_ERR;
    if (work.status !== WcStatus.SUCCESS) return this.#endBadWork(active, work);
    window.start(work, packets);
    return true;
  }

  /** A work request that cannot be done ends the QP, but only after those before it have ended well. */
  #endBadWork(active: ActiveSends, work: SendWork): false {
    if (active.window.oldest() === work) {
      const isKey = work.status === WcStatus.LOC_PROT_ERR;
      this.#core.counters.add(isKey ? Counter.wqe_protection : Counter.wqe_invalid);
      this.#core.fail(this.#qp, work.status, -1);
    }
    return false;
  }

  /** Local work waits for all work before it, is done at once and completes at once. */
  #runLocal(active: ActiveSends, work: SendWork): number {
    const { window } = active;
    if (this.#qp.state !== QpState.RTS || window.oldest() !== work) return Step.BLOCKED;
    work.status = runLocalWork(this.#qp, this.#core, work);
    if (work.status !== WcStatus.SUCCESS) {
      this.#endBadWork(active, work);
      return Step.BLOCKED;
    }
    window.pop();
    completeSend(this.#qp, this.#core, work, WcStatus.SUCCESS);
    return LOCAL_STEP_BYTES;
  }

  #transmit(active: ActiveSends, work: SendWork, out: PacketWriter, now: Micros): number {
    const { window, congestion } = active;
    if (!congestion.admits(window.inFlightBytes)) return Step.BLOCKED;
    if (!this.#core.inFlight.hasRoom) return this.#waitForRoom();
    const psn = window.cursor;
    const index = window.indexOf(work, psn);
    const readBytes = work.kind === WorkKind.READ ? this.#readBytes(active, work, index) : 0;
    if (work.awaitsResponse && (window.responsesDue >= this.#qp.maxRdAtomic || readBytes < 0)) return Step.BLOCKED;
    const put = this.#put(active, work, index, readBytes, psn, out);
    if (put === Requests.Put.FULL) return Step.FULL;
    if (put === Requests.Put.PROTECTION) {
      work.status = WcStatus.LOC_PROT_ERR;
      this.#endBadWork(active, work);
      return Step.BLOCKED;
    }
    const { counters } = this.#core;
    counters.add(Counter.sent_pkts);
    counters.add(Counter.sent_bytes, put);
    if (window.isResending) counters.add(Counter.retransmitted_pkts);
    // What is sent behind a gap is answered when the gap closes: no measure of the path.
    else if (this.#repairedPsn === -1) active.recovery.sent(psn, now);
    window.sent(work, work.kind === WorkKind.READ ? Requests.packetsFor(readBytes, this.#qp.pathMtuBytes) : 1);
    if (work.awaitsResponse) window.responsesDue++;
    if (this.deadline === Number.POSITIVE_INFINITY) {
      active.recovery.start(now);
      this.#arm(active, now);
    }
    return put;
  }

  #put(active: ActiveSends, work: SendWork, index: number, readBytes: number, psn: Psn, out: PacketWriter): number {
    const qp = this.#qp;
    switch (work.kind) {
      case WorkKind.READ:
        return Requests.putRead(out, qp, work, index * qp.pathMtuBytes, readBytes, psn);
      case WorkKind.ATOMIC:
        return Requests.putAtomic(out, qp, work, psn);
      case WorkKind.ATOMIC_WRITE:
        return Requests.putAtomicWrite(out, qp, work, psn);
      case WorkKind.FLUSH:
        return Requests.putFlush(out, qp, work, psn);
      default: {
        const ackRequest = this.#asksForAck(active, work, index);
        if (ackRequest) this.#askedPsn = psn;
        return Requests.putSegment(out, qp, this.#core, Opcode.RC, work, index, ackRequest, psn);
      }
    }
  }

  /** at the end of each message, every so often inside, and where the window closes on packets none of which has asked. */
  #asksForAck(active: ActiveSends, work: SendWork, index: number): boolean {
    const { window, congestion } = active;
    if (index === work.packets - 1 || index % ACK_REQUEST_PACKETS === ACK_REQUEST_PACKETS - 1) return true;
    if (congestion.admits(window.inFlightBytes + window.cost(work, index, 1))) return false;
    return this.#askedPsn === -1 || PsnMath.difference(this.#askedPsn as Psn, window.una) < 0;
  }

  /** How much a READ asks for now: up to the next cut. −1: nothing until there is room in the window. */
  #readBytes(active: ActiveSends, work: SendWork, index: number): number {
    const offset = index * this.#qp.pathMtuBytes;
    const toCut = READ_REQUEST_BYTES - (offset % READ_REQUEST_BYTES);
    const bytes = Math.min(work.length - offset, toCut);
    const { inFlightBytes } = active.window;
    return inFlightBytes === 0 || active.congestion.admits(inFlightBytes + bytes) ? bytes : -1;
  }

  // ── Acknowledgements ──

  #handleAcknowledge(active: ActiveSends, packet: ReceivedPacket, psn: Psn, now: Micros): void {
    const syndrome = Aeth.syndrome(packet.view, packet.bthAt + Bth.BYTES);
    if (Aeth.isAck(syndrome)) {
      // an acknowledgement beyond a response that has not come says that it is lost. R-045: one inside it says nothing.
      if (!this.#acknowledge(active, psn, now) && this.#isBeyondOldest(active, psn)) this.#impliedNak(active, now);
      else if (this.#repairedPsn !== -1) this.#judgeRepair(active, psn, now);
    } else if (Aeth.isRnrNak(syndrome)) this.#handleRnr(active, psn, syndrome, now);
    else if (Aeth.isNak(syndrome)) this.#handleNak(active, psn, syndrome, now);
    else this.#core.counters.add(Counter.drop_response);
  }

  /** acknowledges all up to and including `psn`. False when a response that has not come stands before it. */
  #acknowledge(active: ActiveSends, psn: Psn, now: Micros): boolean {
    const { window } = active;
    let isClear = true;
    const before = window.una;
    while (PsnMath.difference(psn, window.una) >= 0) {
      const work = window.oldest();
      // Null: a completion found its CQ dead, and all that was left is flushed.
      if (work === null) return true;
      isClear = !work.awaitsResponse;
      if (!isClear) break;
      const left = work.packets - window.indexOf(work, window.una);
      const packets = Math.min(left, PsnMath.difference(psn, window.una) + 1);
      if (window.acknowledge(work, packets)) this.#complete(active, work);
    }
    if (window.una !== before) this.#moved(active, now);
    return isClear;
  }

  /** The oldest PSN moved on: what it waited for, if anything, has come. */
  #moved(active: ActiveSends, now: Micros): void {
    this.#isWaitingRnr = false;
    this.#repairDue = false;
    active.recovery.progressed(active.window.una, now);
  }

  #complete(active: ActiveSends, work: SendWork): void {
    active.window.pop();
    completeSend(this.#qp, this.#core, work, WcStatus.SUCCESS);
  }

  #isBeyondOldest(active: ActiveSends, psn: Psn): boolean {
    const work = active.window.oldest()!;
    return PsnMath.difference(psn, work.firstPsn) >= work.packets;
  }

  #handleNak(active: ActiveSends, psn: Psn, syndrome: number, now: Micros): void {
    this.#acknowledge(active, PsnMath.add(psn, -1), now);
    if (syndrome === Aeth.NAK_PSN_SEQUENCE_ERROR) this.#handleSequenceNak(active, psn, now);
    // responses before the refused request were lost on the way; it is asked for again in its turn.
    else if (active.window.una !== psn) this.#impliedNak(active, now);
    else this.#handleFatalNak(syndrome);
  }

  #handleSequenceNak(active: ActiveSends, psn: Psn, now: Micros): void {
    this.#core.counters.add(Counter.rcvd_seq_err);
    // rxe sends one for what follows an RNR NAK; the wait stands.
    if (this.#isWaitingRnr || active.recovery.isRepeated(active.window.una, now)) return;
    this.#awaitsExpected = false;
    this.#retry(active, psn, now);
  }

  /** */
  #handleFatalNak(syndrome: number): void {
    const { counters } = this.#core;
    switch (syndrome) {
      case Aeth.NAK_INVALID_REQUEST:
        counters.add(Counter.req_remote_invalid_request);
        this.#core.fail(this.#qp, WcStatus.REM_INV_REQ_ERR, -1);
        break;
      case Aeth.NAK_REMOTE_ACCESS_ERROR:
        counters.add(Counter.req_remote_access_errors);
        this.#core.fail(this.#qp, WcStatus.REM_ACCESS_ERR, -1);
        break;
      case Aeth.NAK_REMOTE_OPERATIONAL_ERROR:
        counters.add(Counter.req_remote_operational_errors);
        this.#core.fail(this.#qp, WcStatus.REM_OP_ERR, -1);
        break;
      default:
        counters.add(Counter.drop_response);
    }
  }

  /** R-107 … R-109. */
  #handleRnr(active: ActiveSends, psn: Psn, syndrome: number, now: Micros): void {
    this.#core.counters.add(Counter.rcvd_rnr_err);
    this.#acknowledge(active, PsnMath.add(psn, -1), now);
    if (active.window.una !== psn) {
      this.#impliedNak(active, now);
      return;
    }
    if (this.#isWaitingRnr) return;
    if (!active.recovery.mayWait(this.#qp)) {
      this.#giveUp(WcStatus.RNR_RETRY_EXC_ERR, Counter.retry_rnr_exceeded_err);
      return;
    }
    this.#isWaitingRnr = true;
    this.#core.timers.arm(this, now + Aeth.rnrMicros(Aeth.code(syndrome)));
  }

  /** R-042 … R-044: a response is missing. It is asked for again at once, and once. */
  #impliedNak(active: ActiveSends, now: Micros): void {
    if (this.#awaitsExpected || this.#isWaitingRnr) return;
    this.#awaitsExpected = true;
    this.#core.counters.add(Counter.implied_nak_seq_err);
    this.#retry(active, active.window.una, now);
  }

  /** going back without progress since the last time counts. */
  #retry(active: ActiveSends, psn: Psn, now: Micros): void {
    if (!active.recovery.mayRetry(this.#qp, psn)) {
      this.#giveUp(WcStatus.RETRY_EXC_ERR, Counter.retry_exceeded_err);
      return;
    }
    active.recovery.lost(now);
    const isRepair = this.#startRepair(active, now);
    // Where nothing waits on the way, a loss is chance, and a repair costs little; going back costs all that is in flight.
    if (!isRepair || active.recovery.isQueueing) active.congestion.handleLoss(now, active.recovery.smoothed);
    if (!isRepair) this.#goBack(active, now);
  }

  /** Only the oldest packet is sent again, when the peer keeps the others. False when that cannot be. */
  #startRepair(active: ActiveSends, now: Micros): boolean {
    const { window, repair } = active;
    if (!this.#peerHolds || !window.skipToHigh()) return false;
    repair.start(window.una, window.high);
    this.#repairDue = true;
    this.#repairedPsn = window.una;
    active.recovery.wentBack(window.una, now);
    this.#arm(active, now);
    this.#core.schedule(this.#qp);
    return true;
  }

  /**
   * A peer that keeps early packets acknowledges more than the one that was repaired; one that does not needs the rest again, at once. What was sent before the
   * repair and is still not acknowledged is missing too.
   */
  #judgeRepair(active: ActiveSends, psn: Psn, now: Micros): void {
    const { window, repair } = active;
    if (this.#active !== active) return;
    const isMoreMissing = window.outstanding > 0 && PsnMath.difference(repair.high, window.una) > 0;
    const isVain = psn === this.#repairedPsn && isMoreMissing;
    this.#repairedPsn = -1;
    this.#vainRepairs = isVain ? this.#vainRepairs + 1 : 0;
    if (isVain) {
      if (this.#vainRepairs === VAIN_REPAIRS) this.#peerHolds = false;
      this.#goBack(active, now);
    } else if (isMoreMissing) this.#retry(active, window.una, now);
  }

  #repair(active: ActiveSends, out: PacketWriter, now: Micros): number {
    const { window, repair } = active;
    const work = window.oldest()!;
    const { una } = window;
    const put = Requests.putSegment(out, this.#qp, this.#core, Opcode.RC, work, window.indexOf(work, una), true, una);
    if (put === Requests.Put.FULL) return Step.FULL;
    this.#repairDue = --repair.copies > 0;
    if (put === Requests.Put.PROTECTION) {
      this.#repairDue = false;
      work.status = WcStatus.LOC_PROT_ERR;
      this.#endBadWork(active, work);
      return Step.BLOCKED;
    }
    if (repair.isFirst) active.recovery.sent(una, now);
    const { counters } = this.#core;
    counters.add(Counter.sent_pkts);
    counters.add(Counter.sent_bytes, put);
    counters.add(Counter.retransmitted_pkts);
    return put;
  }

  #giveUp(status: WcStatus, counter: number): void {
    this.#core.counters.add(counter);
    this.#core.fail(this.#qp, status, -1);
  }

  #goBack(active: ActiveSends, now: Micros): void {
    this.#core.counters.add(Counter.completer_retry_err);
    active.window.goBack();
    this.#repairDue = false;
    this.#repairedPsn = -1;
    this.#askedPsn = -1;
    active.recovery.wentBack(active.window.una, now);
    this.#arm(active, now);
    this.#core.schedule(this.#qp);
  }

  // ── READ responses, atomic acknowledgements ──

  #handleResponse(active: ActiveSends, packet: ReceivedPacket, flags: OpFlags, psn: Psn, now: Micros): void {
    const { window } = active;
    if (psn !== window.una && !this.#acknowledge(active, PsnMath.add(psn, -1), now)) {
      this.#impliedNak(active, now);
      return;
    }
    const work = window.oldest();
    if (work === null) return;
    this.#awaitsExpected = false;
    const index = window.indexOf(work, psn);
    const status = placeResponse(this.#qp, this.#core, work, index, packet, flags);
    if (status !== WcStatus.SUCCESS) {
      this.#core.fail(this.#qp, status, -1);
      return;
    }
    if ((flags & Opcode.ENDS) !== 0 && window.responsesDue > 0) window.responsesDue--;
    const isWhole = window.acknowledge(work, 1);
    this.#moved(active, now);
    if (isWhole) this.#complete(active, work);
  }

  // ── After progress ──

  #progressed(active: ActiveSends, before: Psn, now: Micros): void {
    if (this.#active !== active) return;
    const { window } = active;
    const packets = PsnMath.difference(window.una, before);
    active.congestion.handleProgress(packets * this.#qp.pathMtuBytes);
    if (window.outstanding === 0) this.#core.timers.disarm(this);
    else this.#arm(active, now);
    this.#reportDrained();
    this.#core.schedule(this.#qp);
  }

  #arm(active: ActiveSends, now: Micros): void {
    if (this.#isWaitingRnr) return;
    const { recovery } = active;
    const isRepair = this.#peerHolds && recovery.expiries < REPAIR_EXPIRIES;
    const deadline = recovery.deadline(this.#qp, this.#core.config.strictTimers, isRepair, now);
    if (deadline === Number.POSITIVE_INFINITY) this.#core.timers.disarm(this);
    else this.#core.timers.arm(this, deadline);
  }

  #handleCnp(now: Micros): void {
    this.#core.counters.add(Counter.rp_cnp_handled);
    this.#active?.congestion.handleCnp(now);
  }

  /** */
  #reportDrained(): void {
    if (this.#qp.state !== QpState.SQD || this.#drainReported) return;
    const oldest = this.#active?.window.oldest() ?? null;
    if (oldest?.isStarted) return;
    this.#drainReported = true;
    if (this.#qp.sqdAsyncNotify) this.#core.raise(this.#qp, AsyncEvent.SQ_DRAINED);
  }
}
