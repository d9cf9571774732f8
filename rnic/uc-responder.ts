/** Responder of a UC QP: whole messages or nothing, and never an answer. SPEC-CHECKLIST R-064 … R-066. */
import * as Bth from '../wire/bth.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Opcode from '../wire/opcode.ts';
import * as PsnMath from '../wire/psn.ts';
import type { Micros, OpFlags, Psn } from '../wire/types.ts';
import { Access, AsyncEvent, QpState, WcFlag, WcOpcode, WcStatus } from './constants.ts';
import { type EngineCore, KeyVerdict, type Qp, type Responder } from './core.ts';
import { Counter } from './counters.ts';
import { Notifier } from './notifier.ts';
import { goesOn, type ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import { flushReceiveQueue } from './receive-completion.ts';
import { ReceiveWork } from './receive-work.ts';
import { MAX_MESSAGE_BYTES } from './send-work.ts';
import { isFull } from './span.ts';
import { Verdict } from './verdict.ts';
import { WriteTarget } from './write-target.ts';

const NO_FLAGS = 0 as OpFlags;

export class UcResponder implements Responder {
  readonly owesReceipt = false;
  readonly #qp: Qp;
  readonly #core: EngineCore;
  #ePsn = 0 as Psn;
  /** IS_SEND or IS_WRITE inside a message of several packets. */
  #inside: OpFlags = NO_FLAGS;
  #receivedBytes = 0;
  #established = false;
  #receive: ReceiveWork | null = null;
  #target: WriteTarget | null = null;
  #notifier: Notifier | null = null;

  constructor(qp: Qp, core: EngineCore) {
    this.#qp = qp;
    this.#core = core;
  }

  stateChanged(_now: Micros): void {
    if (this.#qp.state === QpState.RTR) this.#ePsn = this.#qp.rqPsn as Psn;
  }

  reset(): void {
    this.#inside = NO_FLAGS;
    this.#established = false;
    this.#receive = null;
    this.#target = null;
    this.#notifier = null;
  }

  flush(): void {
    flushReceiveQueue(this.#qp, this.#core, this.#receive);
  }

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    if (!this.#established) this.#establish();
    this.#noteCongestion(packet, now);
    const { view, bthAt } = packet;
    const flags = Opcode.flags(Bth.opcode(view, bthAt));
    if (!this.#checkSequence(Bth.psn(view, bthAt), flags)) {
      this.#core.counters.add(Counter.drop_uc_sequence);
      return;
    }
    const verdict = this.#run(packet, flags);
    if (verdict !== Verdict.ACCEPT) this.#drop(verdict, now);
  }

  pollTransmit(out: PacketWriter, now: Micros, _quantumBytes: number): boolean {
    const notifier = this.#notifier;
    if (!notifier?.isDue || this.#qp.path === null) return false;
    return !notifier.put(out, this.#qp, this.#core.counters, now);
  }

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

  /** A gap, or a packet out of turn, ends the message in hand; one that starts a message is welcome all the same. */
  #checkSequence(psn: Psn, flags: OpFlags): boolean {
    const starts = (flags & Opcode.STARTS) !== 0;
    const isNext = psn === this.#ePsn;
    this.#ePsn = PsnMath.next(psn);
    if (isNext && !starts && (flags & this.#inside) !== 0) return true;
    this.#inside = NO_FLAGS;
    return starts;
  }

  #run(packet: ReceivedPacket, flags: OpFlags): Verdict {
    const { view, bthAt } = packet;
    const payloadAt = bthAt + Opcode.headerBytes(Bth.opcode(view, bthAt));
    const payloadBytes = packet.end - Icrc.BYTES - Bth.padCount(view, bthAt) - payloadAt;
    const isSend = (flags & Opcode.IS_SEND) !== 0;
    if (!isFull(payloadBytes, this.#qp.pathMtuBytes, 1, flags)) return Verdict.LENGTH;
    const verdict = isSend
      ? this.#placeSend(packet, flags, payloadAt, payloadBytes)
      : this.#placeWrite(packet, flags, payloadAt, payloadBytes);
    if (verdict !== Verdict.ACCEPT) return verdict;
    const ends = (flags & Opcode.ENDS) !== 0;
    this.#inside = ends ? NO_FLAGS : ((flags & (Opcode.IS_SEND | Opcode.IS_WRITE)) as OpFlags);
    if (ends) this.#endMessage(packet, flags, payloadAt);
    return Verdict.ACCEPT;
  }

  #placeSend(packet: ReceivedPacket, flags: OpFlags, payloadAt: number, payloadBytes: number): Verdict {
    if ((flags & Opcode.STARTS) !== 0) {
      const verdict = this.#takeReceive();
      if (verdict !== Verdict.ACCEPT) return verdict;
      this.#receivedBytes = 0;
    }
    const receive = this.#receive!;
    if (this.#receivedBytes + payloadBytes > receive.totalBytes) return Verdict.RECV_TOO_SMALL;
    this.#receivedBytes += payloadBytes;
    const { regions } = this.#core;
    const { bytes } = packet;
    const placed = receive.sges.scatter(
      regions,
      receive.pd(this.#qp),
      Access.LOCAL_WRITE,
      bytes,
      payloadAt,
      payloadBytes,
      goesOn(packet, flags),
    );
    return placed ? Verdict.ACCEPT : Verdict.LOCAL_PROTECTION;
  }

  #placeWrite(packet: ReceivedPacket, flags: OpFlags, payloadAt: number, payloadBytes: number): Verdict {
    if ((this.#qp.accessFlags & Access.REMOTE_WRITE) === 0) return Verdict.OP_NOT_ALLOWED;
    this.#target ??= new WriteTarget();
    const target = this.#target;
    if ((flags & Opcode.HAS_RETH) !== 0) {
      const { view, bthAt } = packet;
      target.measure(view, bthAt + Bth.BYTES);
      if (target.length > MAX_MESSAGE_BYTES) return Verdict.LENGTH;
      if (target.open(this.#core.regions, this.#qp, view, bthAt + Bth.BYTES) !== KeyVerdict.ACCEPT) return Verdict.KEY;
    }
    const ends = (flags & Opcode.ENDS) !== 0;
    if (ends ? payloadBytes !== target.left : payloadBytes >= target.left) return Verdict.LENGTH;
    if (!target.isValid()) return Verdict.KEY;
    if ((flags & Opcode.NEEDS_RECV_WQE) !== 0) {
      const verdict = this.#takeReceive();
      if (verdict !== Verdict.ACCEPT) return verdict;
    }
    return target.place(packet.bytes, payloadAt, payloadBytes, goesOn(packet, flags)) ? Verdict.ACCEPT : Verdict.KEY;
  }

  /** The WQE of a message that was broken off is used again. */
  #takeReceive(): Verdict {
    this.#receive ??= new ReceiveWork();
    const receive = this.#receive;
    if (receive.isTaken) receive.restart();
    else if (!receive.take(this.#qp)) return Verdict.NO_RECV_WQE;
    return receive.isValid ? Verdict.ACCEPT : Verdict.LOCAL_WQE;
  }

  #endMessage(packet: ReceivedPacket, flags: OpFlags, payloadAt: number): void {
    const isSend = (flags & Opcode.IS_SEND) !== 0;
    this.#core.counters.add(isSend ? Counter.rx_send_requests : Counter.rx_write_requests);
    if ((flags & Opcode.COMPLETES_RECV_WQE) === 0) return;
    const { view, bthAt } = packet;
    const hasImmediate = (flags & Opcode.HAS_IMM) !== 0;
    const immediate = hasImmediate ? view.getUint32(payloadAt - 4, true) : 0;
    const opcode = isSend ? WcOpcode.RECV : WcOpcode.RECV_RDMA_WITH_IMM;
    const byteLen = isSend ? this.#receivedBytes : this.#target!.length;
    const wcFlags = hasImmediate ? WcFlag.WITH_IMM : 0;
    const { destQpn } = this.#qp;
    const solicited = Bth.solicited(view, bthAt);
    this.#receive!.complete(
      this.#qp,
      this.#core,
      WcStatus.SUCCESS,
      opcode,
      byteLen,
      immediate,
      destQpn,
      wcFlags,
      solicited,
    );
  }

  /** The message is dropped without a word; only what is wrong on our own side ends the QP, and too many wrong keys (T-06). */
  #drop(verdict: Verdict, now: Micros): void {
    this.#inside = NO_FLAGS;
    const { counters } = this.#core;
    switch (verdict) {
      case Verdict.NO_RECV_WQE:
        counters.add(Counter.out_of_buffer);
        break;
      case Verdict.KEY:
        counters.add(Counter.drop_access);
        this.#countViolation(now);
        break;
      case Verdict.OP_NOT_ALLOWED:
        counters.add(Counter.drop_access);
        break;
      case Verdict.LOCAL_PROTECTION:
        this.#end(WcStatus.LOC_PROT_ERR);
        break;
      case Verdict.LOCAL_WQE:
        this.#end(WcStatus.LOC_QP_OP_ERR);
        break;
      default:
        counters.add(Counter.drop_payload_length);
    }
  }

  #countViolation(now: Micros): void {
    const qp = this.#qp;
    const { config, counters, peerViolations } = this.#core;
    const { violations, peerViolations: most } = config.limits;
    const isPeerSpent = peerViolations.exceeds(qp.av!.dgid, most, now);
    if (++qp.violations < violations && !isPeerSpent) return;
    counters.add(isPeerSpent ? Counter.peer_violations_exceeded : Counter.violations_exceeded);
    this.#core.fail(qp, WcStatus.WR_FLUSH_ERR, AsyncEvent.QP_ACCESS_ERR);
  }

  #end(status: WcStatus): void {
    this.#receive!.complete(this.#qp, this.#core, status, WcOpcode.RECV, 0, 0, 0, 0, false);
    this.#core.fail(this.#qp, WcStatus.WR_FLUSH_ERR, -1);
  }
}
