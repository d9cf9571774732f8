/** Sender of an RC QP: requester, completer and retry in one machine. IBA Vol. 1, §9.7; SPEC-CHECKLIST §2.2, §2.4. */
import * as Aeth from '../wire/aeth.ts';
import * as Bth from '../wire/bth.ts';
import * as Opcode from '../wire/opcode.ts';
import * as PsnMath from '../wire/psn.ts';
import type { Micros, OpFlags, Psn } from '../wire/types.ts';
import { ActiveSends, type TimeoutHandler } from './active-sends.ts';
import { type Awaited, EARLY_PACKETS } from './awaited-responses.ts';
import { AsyncEvent, QpState, SendFlag, WcStatus } from './constants.ts';
import type { EngineCore, Qp, Sender } from './core.ts';
import { Counter } from './counters.ts';
import { endByNak } from './fatal-nak.ts';
import { InFlightShare, type RoomWaiter } from './in-flight.ts';
import { runLocalWork } from './local-work.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import * as Requests from './request-packets.ts';
import { placeResponse } from './response-placement.ts';
import { completeSend, flushSendQueue } from './send-completion.ts';
import { type SendWork, WorkKind } from './send-work.ts';
import { spanOf } from './span.ts';

/** Verdict of one step of the transmit loop; positive values are octets sent. */
const Step = { BLOCKED: 0, FULL: -1 } as const;
/** So often in a row the timer sends only the oldest packet again; then everything, and the window shrinks. */
const REPAIR_EXPIRIES = 2;
/** What a packet that is not full counts for at least: the peer begins with the first of many small ones while the rest are laid out. */
const STEP_BYTES_MIN = 4096;
/** What a step without a packet counts for. */
const LOCAL_STEP_BYTES = 64;

export class RcSender implements Sender, TimeoutHandler, RoomWaiter {
  readonly #qp: Qp;
  readonly #core: EngineCore;
  #active: ActiveSends | null = null;
  #hasStarted = false;
  #drainReported = false;
  /** Made with the first `ActiveSends`, and kept: it may stand in line. */
  #share: InFlightShare | null = null;

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
    const active = this.#active;
    if (active !== null && active.window.outstanding !== 0 && !active.isArmed) this.#arm(active, now);
  }

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    const active = this.#active;
    const opcode = Bth.opcode(packet.view, packet.bthAt);
    if (opcode === Opcode.ROCE_CNP) {
      this.#core.counters.add(Counter.rp_cnp_handled);
      active?.congestion.handleCnp(now);
      return;
    }
    const psn = Bth.psn(packet.view, packet.bthAt);
    // what answers nothing outstanding is passed over, NAKs too.
    if (active === null || ((psn - active.window.una) & PsnMath.MASK) >= active.window.outstanding) {
      this.#core.counters.add(Counter.drop_response);
      return;
    }
    const before = active.window.una;
    const { executed } = active.window;
    const { early } = active.awaited;
    const flags = Opcode.flags(opcode);
    if ((flags & Opcode.IS_ACK) !== 0) this.#handleAcknowledge(active, packet, psn, now);
    else this.#handleResponse(active, packet, flags, psn, now);
    const isNew = active.window.executed !== executed || active.awaited.early !== early;
    if (isNew || active.window.una !== before) this.#progressed(active, before, now);
    this.#weigh();
  }

  handleTimeout(now: Micros): void {
    this.#handleTimeout(now);
    this.#weigh();
  }

  #handleTimeout(now: Micros): void {
    const active = this.#active;
    if (active === null || active.window.outstanding === 0) return;
    if (active.isWaitingRnr) {
      active.isWaitingRnr = false;
      active.recovery.start(now);
      this.#goBack(active, now);
      return;
    }
    // What has left has asked for nothing, and the rest of it waits for a rate limit: the peer owes no answer.
    if (active.isHeld && !active.hasAsked && active.awaited.count === 0) {
      active.recovery.start(now);
      this.#arm(active, now);
      return;
    }
    this.#core.counters.add(Counter.local_ack_timeout_err);
    if (!active.recovery.expired(this.#qp, this.#core.config.strictTimers, now)) {
      this.#giveUp(WcStatus.RETRY_EXC_ERR, Counter.retry_exceeded_err);
      return;
    }
    if (active.recovery.expiries <= REPAIR_EXPIRIES && this.#askForOldest(active, now)) return;
    active.congestion.handleTimeout(now);
    this.#goBack(active, now);
  }

  reset(): void {
    if (this.#active !== null) this.#core.timers.remove(this.#active);
    this.#active = null;
    this.#qp.sq.restart(this.#qp.sq.consumer());
    this.#hasStarted = false;
    this.#drainReported = false;
    this.#weigh();
  }

  flush(status: WcStatus): void {
    const window = this.#active?.window ?? null;
    if (this.#active !== null) this.#core.timers.remove(this.#active);
    let next = status === WcStatus.SUCCESS ? WcStatus.WR_FLUSH_ERR : status;
    while (window !== null && window.count > 0) {
      completeSend(this.#qp, this.#core, window.oldest()!, next);
      window.pop();
      next = WcStatus.WR_FLUSH_ERR;
    }
    this.#active = null;
    flushSendQueue(this.#qp, this.#core, next);
    this.#weigh();
  }

  // ── Transmit ──

  pollTransmit(out: PacketWriter, now: Micros, quantumBytes: number): boolean {
    const { pathMtuBytes } = this.#qp;
    let budget = quantumBytes;
    let step: number;
    do {
      out.turnLeft = budget;
      step = this.#step(out, now);
      if (step <= 0) break;
      budget -= step > pathMtuBytes ? step : Math.max(step, STEP_BYTES_MIN);
    } while (budget > 0 || (step > pathMtuBytes && out.isOpen));
    this.#share?.endTurn();
    this.#weigh();
    return step !== Step.BLOCKED;
  }

  /** Tells the vRNIC what has changed of what is in flight. */
  #weigh(): void {
    const window = this.#active?.window ?? null;
    this.#share?.set(this.#core.inFlight, window?.inFlightBytes ?? 0, window?.ahead ?? 0);
  }

  handleRoom(): void {
    this.#share!.leaveLine();
    this.#core.schedule(this.#qp);
  }

  /** One packet, or one piece of local work. */
  #step(out: PacketWriter, now: Micros): number {
    const { state } = this.#qp;
    if (!this.#hasStarted || this.#active?.isWaitingRnr) return Step.BLOCKED;
    if (state !== QpState.RTS && state !== QpState.SQD) return Step.BLOCKED;
    const due = this.#active?.awaited.due() ?? null;
    if (due !== null) return this.#askAgain(this.#active!, due, out, now);
    if (this.#active !== null && this.#active.repair.copies > 0) return this.#repair(this.#active, out, now);
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
    if (qp.state !== QpState.RTS || !qp.sq.hasPosted()) return null;
    const { window } = this.#active ?? this.#begin();
    if (window.count === qp.sq.mask) return null;
    const work = window.add();
    work.load(qp, qp.sq.slot);
    qp.sq.take();
    return work;
  }

  /** What only a QP that works has. */
  #begin(): ActiveSends {
    this.#share ??= new InFlightShare();
    this.#active = new ActiveSends(this, this.#qp.sqPsn as Psn, this.#qp.pathMtuBytes);
    return this.#active;
  }

  /** True when a wire work request begins now. What it waits for is over, or it stays where it is. */
  #start(active: ActiveSends, work: SendWork): boolean {
    const { window, awaited } = active;
    const qp = this.#qp;
    if (qp.state !== QpState.RTS) return false;
    if ((work.flags & SendFlag.FENCE) !== 0 && awaited.count > 0) return false;
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
    if (window.isResending && active.skip(work)) return LOCAL_STEP_BYTES;
    if (!congestion.admits(active.underWay)) return Step.BLOCKED;
    const { inFlight } = this.#core;
    if (!this.#share!.mayGo(inFlight, this, window.isResending)) return Step.BLOCKED;
    if (work.awaitsResponse) return this.#request(active, work, out, now);
    const psn = window.cursor;
    const index = window.indexOf(work, psn);
    out.turnLeft = Math.min(out.turnLeft, congestion.bytes - active.underWay);
    const span = active.span(work, index, this.#qp.path!, out);
    const ackRequest = active.asksForAck(work, index, span);
    const put = Requests.putSegment(out, this.#qp, this.#core, Opcode.RC, work, index, ackRequest, psn, span);
    active.isHeld = put === Requests.Put.FULL && out.isPaced;
    if (put === Requests.Put.FULL) return Step.FULL;
    if (put === Requests.Put.PROTECTION) return this.#refuseSource(active, work);
    if (ackRequest) window.asked = PsnMath.add(psn, span - 1);
    this.#countSent(put, window.isResending, span);
    // What is sent behind a gap is answered when the gap closes: no measure of the path.
    const isMeasure = !window.isResending && active.repair.psn === -1 && active.awaited.early === 0;
    if (isMeasure) active.recovery.sent(psn, now, inFlight.isLow);
    window.sent(work, span);
    this.#armFirst(active, now);
    return put;
  }

  /** The request at the cursor, one that has a response of its own. */
  #request(active: ActiveSends, work: SendWork, out: PacketWriter, now: Micros): number {
    const { window, awaited } = active;
    const psn = window.cursor;
    if (window.isResending) {
      const request = awaited.find(psn)!;
      const put = this.#askAgain(active, request, out, now);
      if (put > 0) window.sent(work, PsnMath.difference(request.end, psn));
      return put;
    }
    const index = window.indexOf(work, psn);
    const packets = active.nextRequest(work, index, this.#qp.maxRdAtomic, now);
    if (awaited.count >= this.#qp.maxRdAtomic || window.ahead + packets > EARLY_PACKETS) return Step.BLOCKED;
    const bytes = window.cost(work, index, packets);
    const underWay = active.underWay;
    if (underWay > 0 && !active.congestion.admits(underWay + bytes)) return Step.BLOCKED;
    const put = Requests.putAwaited(out, this.#qp, work, index, packets, psn);
    if (put === Requests.Put.FULL) return Step.FULL;
    this.#countSent(put, false);
    awaited.add(work, psn, packets, now);
    window.sent(work, packets);
    this.#armFirst(active, now);
    return put;
  }

  /** What an answer did not bring, from its first packet to its last. */
  #askAgain(active: ActiveSends, request: Awaited, out: PacketWriter, now: Micros): number {
    const { window, awaited } = active;
    const work = request.work!;
    const from = awaited.firstMissing(request, window.una);
    const to = awaited.missingEnd(request);
    const packets = PsnMath.difference(to, from);
    const put = Requests.putAwaited(out, this.#qp, work, window.indexOf(work, from), packets, from);
    if (put === Requests.Put.FULL) return Step.FULL;
    this.#countSent(put, true);
    awaited.askedAgain(request, from, to, now);
    if (active.repair.peerHolds && PsnMath.difference(request.psn, window.executed) > 0) awaited.keepBehind(request);
    this.#armFirst(active, now);
    return put;
  }

  #countSent(bytes: number, isAgain: boolean, span = 1): void {
    const { counters } = this.#core;
    counters.add(Counter.sent_pkts, span);
    counters.add(Counter.sent_bytes, bytes);
    if (isAgain) counters.add(Counter.retransmitted_pkts);
  }

  #armFirst(active: ActiveSends, now: Micros): void {
    if (active.isArmed) return;
    active.recovery.start(now);
    this.#arm(active, now);
  }

  #refuseSource(active: ActiveSends, work: SendWork): number {
    work.status = WcStatus.LOC_PROT_ERR;
    this.#endBadWork(active, work);
    return Step.BLOCKED;
  }

  // ── Acknowledgements ──

  #handleAcknowledge(active: ActiveSends, packet: ReceivedPacket, psn: Psn, now: Micros): void {
    const syndrome = Aeth.syndrome(packet.view, packet.bthAt + Bth.BYTES);
    if (Aeth.isAck(syndrome)) {
      // one inside a READ's responses says nothing of them.
      const inside = active.awaited.find(psn);
      this.#executed(active, inside === null ? psn : PsnMath.add(inside.psn, -1), now);
      if (this.#active !== active) return;
      // an acknowledgement beyond a response that has not come says that it is lost.
      if (active.awaited.loseBefore(psn, active.recovery.answeredBy(now))) this.#impliedNak(active, now);
      if (active.repair.psn !== -1) this.#judgeRepair(active, psn, now);
    } else if (Aeth.isRnrNak(syndrome)) this.#handleRnr(active, psn, syndrome, now);
    else if (Aeth.isNak(syndrome)) this.#handleNak(active, psn, syndrome, now);
    else this.#core.counters.add(Counter.drop_response);
  }

  /** all up to and including `psn` was executed. What waits for no response of its own is complete, in its turn. */
  #executed(active: ActiveSends, psn: Psn, now: Micros): void {
    active.window.learn(psn);
    this.#advance(active, now);
  }

  /** Moves `una` over what is executed and answered. */
  #advance(active: ActiveSends, now: Micros): void {
    const { window, awaited } = active;
    const before = window.una;
    while (window.outstanding > 0) {
      const work = window.oldest();
      // A completion found its CQ dead, and all that was left is flushed.
      if (work === null) return;
      const answered = work.awaitsResponse && awaited.passes(window.una) ? 1 : 0;
      const packets = work.awaitsResponse ? answered : window.executedFrom(work, window.una);
      if (packets <= 0) break;
      if (window.acknowledge(work, packets)) this.#complete(active, work);
    }
    if (window.una !== before) this.#moved(active, now);
  }

  /** The oldest PSN moved on: what it waited for, if anything, has come. */
  #moved(active: ActiveSends, now: Micros): void {
    active.isWaitingRnr = false;
    this.#core.inFlight.measured(active.recovery.progressed(active.window.una, now));
  }

  #complete(active: ActiveSends, work: SendWork): void {
    active.window.pop();
    completeSend(this.#qp, this.#core, work, WcStatus.SUCCESS);
  }

  #handleNak(active: ActiveSends, psn: Psn, syndrome: number, now: Micros): void {
    this.#executed(active, PsnMath.add(psn, -1), now);
    if (this.#active !== active) return;
    if (syndrome === Aeth.NAK_PSN_SEQUENCE_ERROR) this.#handleSequenceNak(active, psn, now);
    // responses before the refused request were lost on the way; it is asked for again in its turn.
    else if (active.window.una !== psn) this.#retry(active, active.window.una, false, now);
    else endByNak(this.#qp, this.#core, syndrome);
  }

  #handleSequenceNak(active: ActiveSends, psn: Psn, now: Micros): void {
    this.#core.counters.add(Counter.rcvd_seq_err);
    // rxe sends one for what follows an RNR NAK; the wait stands.
    const isOld = PsnMath.difference(psn, active.window.executed) <= 0;
    if (isOld || active.isWaitingRnr || active.recovery.isRepeated(psn, now)) return;
    active.repair.answered(psn);
    active.awaited.loseBefore(psn, active.recovery.answeredBy(now));
    this.#retry(active, psn, true, now);
  }

  /** R-107 … R-109. */
  #handleRnr(active: ActiveSends, psn: Psn, syndrome: number, now: Micros): void {
    this.#core.counters.add(Counter.rcvd_rnr_err);
    this.#executed(active, PsnMath.add(psn, -1), now);
    if (this.#active !== active) return;
    if (active.window.una !== psn) {
      this.#retry(active, active.window.una, false, now);
      return;
    }
    if (active.isWaitingRnr) return;
    if (!active.recovery.mayWait(this.#qp)) {
      this.#giveUp(WcStatus.RNR_RETRY_EXC_ERR, Counter.retry_rnr_exceeded_err);
      return;
    }
    active.isWaitingRnr = true;
    this.#core.timers.arm(active, now + Aeth.rnrMicros(Aeth.code(syndrome)));
  }

  /** R-042 … R-044: responses are missing. They are asked for again at once, and once. */
  #impliedNak(active: ActiveSends, now: Micros): void {
    const { window, recovery, congestion } = active;
    this.#core.counters.add(Counter.implied_nak_seq_err);
    recovery.lost(now);
    recovery.wentBack(window.una, now);
    if (recovery.isQueueing) congestion.handleLoss(now, recovery.smoothed);
    this.#core.schedule(this.#qp);
  }

  /** going back without progress since the last time counts. `mayRepair`: nothing but the request at `psn` need be sent again. */
  #retry(active: ActiveSends, psn: Psn, mayRepair: boolean, now: Micros): void {
    if (!active.recovery.mayRetry(this.#qp, psn)) {
      this.#giveUp(WcStatus.RETRY_EXC_ERR, Counter.retry_exceeded_err);
      return;
    }
    active.recovery.lost(now);
    const isRepair = mayRepair && this.#startRepair(active, psn, true, now);
    // Where nothing waits on the way, a loss is chance, and a repair costs little; going back costs all that is in flight.
    if (!isRepair || active.recovery.isQueueing) active.congestion.handleLoss(now, active.recovery.smoothed);
    if (!isRepair) this.#goBack(active, now);
  }

  /** The timer ran out: the oldest responses that are missing, and the first request that the peer may lack. False when that cannot be. */
  #askForOldest(active: ActiveSends, now: Micros): boolean {
    const { window, awaited, recovery, repair } = active;
    const isLost = awaited.loseOlder(window.executed, now - recovery.smoothed);
    if (!repair.peerHolds) return false;
    const next = active.firstNotExecuted();
    if (PsnMath.difference(window.high, next) > 0) {
      const isVain = next === repair.nextKept;
      if (isVain) repair.judge(true);
      return !isVain && this.#startRepair(active, next, false, now);
    }
    if (!isLost) return false;
    window.skipToHigh();
    recovery.wentBack(window.una, now);
    this.#arm(active, now);
    this.#core.schedule(this.#qp);
    return true;
  }

  /** Only the request at `psn` is sent again, when the peer keeps those behind it. False when that cannot be. */
  #startRepair(active: ActiveSends, psn: Psn, isLost: boolean, now: Micros): boolean {
    const { window, repair, awaited, recovery } = active;
    if (!repair.peerHolds) return false;
    window.skipToHigh();
    repair.end();
    const request = awaited.find(psn);
    if (request === null) repair.start(psn, window.high, isLost);
    else {
      awaited.lose(request, now);
      repair.nextKept = request.end;
    }
    recovery.wentBack(psn, now);
    this.#arm(active, now);
    this.#core.schedule(this.#qp);
    return true;
  }

  /**
   * A peer that keeps early packets acknowledges more than the one that was repaired; one that does not needs the rest again, at once. What was sent before the
   * repair and is still not acknowledged is missing too.
   */
  #judgeRepair(active: ActiveSends, psn: Psn, now: Micros): void {
    const { window, repair, awaited } = active;
    if (PsnMath.difference(window.executed, repair.psn as Psn) < 0) return;
    const next = PsnMath.next(window.executed);
    // A request that has a response of its own, and is kept, is answered now; an acknowledgement says nothing of it.
    const isMoreMissing = PsnMath.difference(repair.high, next) > 0 && awaited.find(next) === null;
    const isVain = psn === repair.psn && isMoreMissing;
    repair.answered(next);
    repair.end();
    repair.judge(isVain);
    if (isVain) this.#goBack(active, now);
    else if (isMoreMissing) this.#retry(active, next, true, now);
  }

  #repair(active: ActiveSends, out: PacketWriter, now: Micros): number {
    const { window, repair } = active;
    const psn = repair.psn as Psn;
    if (PsnMath.difference(window.executed, psn) >= 0) {
      repair.copies = 0;
      return LOCAL_STEP_BYTES;
    }
    const work = window.find(psn);
    const put = Requests.putSegment(out, this.#qp, this.#core, Opcode.RC, work, window.indexOf(work, psn), true, psn);
    if (put === Requests.Put.FULL) return Step.FULL;
    repair.copies--;
    if (put === Requests.Put.PROTECTION) {
      repair.end();
      return this.#refuseSource(active, work);
    }
    if (repair.isMeasure) active.recovery.sent(psn, now, false);
    this.#countSent(put, true);
    return put;
  }

  #giveUp(status: WcStatus, counter: number): void {
    this.#core.counters.add(counter);
    this.#core.fail(this.#qp, status, -1);
  }

  #goBack(active: ActiveSends, now: Micros): void {
    this.#core.counters.add(Counter.completer_retry_err);
    active.window.goBack();
    active.repair.end();
    active.recovery.wentBack(active.window.una, now);
    this.#arm(active, now);
    this.#core.schedule(this.#qp);
  }

  // ── READ responses, atomic acknowledgements ──

  #handleResponse(active: ActiveSends, packet: ReceivedPacket, flags: OpFlags, psn: Psn, now: Micros): void {
    const { window, awaited, recovery } = active;
    this.#executed(active, PsnMath.add(psn, -1), now);
    if (this.#active !== active) return;
    const isExpected = psn === window.una;
    const request = awaited.find(psn);
    if (request === null || !awaited.wants(psn, window.una)) {
      if (isExpected) this.#core.fail(this.#qp, WcStatus.BAD_RESP_ERR, -1);
      else this.#core.counters.add(Counter.drop_response);
      return;
    }
    const work = request.work!;
    // With others early, it may be the last one that is missing.
    const isFollowed = packet.isFollowed && isExpected && awaited.early === 0;
    const status = placeResponse(this.#qp, this.#core, work, window.indexOf(work, psn), packet, flags, isFollowed);
    if (status !== WcStatus.SUCCESS) {
      // What is wrong with one that came early ends the work request when its turn comes, and not before those before it have ended well.
      if (isExpected) this.#core.fail(this.#qp, status, -1);
      else this.#core.counters.add(Counter.drop_response);
      return;
    }
    if (request.psn === active.repair.nextKept) {
      active.repair.judge(false);
      active.repair.nextKept = -1;
    }
    if (psn === request.from && request.tries === 1) recovery.measured(now - request.askedAt);
    const isLoss = awaited.took(request, psn, recovery.answeredBy(now), spanOf(packet));
    this.#executed(active, PsnMath.add(request.end, -1), now);
    if (isLoss && this.#active === active) this.#impliedNak(active, now);
  }

  // ── After progress ──

  #progressed(active: ActiveSends, before: Psn, now: Micros): void {
    if (this.#active !== active) return;
    const { window } = active;
    const packets = PsnMath.difference(window.una, before);
    // Something new may come while the oldest response is missing: the peer is there.
    if (packets === 0) active.recovery.heard(now);
    else active.congestion.handleProgress(packets * this.#qp.pathMtuBytes);
    if (window.outstanding === 0) this.#core.timers.disarm(active);
    else this.#arm(active, now);
    this.#reportDrained();
    this.#core.schedule(this.#qp);
  }

  #arm(active: ActiveSends, now: Micros): void {
    if (active.isWaitingRnr) return;
    const { recovery, repair } = active;
    const isRepair = repair.peerHolds && recovery.expiries < REPAIR_EXPIRIES;
    const deadline = recovery.deadline(this.#qp, this.#core.config.strictTimers, isRepair, now);
    if (deadline === Number.POSITIVE_INFINITY) this.#core.timers.disarm(active);
    else this.#core.timers.arm(active, deadline);
  }

  /** */
  #reportDrained(): void {
    if (this.#qp.state !== QpState.SQD || this.#drainReported) return;
    if (this.#active?.window.oldest()?.isStarted) return;
    this.#drainReported = true;
    if (this.#qp.sqdAsyncNotify) this.#core.raise(this.#qp, AsyncEvent.SQ_DRAINED);
  }
}
