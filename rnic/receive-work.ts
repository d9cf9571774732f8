/** The receive WQE that a responder is filling: copied once from the queue, checked as it is used. */
import { AsyncEvent, QpState, WcStatus } from './constants.ts';
import type { EngineCore, Pd, Qp } from './core.ts';
import { Counter } from './counters.ts';
import type { EndedMessage } from './ended-messages.ts';
import * as Layout from './queue/layout.ts';
import type { Ring } from './queue/ring.ts';
import { SgeList } from './sge-list.ts';

const { Recv } = Layout;

export class ReceiveWork {
  /** True from taking the WQE to its completion. */
  isTaken = false;
  /** False when its scatter list was longer than the queue allows: nothing may be placed. */
  isValid = false;
  readonly sges = new SgeList();
  #wrIdLo = 0;
  #wrIdHi = 0;

  /** Octets that the WQE has room for. */
  get totalBytes(): number {
    return this.sges.totalBytes;
  }

  /** Takes the next WQE of the QP's queue or SRQ. False when there is none. */
  take(qp: Qp): boolean {
    const ring = qp.srq === null ? qp.rq! : qp.srq.ring;
    if (!this.#load(qp, ring)) return false;
    this.isTaken = true;
    qp.srq?.taken();
    return true;
  }

  /** Gives the buffer back unused: the message that was to fill it never came whole (UC). Its octets may be overwritten. */
  restart(): void {
    this.sges.seek(0);
  }

  /** PD that the WQE's keys must belong to. */
  pd(qp: Qp): Pd {
    return qp.srq === null ? qp.pd : qp.srq.pd;
  }

  /** Writes its CQE. An overrun of the CQ ends the QP. */
  complete(
    qp: Qp,
    core: EngineCore,
    status: WcStatus,
    opcode: number,
    byteLen: number,
    immediate: number,
    srcQp: number,
    wcFlags: number,
    solicited: boolean,
  ): void {
    this.isTaken = false;
    const lo = this.#wrIdLo;
    completeReceive(qp, core, lo, this.#wrIdHi, status, opcode, byteLen, immediate, srcQp, wcFlags, solicited);
  }

  /** Hands its completion over to a message that may have to wait. */
  leave(to: EndedMessage): void {
    this.isTaken = false;
    to.wrIdLo = this.#wrIdLo;
    to.wrIdHi = this.#wrIdHi;
  }

  /** The slot is free as soon as it is copied: nobody but the engine reads the copy. */
  #load(qp: Qp, ring: Ring): boolean {
    const slot = ring.consumer();
    if (slot === ring.producer()) return false;
    const { view } = ring;
    const at = ring.slotAt(slot);
    this.#wrIdLo = view.getInt32(at + Recv.WR_ID, true);
    this.#wrIdHi = view.getInt32(at + Recv.WR_ID + 4, true);
    const count = view.getUint32(at + Recv.DMA_NUM_SGE, true);
    const most = Math.min(
      qp.srq === null ? qp.cap.maxRecvSge : Layout.MAX_SGE,
      Math.floor((ring.elementBytes - Recv.SGE) / Layout.Sge.BYTES),
    );
    this.isValid = count <= most;
    this.sges.load(view, at + Recv.SGE, this.isValid ? count : 0);
    ring.publishConsumer(ring.next(slot));
    return true;
  }
}

/** Writes the CQE of a receive WQE. An overrun of the CQ ends the QP. */
export function completeReceive(
  qp: Qp,
  core: EngineCore,
  wrIdLo: number,
  wrIdHi: number,
  status: WcStatus,
  opcode: number,
  byteLen: number,
  immediate: number,
  srcQp: number,
  wcFlags: number,
  solicited: boolean,
): void {
  if (status === WcStatus.WR_FLUSH_ERR) core.counters.add(Counter.resp_cqe_flush_error);
  else if (status !== WcStatus.SUCCESS) core.counters.add(Counter.resp_cqe_error);
  const lo = wrIdLo >>> 0;
  const hi = wrIdHi >>> 0;
  const pushed = qp.recvCq.push(lo, hi, status, opcode, byteLen, immediate, qp.qpn, srcQp, wcFlags, solicited, 0);
  if (!pushed && qp.state !== QpState.ERR) core.fail(qp, WcStatus.WR_FLUSH_ERR, AsyncEvent.QP_FATAL);
}
