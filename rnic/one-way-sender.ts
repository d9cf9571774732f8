/** What senders without acknowledgements (UC, UD) share: one work request at a time, complete when its last packet is handed over. */
import * as PsnMath from '../wire/psn.ts';
import type { Micros, Psn } from '../wire/types.ts';
import { AsyncEvent, QpState, WcStatus } from './constants.ts';
import type { EngineCore, Qp, Sender } from './core.ts';
import { Counter } from './counters.ts';
import { runLocalWork } from './local-work.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import { Put } from './request-packets.ts';
import { completeSend, flushSendQueue } from './send-completion.ts';
import { SendWork, WorkKind } from './send-work.ts';

/** What local work, and a packet that is dropped, count for in a quantum. */
const LOCAL_STEP_BYTES = 64;

export abstract class OneWaySender implements Sender {
  protected readonly qp: Qp;
  protected readonly core: EngineCore;
  /** The only place for a work request; made when the first one comes. */
  #place: SendWork | null = null;
  #current: SendWork | null = null;
  /** Next packet of the current work. */
  #index = 0;
  #psn = 0 as Psn;
  #hasStarted = false;
  #drainReported = false;

  constructor(qp: Qp, core: EngineCore) {
    this.qp = qp;
    this.core = core;
  }

  /** Packets of a work request whose copy is in order; its `status` is set when the transport refuses it. */
  protected abstract packetsOf(work: SendWork): number;
  /** Lays out packet `index`: octets, or what `Put` says. */
  protected abstract put(out: PacketWriter, work: SendWork, index: number, psn: Psn, now: Micros): number;

  handleDoorbell(_now: Micros): void {
    const { state } = this.qp;
    if (state === QpState.ERR || state === QpState.SQE) this.flush(WcStatus.SUCCESS);
    else this.core.schedule(this.qp);
  }

  /** UC and UD have no answers. */
  handlePacket(_packet: ReceivedPacket, _now: Micros): void {}

  stateChanged(_now: Micros): void {
    const { qp } = this;
    if (qp.state === QpState.RTS) {
      if (!this.#hasStarted) this.#psn = qp.sqPsn as Psn;
      this.#hasStarted = true;
      this.#drainReported = false;
      this.core.schedule(qp);
    } else this.#reportDrained();
  }

  reset(): void {
    this.#place = null;
    this.#current = null;
    this.qp.sq.restart(this.qp.sq.consumer());
    this.#hasStarted = false;
    this.#drainReported = false;
  }

  flush(status: WcStatus): void {
    let next = status === WcStatus.SUCCESS ? WcStatus.WR_FLUSH_ERR : status;
    if (this.#current !== null) {
      completeSend(this.qp, this.core, this.#current, next);
      this.#current = null;
      next = WcStatus.WR_FLUSH_ERR;
    }
    flushSendQueue(this.qp, this.core, next);
  }

  pollTransmit(out: PacketWriter, now: Micros, quantumBytes: number): boolean {
    let budget = quantumBytes;
    while (budget > 0) {
      const work = this.#current ?? this.#fetch();
      if (work === null) return false;
      out.turnLeft = budget;
      const octets = work.kind === WorkKind.LOCAL ? this.#runLocal(work) : this.#transmit(out, work, now);
      if (octets === Put.FULL) return true;
      budget -= octets;
    }
    return true;
  }

  /** Takes the next WQE; null when there is none or the QP's state says no. A bad one ends the send queue. */
  #fetch(): SendWork | null {
    const { qp } = this;
    const { slot } = qp.sq;
    if (qp.state !== QpState.RTS || !qp.sq.hasPosted()) return null;
    this.#place ??= new SendWork();
    const work = this.#place;
    work.load(qp, slot);
    qp.sq.take();
    this.#current = work;
    this.#index = 0;
    if (work.status === WcStatus.SUCCESS && work.kind !== WorkKind.LOCAL) work.packets = this.packetsOf(work);
    if (work.status === WcStatus.SUCCESS) return work;
    this.core.counters.add(Counter.wqe_invalid);
    this.#endQueue(work.status);
    return null;
  }

  #transmit(out: PacketWriter, work: SendWork, now: Micros): number {
    const put = this.put(out, work, this.#index, this.#psn, now);
    if (put === Put.FULL) return Put.FULL;
    if (put === Put.PROTECTION) {
      this.core.counters.add(Counter.wqe_protection);
      this.#endQueue(WcStatus.LOC_PROT_ERR);
      return LOCAL_STEP_BYTES;
    }
    if (put !== Put.DROPPED) this.#countSent(put);
    if (++this.#index === work.packets) this.#complete(work);
    return put === Put.DROPPED ? LOCAL_STEP_BYTES : put;
  }

  #countSent(octets: number): void {
    this.core.counters.add(Counter.sent_pkts);
    this.core.counters.add(Counter.sent_bytes, octets);
    this.#psn = PsnMath.next(this.#psn);
  }

  #runLocal(work: SendWork): number {
    const status = runLocalWork(this.qp, this.core, work);
    if (status === WcStatus.SUCCESS) this.#complete(work);
    else this.#endQueue(status);
    return LOCAL_STEP_BYTES;
  }

  #complete(work: SendWork): void {
    this.#current = null;
    completeSend(this.qp, this.core, work, WcStatus.SUCCESS);
    this.#reportDrained();
  }

  /** a send error stops the send queue only; receiving goes on, and SQE may go back to RTS. */
  #endQueue(status: WcStatus): void {
    this.qp.state = QpState.SQE;
    this.flush(status);
  }

  /** */
  #reportDrained(): void {
    if (this.qp.state !== QpState.SQD || this.#drainReported || this.#current !== null) return;
    this.#drainReported = true;
    if (this.qp.sqdAsyncNotify) this.core.raise(this.qp, AsyncEvent.SQ_DRAINED);
  }
}
