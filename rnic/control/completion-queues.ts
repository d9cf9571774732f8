/** Completion queues. IBA Vol. 1, §11.2.6; SPEC-CHECKLIST R-156 … R-160. */
import { Errno, EventKind } from '../commands.ts';
import { CompletionQueue } from '../completion-queue.ts';
import { AsyncEvent } from '../constants.ts';
import type { Context } from '../context.ts';
import * as Layout from '../queue/layout.ts';
import { Ring } from '../queue/ring.ts';
import { busy, invalid, isWhole, isWide, noSuch, refuse } from '../refusal.ts';
import { allocate, type Control, freeCq, type Handler } from './control.ts';
import { giveRoom, takeRoom } from './room.ts';

const { Cqe } = Layout;

function newRing(control: Control, context: Context, depth: number): Ring | undefined {
  const memory = allocate(control, context, Layout.queueBytes(depth, Cqe.ELEMENT_BYTES));
  if (!memory) return undefined;
  const ring = new Ring(memory, Layout.slotsFor(depth), Cqe.ELEMENT_BYTES);
  ring.format();
  return ring;
}

const noMemory = () => refuse(Errno.ENOMEM, 'no memory is left for the queue', 'cqe');

export const createCq: Handler<'createCq'> = (control, context, command) => {
  const { cqDepth } = control.config.limits;
  if (!isWhole(command.cqe, 1, cqDepth)) return invalid('cqe', `must be 1 … ${cqDepth}`);
  const cookie = command.cookie ?? 0n;
  if (!isWide(cookie)) return invalid('cookie', 'must be a 64-bit number');
  const channel = command.channel === undefined ? undefined : context.channels.get(command.channel);
  if (command.channel !== undefined && !channel) return noSuch('completion channel', 'channel');
  const refusal = takeRoom(control, 'cqs');
  if (refusal) return refusal;
  const ring = newRing(control, context, command.cqe);
  if (!ring) {
    giveRoom(control, 'cqs');
    return noMemory();
  }
  if (channel) channel.users++;
  const make = (handle: number) =>
    new CompletionQueue(handle, context.id, cookie, channel?.handle ?? -1, ring, control);
  const cq = context.cqs.add(make);
  return { ok: true, cq: cq.handle, cqe: ring.mask, queue: ring.memory };
};

export const resizeCq: Handler<'resizeCq'> = (control, context, command) => {
  const cq = context.cqs.get(command.cq);
  if (!cq) return noSuch('completion queue', 'cq');
  const { cqDepth } = control.config.limits;
  if (!isWhole(command.cqe, 1, cqDepth)) return invalid('cqe', `must be 1 … ${cqDepth}`);
  const ring = newRing(control, context, command.cqe);
  if (!ring) return noMemory();
  const old = cq.ring.memory;
  if (!cq.moveTo(ring)) {
    control.host.freeQueue(context.id, ring.memory);
    return invalid('cqe', 'more completions wait to be polled than that');
  }
  control.host.freeQueue(context.id, old);
  return { ok: true, cqe: ring.mask, queue: ring.memory };
};

export const destroyCq: Handler<'destroyCq'> = (control, context, command) => {
  const cq = context.cqs.get(command.cq);
  if (!cq) return noSuch('completion queue', 'cq');
  if (cq.users !== 0) return busy('completion queue', `${cq.users} queues of QPs complete to it`);
  removeCq(control, context, cq);
  return { ok: true, completionEvents: cq.completionEvents, asyncEvents: cq.asyncEvents };
};

export const reqNotifyCq: Handler<'reqNotifyCq'> = (_control, context, command) => {
  const cq = context.cqs.get(command.cq);
  if (!cq) return noSuch('completion queue', 'cq');
  cq.ring.arm(command.solicitedOnly ? Layout.Arm.SOLICITED : Layout.Arm.NEXT);
  return { ok: true };
};

const isCompletion = (kind: number): boolean => kind === EventKind.COMPLETION;
const isCqError = (kind: number, code: number): boolean => kind === EventKind.ASYNC && code === AsyncEvent.CQ_ERR;

export function removeCq(control: Control, context: Context, cq: CompletionQueue): void {
  const channel = context.channels.get(cq.channel);
  if (channel) channel.users--;
  context.cqs.remove(cq.handle);
  giveRoom(control, 'cqs');
  // Who destroys it waits for what was told to be acknowledged: what was not told does not count.
  cq.completionEvents -= control.events.forget(context.id, cq.handle, isCompletion);
  cq.asyncEvents -= control.events.forget(context.id, cq.handle, isCqError);
  freeCq(control, cq);
}
