/** Queue pairs: creation, query, destruction, multicast. Transitions are in modify-qp.ts. IBA Vol. 1, §11.2.5. */
import { type CommandOf, Errno, EventKind, type QpCap, type Refusal, type Result } from '../commands.ts';
import { AsyncEvent, QpType } from '../constants.ts';
import type { Context } from '../context.ts';
import { isMulticastGid } from '../multicast.ts';
import { type QpIdentity, QueuePair } from '../qp.ts';
import * as Layout from '../queue/layout.ts';
import { Ring } from '../queue/ring.ts';
import { SendRing } from '../queue/send-ring.ts';
import { busy, invalid, isWhole, isWide, noSuch, refuse } from '../refusal.ts';
import { allocate, type Control, type Handler } from './control.ts';
import { giveRoom, takeRoom } from './room.ts';

const TYPES: readonly number[] = [QpType.RC, QpType.UC, QpType.UD];

export const createQp: Handler<'createQp'> = (control, context, command, now): Result<'createQp'> => {
  const pd = context.pds.get(command.pd);
  const sendCq = context.cqs.get(command.sendCq);
  const recvCq = context.cqs.get(command.recvCq);
  const srq = command.srq === undefined ? null : context.srqs.get(command.srq);
  if (!pd) return noSuch('protection domain', 'pd');
  if (!sendCq) return noSuch('completion queue', 'sendCq');
  if (!recvCq) return noSuch('completion queue', 'recvCq');
  if (srq === undefined) return noSuch('shared receive queue', 'srq');
  if (!TYPES.includes(command.type)) return refuse(Errno.EOPNOTSUPP, 'only RC, UC and UD QPs can be created', 'type');
  if (srq && command.type === QpType.UC) return invalid('srq', 'a UC QP has its own receive queue (ibv_create_qp(3))');
  const refusal = checkCap(command.cap, control.config.limits.queueDepth);
  if (refusal) return refusal;
  const cookie = command.cookie ?? 0n;
  if (!isWide(cookie)) return invalid('cookie', 'must be a 64-bit number');
  const full = takeRoom(control, 'qps');
  if (full) return full;
  const parts = { pd, sendCq, recvCq, srq, cookie };
  const created = newQp(control, context, command, parts, now);
  if (!created.ok) giveRoom(control, 'qps');
  return created;
};

/** Objects that a QP is made of, and its cookie. */
type Parts = Pick<QpIdentity, 'pd' | 'sendCq' | 'recvCq' | 'srq' | 'cookie'>;

function newQp(
  control: Control,
  context: Context,
  command: CommandOf<'createQp'>,
  parts: Parts,
  now: number,
): Result<'createQp'> {
  const { pd, sendCq, recvCq, srq } = parts;
  if (context.qps.size >= context.doorbell.slots)
    return refuse(Errno.ENOMEM, `the doorbell page has room for ${context.doorbell.slots} queue pairs`);
  const qpn = control.qps.draw(now);
  if (qpn === -1) return refuse(Errno.ENOMEM, 'every QP number of this vRNIC is in use or was a short while ago');
  const cap = context.sharedCap(wholeCap(command.cap, srq !== null));
  const rings = newRings(control, context, cap, srq !== null);
  if (!rings) return refuse(Errno.ENOMEM, 'no memory is left for the queues', 'cap');
  pd.children++;
  sendCq.users++;
  recvCq.users++;
  if (srq) srq.users++;
  const { type } = command;
  const sqSigAll = command.sqSigAll === true;
  const make = (handle: number) =>
    new QueuePair({ qpn, type, handle, ...parts, ...rings, cap, sqSigAll }, control.core);
  const qp = context.qps.add(make);
  control.qps.add(qp);
  const rq = rings.rq === null ? {} : { rq: rings.rq.memory };
  return { ok: true, qp: qp.handle, qpNum: qpn, slot: qp.slot, cap, sq: rings.sq.memory, ...rq };
}

export const queryQp: Handler<'queryQp'> = (_control, context, command) => {
  const qp = context.qps.get(command.qp);
  if (!qp) return noSuch('queue pair', 'qp');
  const attributes = {
    qpState: qp.state,
    curQpState: qp.state,
    pathMtu: Math.max(0, 24 - Math.clz32(qp.pathMtuBytes)),
    qKey: qp.qKey,
    rqPsn: qp.rqPsn,
    sqPsn: qp.sqPsn,
    destQpNum: qp.destQpn,
    qpAccessFlags: qp.accessFlags,
    cap: qp.cap,
    pKeyIndex: 0,
    enSqdAsyncNotify: qp.sqdAsyncNotify,
    maxRdAtomic: qp.maxRdAtomic,
    maxDestRdAtomic: qp.maxDestRdAtomic,
    minRnrTimer: qp.minRnrTimer,
    portNum: 1,
    timeout: qp.timeout,
    retryCnt: qp.retryCount,
    rnrRetry: qp.rnrRetry,
    ...(qp.av && { av: qp.av }),
  };
  return { ok: true, attributes, type: qp.type, qpNum: qp.qpn, sqSigAll: qp.sqSigAll };
};

export const destroyQp: Handler<'destroyQp'> = (control, context, command, now) => {
  const qp = context.qps.get(command.qp);
  if (!qp) return noSuch('queue pair', 'qp');
  if (qp.groups !== 0) return busy('queue pair', `it is attached to ${qp.groups} multicast groups`);
  removeQp(control, context, qp, now);
  return { ok: true, asyncEvents: qp.asyncEvents };
};

export function removeQp(control: Control, context: Context, qp: QueuePair, now: number): void {
  control.groups.detachAll(qp);
  control.dropQp(qp, now);
  context.qps.remove(qp.handle);
  giveRoom(control, 'qps');
  (qp.pd as { children: number }).children--;
  qp.sendCq.users--;
  qp.recvCq.users--;
  if (qp.srq) qp.srq.users--;
  qp.asyncEvents -= control.events.forget(context.id, qp.handle, isQpEvent);
  control.host.freeQueue(context.id, qp.sq.memory);
  if (qp.rq) control.host.freeQueue(context.id, qp.rq.memory);
}

export const attachMcast: Handler<'attachMcast'> = (control, context, command) => {
  const qp = context.qps.get(command.qp);
  if (!qp) return noSuch('queue pair', 'qp');
  if (qp.type !== QpType.UD) return invalid('qp', 'only a UD QP receives multicast');
  if (!isMulticastGid(command.gid)) return invalid('gid', 'is not a multicast GID');
  if (!control.groups.attach(command.gid, qp))
    return refuse(Errno.ENOMEM, 'this vRNIC holds no more multicast groups or members', 'gid');
  return { ok: true };
};

export const detachMcast: Handler<'detachMcast'> = (control, context, command) => {
  const qp = context.qps.get(command.qp);
  if (!qp) return noSuch('queue pair', 'qp');
  if (!isMulticastGid(command.gid)) return invalid('gid', 'is not a multicast GID');
  if (!control.groups.detach(command.gid, qp)) return invalid('gid', 'the QP is not attached to this group');
  return { ok: true };
};

const QP_EVENTS: readonly number[] = [
  AsyncEvent.QP_FATAL,
  AsyncEvent.QP_REQ_ERR,
  AsyncEvent.QP_ACCESS_ERR,
  AsyncEvent.COMM_EST,
  AsyncEvent.SQ_DRAINED,
  AsyncEvent.PATH_MIG,
  AsyncEvent.PATH_MIG_ERR,
  AsyncEvent.QP_LAST_WQE_REACHED,
];
const isQpEvent = (kind: number, code: number): boolean => kind === EventKind.ASYNC && QP_EVENTS.includes(code);

function checkCap(cap: QpCap | undefined, depth: number): Refusal | undefined {
  if (!cap) return invalid('cap', 'is missing');
  if (!isWhole(cap.maxSendWr, 0, depth)) return invalid('cap.maxSendWr', `must be 0 … ${depth}`);
  if (!isWhole(cap.maxRecvWr, 0, depth)) return invalid('cap.maxRecvWr', `must be 0 … ${depth}`);
  if (!isWhole(cap.maxSendSge, 0, Layout.MAX_SGE)) return invalid('cap.maxSendSge', `must be 0 … ${Layout.MAX_SGE}`);
  if (!isWhole(cap.maxRecvSge, 0, Layout.MAX_SGE)) return invalid('cap.maxRecvSge', `must be 0 … ${Layout.MAX_SGE}`);
  if (!isWhole(cap.maxInlineData, 0, Layout.MAX_INLINE_BYTES))
    return invalid('cap.maxInlineData', `must be 0 … ${Layout.MAX_INLINE_BYTES}`);
  return undefined;
}

/** What the queues really hold: a power of two less one. */
function wholeCap(asked: QpCap, hasSrq: boolean): QpCap {
  return {
    maxSendWr: Layout.slotsFor(Math.max(1, asked.maxSendWr)) - 1,
    maxRecvWr: hasSrq ? 0 : Layout.slotsFor(Math.max(1, asked.maxRecvWr)) - 1,
    maxSendSge: Math.max(1, asked.maxSendSge),
    maxRecvSge: hasSrq ? 0 : Math.max(1, asked.maxRecvSge),
    maxInlineData: asked.maxInlineData,
  };
}

function newRings(
  control: Control,
  context: Context,
  cap: QpCap,
  hasSrq: boolean,
): { sq: SendRing; rq: Ring | null } | undefined {
  const sendElement = Layout.sendElementBytes(cap.maxSendSge, cap.maxInlineData);
  const sq = newRing(SendRing, control, context, cap.maxSendWr, sendElement);
  if (!sq) return undefined;
  if (hasSrq) return { sq, rq: null };
  const rq = newRing(Ring, control, context, cap.maxRecvWr, Layout.recvElementBytes(cap.maxRecvSge));
  if (rq) return { sq, rq };
  control.host.freeQueue(context.id, sq.memory);
  return undefined;
}

function newRing<R extends Ring>(
  kind: new (...ring: ConstructorParameters<typeof Ring>) => R,
  control: Control,
  context: Context,
  depth: number,
  element: number,
): R | undefined {
  const memory = allocate(control, context, Layout.queueBytes(depth, element));
  if (!memory) return undefined;
  const ring = new kind(memory, Layout.slotsFor(depth), element);
  ring.format();
  return ring;
}
