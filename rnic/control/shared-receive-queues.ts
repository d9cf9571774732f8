/** Shared receive queues. IBA Vol. 1, §11.2.7 (SRQ verbs); SPEC-CHECKLIST R-162 … R-164. */
import { Errno, EventKind } from '../commands.ts';
import { AsyncEvent } from '../constants.ts';
import type { Context } from '../context.ts';
import * as Layout from '../queue/layout.ts';
import { Ring } from '../queue/ring.ts';
import { busy, full, invalid, isWhole, isWide, noSuch, refuse } from '../refusal.ts';
import { SharedReceiveQueue } from '../shared-receive-queue.ts';
import { allocate, type Control, type Handler } from './control.ts';

export const createSrq: Handler<'createSrq'> = (control, context, command) => {
  const { totals, config } = control;
  const pd = context.pds.get(command.pd);
  if (!pd) return noSuch('protection domain', 'pd');
  if (!isWhole(command.maxWr, 1, config.limits.queueDepth))
    return invalid('maxWr', `must be 1 … ${config.limits.queueDepth}`);
  if (!isWhole(command.maxSge, 1, Layout.MAX_SGE)) return invalid('maxSge', `must be 1 … ${Layout.MAX_SGE}`);
  const limit = command.srqLimit ?? 0;
  if (!isWhole(limit, 0, command.maxWr)) return invalid('srqLimit', 'must be 0 … maxWr');
  const cookie = command.cookie ?? 0n;
  if (!isWide(cookie)) return invalid('cookie', 'must be a 64-bit number');
  if (totals.srqs >= config.limits.srqs) return full('shared receive queues', config.limits.srqs);
  const ring = newRing(control, context, command.maxWr, command.maxSge);
  if (!ring) return refuse(Errno.ENOMEM, 'no memory is left for the queue', 'maxWr');
  totals.srqs++;
  pd.children++;
  const { maxSge } = command;
  const srq = context.srqs.add((handle) => new SharedReceiveQueue(handle, pd, cookie, maxSge, ring, control.events));
  srq.limit = limit;
  return { ok: true, srq: srq.handle, srqNum: srq.handle, maxWr: ring.mask, maxSge, queue: ring.memory };
};

export const modifySrq: Handler<'modifySrq'> = (control, context, command) => {
  const srq = context.srqs.get(command.srq);
  if (!srq) return noSuch('shared receive queue', 'srq');
  const { maxWr, srqLimit } = command.attributes ?? {};
  const { queueDepth } = control.config.limits;
  if (maxWr !== undefined && !isWhole(maxWr, Math.max(1, srq.ring.count()), queueDepth)) {
    return invalid('maxWr', `must be ${Math.max(1, srq.ring.count())} (what is posted now) … ${queueDepth}`);
  }
  if (!isWhole(srqLimit ?? srq.limit, 0, maxWr ?? srq.ring.mask)) return invalid('srqLimit', 'must be 0 … maxWr');
  if (maxWr !== undefined) {
    const ring = newRing(control, context, maxWr, srq.maxSge);
    if (!ring) return refuse(Errno.ENOMEM, 'no memory is left for the queue', 'maxWr');
    const old = srq.ring;
    moveWork(old, ring);
    srq.ring = ring;
    control.host.freeQueue(context.id, old.memory);
  }
  if (srqLimit !== undefined) srq.limit = srqLimit;
  return maxWr === undefined ? { ok: true } : { ok: true, queue: srq.ring.memory };
};

export const querySrq: Handler<'querySrq'> = (_control, context, command) => {
  const srq = context.srqs.get(command.srq);
  if (!srq) return noSuch('shared receive queue', 'srq');
  return { ok: true, maxWr: srq.ring.mask, maxSge: srq.maxSge, srqLimit: srq.limit };
};

export const destroySrq: Handler<'destroySrq'> = (control, context, command) => {
  const srq = context.srqs.get(command.srq);
  if (!srq) return noSuch('shared receive queue', 'srq');
  if (srq.users !== 0) return busy('shared receive queue', `${srq.users} QPs receive from it`);
  removeSrq(control, context, srq);
  return { ok: true, asyncEvents: srq.asyncEvents };
};

export function removeSrq(control: Control, context: Context, srq: SharedReceiveQueue): void {
  context.srqs.remove(srq.handle);
  control.totals.srqs--;
  (srq.pd as { children: number }).children--;
  const isItsKind = (kind: number, code: number): boolean =>
    kind === EventKind.ASYNC && (code === AsyncEvent.SRQ_LIMIT_REACHED || code === AsyncEvent.SRQ_ERR);
  srq.asyncEvents -= control.events.forget(context.id, srq.handle, isItsKind);
  control.host.freeQueue(context.id, srq.ring.memory);
}

function newRing(control: Control, context: Context, depth: number, maxSge: number): Ring | undefined {
  const element = Layout.recvElementBytes(maxSge);
  const memory = allocate(control, context, Layout.queueBytes(depth, element));
  if (!memory) return undefined;
  const ring = new Ring(memory, Layout.slotsFor(depth), element);
  ring.format();
  return ring;
}

/** What was posted and not taken yet goes to the new ring, in order. */
function moveWork(from: Ring, to: Ring): void {
  let count = 0;
  for (let slot = from.consumer(); slot !== from.producer() && count < to.mask; slot = from.next(slot)) {
    const at = from.slotAt(slot);
    to.bytes.set(from.bytes.subarray(at, at + from.elementBytes), to.slotAt(count++));
  }
  to.publishProducer(count);
}
