/** How a receive queue ends: the WQE in hand and all that are posted are flushed; an SRQ's stay. */
import { WcOpcode, WcStatus } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import { ReceiveWork } from './receive-work.ts';

export function flushReceiveQueue(qp: Qp, core: EngineCore, inHand: ReceiveWork | null): void {
  if (inHand?.isTaken) flushOne(qp, core, inHand);
  if (qp.srq !== null || qp.rq === null) return;
  const work = inHand ?? new ReceiveWork();
  // Bounded: whoever posts while this runs is served up to one ring's worth.
  for (let i = 0; i <= qp.rq.mask && work.take(qp); i++) flushOne(qp, core, work);
}

const flushOne = (qp: Qp, core: EngineCore, work: ReceiveWork): void =>
  work.complete(qp, core, WcStatus.WR_FLUSH_ERR, WcOpcode.RECV, 0, 0, 0, 0, false);
