/** How send work requests end: slot given back, CQE written if one is due, and all that is left flushed. */
import { AsyncEvent, QpState, SendFlag, WcStatus } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import { Counter } from './counters.ts';
import * as Layout from './queue/layout.ts';
import { completionOpcode, type SendWork } from './send-work.ts';

/**
 * Ends a work request whose turn it is. The slot is free before the CQE can be seen: who polls it may post at once.: success is told when
 * asked for, an error always.
 */
export function completeSend(qp: Qp, core: EngineCore, work: SendWork, status: WcStatus): void {
  qp.sq.publishConsumer(qp.sq.next(work.slot));
  if (status === WcStatus.SUCCESS && !qp.sqSigAll && (work.flags & SendFlag.SIGNALED) === 0) return;
  push(qp, core, work.wrIdLo, work.wrIdHi, work.opcode, work.length, status);
}

/** ends all WQEs that were not taken; the first with `first`. */
export function flushSendQueue(qp: Qp, core: EngineCore, first: WcStatus): void {
  const { sq } = qp;
  const producer = sq.producer();
  let status = first;
  let { slot } = sq;
  while (slot !== producer) {
    const at = sq.slotAt(slot);
    const { view } = sq;
    const opcode = view.getInt32(at + Layout.Send.OPCODE, true);
    const wrIdLo = view.getInt32(at + Layout.Send.WR_ID, true);
    slot = sq.next(slot);
    sq.publishConsumer(slot);
    push(qp, core, wrIdLo, view.getInt32(at + Layout.Send.WR_ID + 4, true), opcode, 0, status);
    status = WcStatus.WR_FLUSH_ERR;
  }
  sq.restart(slot);
}

function push(
  qp: Qp,
  core: EngineCore,
  wrIdLo: number,
  wrIdHi: number,
  opcode: number,
  byteLen: number,
  status: WcStatus,
): void {
  if (status === WcStatus.WR_FLUSH_ERR) core.counters.add(Counter.req_cqe_flush_error);
  else if (status !== WcStatus.SUCCESS) core.counters.add(Counter.req_cqe_error);
  const wcOpcode = completionOpcode(opcode);
  const lo = wrIdLo >>> 0;
  const pushed = qp.sendCq.push(lo, wrIdHi >>> 0, status, wcOpcode, byteLen, 0, qp.qpn, 0, 0, false, 0);
  if (!pushed && qp.state !== QpState.ERR) core.fail(qp, WcStatus.WR_FLUSH_ERR, AsyncEvent.QP_FATAL);
}
