/** An application has gone: its objects go in the order in which they depend on each other, whatever state they were left in. */
import type { Micros } from '../../wire/types.ts';
import type { Context } from '../context.ts';
import { removeCq } from './completion-queues.ts';
import type { Control } from './control.ts';
import { removeQp } from './queue-pairs.ts';
import { removeRegion, removeWindow } from './regions.ts';
import { removeSrq } from './shared-receive-queues.ts';

export function closeContext(control: Control, context: Context, now: Micros): void {
  for (const qp of [...context.qps]) removeQp(control, context, qp, now);
  for (const srq of [...context.srqs]) removeSrq(control, context, srq);
  for (const cq of [...context.cqs]) removeCq(control, context, cq);
  for (const mw of [...context.windows]) removeWindow(control, context, mw);
  for (const mr of [...context.regions]) removeRegion(control, context, mr);
  control.totals.ahs -= context.addressHandles.size;
  control.totals.channels -= context.channels.size;
  control.totals.pds -= context.pds.size;
}
