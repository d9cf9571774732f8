/**
 * The uverbs commands that programs write(): number → what it does. Layouts are those of rdma/ib_user_verbs.h, offsets counted behind the command header; driver
 * data those of rdma/rdma_user_rxe.h. What is not in the table is EOPNOTSUPP, as from a driver without the method.
 */
import { Errno } from '../../rnic/commands.ts';
import { QpAttr, QpState, type QpType } from '../../rnic/constants.ts';
import { ARM } from '../../rnic/queue/layout.ts';
import type { QueueMemory } from '../../rnic/queue/ring.ts';
import type { UverbsContext } from './context.ts';
import { CommandError, granted, invalid } from './errors.ts';
import * as Layouts from './layouts.ts';
import { CHANNEL_ASYNC, QP_GONE, type Reply } from './protocol.ts';
import { Input, Output } from './structure.ts';

const EXTENDED = 0x8000_0000;
const HEADER_BYTES = 8;
const EXTENDED_HEADER_BYTES = 24;
/** Everything up to DEST_QPN: what `ibv_qp_attr_mask` had before rate limits. */
const MODIFY_QP_ATTRIBUTES = 2 * QpAttr.DEST_QPN - 1;
const COMPLETION_VECTORS = 1;

/** One command on its way. */
interface Call {
  readonly context: UverbsContext;
  /** The process that wrote it. */
  readonly pid: number;
  readonly input: Input;
  readonly reply: Reply;
  readonly isExtended: boolean;
  /** Where the program wants its response. */
  readonly response: bigint;
  /** Writes the response, cut to the room that the program has for it. */
  respond(out: Output): void;
}

type Handler = (call: Call) => Promise<void> | void;

/** `write()` of a program on its uverbs descriptor. @throws CommandError */
export async function execute(context: UverbsContext, pid: number, octets: Buffer, reply: Reply): Promise<void> {
  const header = new Input(octets);
  const word = header.u32(0);
  const isExtended = word >= EXTENDED;
  const handler = HANDLERS[word & 0xff];
  if (!handler) throw new CommandError(Errno.EOPNOTSUPP, `no such command: ${word & 0xff}`);
  const input = new Input(octets.subarray(isExtended ? EXTENDED_HEADER_BYTES : HEADER_BYTES));
  const room = isExtended ? (header.u16(6) + header.u16(18)) * 8 : header.u16(6) * 4;
  const response = isExtended ? header.u64(8) : input.length >= 8 ? input.u64(0) : 0n;
  const respond = (out: Output): void => {
    if (response === 0n) throw new CommandError(Errno.EFAULT, 'nowhere to write the response');
    reply.poke(response, out.octets.subarray(0, room));
  };
  await handler({ context, pid, input, reply, isExtended, response, respond });
}

const words = (...values: number[]): Output => {
  const out = new Output(4 * values.length);
  for (const [i, value] of values.entries()) out.u32(4 * i, value);
  return out;
};

function getContext({ context, reply, response, respond }: Call): void {
  respond(words(0, COMPLETION_VECTORS));
  context.openAsyncPipe(reply, response);
}

async function queryDevice({ context, isExtended, respond }: Call): Promise<void> {
  respond(Layouts.deviceResponse(granted(await context.link.call({ op: 'queryDevice' })), isExtended));
}

async function queryPort({ context, input, respond }: Call): Promise<void> {
  respond(Layouts.portResponse(granted(await context.link.call({ op: 'queryPort', portNum: input.u8(8) }))));
}

async function allocPd({ context, respond }: Call): Promise<void> {
  respond(words(granted(await context.link.call({ op: 'allocPd' })).pd));
}

async function deallocPd({ context, input }: Call): Promise<void> {
  granted(await context.link.call({ op: 'deallocPd', pd: input.u32(0) }));
}

async function createAh({ context, input, respond }: Call): Promise<void> {
  const av = Layouts.readAhAttr(input, 24);
  const { ah, ahNum } = granted(await context.link.call({ op: 'createAh', pd: input.u32(16), av }));
  respond(words(ah, ahNum, 0));
}

async function destroyAh({ context, input }: Call): Promise<void> {
  granted(await context.link.call({ op: 'destroyAh', ah: input.u32(0) }));
}

async function regMr({ context, pid, input, respond }: Call): Promise<void> {
  const memory = { pid, address: input.size(8) };
  const range = { start: 0, length: input.size(16), iova: input.u64(24) };
  const command = { op: 'regMr', pd: input.u32(32), memory, ...range, access: input.u32(36) } as const;
  const { mr, lKey, rKey } = granted(await context.link.call(command));
  respond(words(mr, lKey, rKey));
}

const REREG_TRANSLATION = 1;
const REREG_PD = 2;
const REREG_ACCESS = 4;

async function reregMr({ context, pid, input, respond }: Call): Promise<void> {
  const flags = input.u32(12);
  const memory = { pid, address: input.size(16) };
  const range = { memory, start: 0, length: input.size(24), iova: input.u64(32) };
  const { lKey, rKey } = granted(
    await context.link.call({
      op: 'reregMr',
      mr: input.u32(8),
      flags,
      ...(flags & REREG_TRANSLATION && range),
      ...(flags & REREG_PD && { pd: input.u32(40) }),
      ...(flags & REREG_ACCESS && { access: input.u32(44) }),
    }),
  );
  respond(words(lKey, rKey));
}

async function deregMr({ context, input }: Call): Promise<void> {
  granted(await context.link.call({ op: 'deregMr', mr: input.u32(0) }));
}

async function allocMw({ context, input, respond }: Call): Promise<void> {
  const type = input.u8(12);
  if (type !== 1 && type !== 2) throw invalid('memory windows are of type 1 or 2');
  const { mw, rKey } = granted(await context.link.call({ op: 'allocMw', pd: input.u32(8), type }));
  respond(words(mw, rKey));
}

async function deallocMw({ context, input }: Call): Promise<void> {
  granted(await context.link.call({ op: 'deallocMw', mw: input.u32(0) }));
}

async function createCompChannel({ context, reply, response }: Call): Promise<void> {
  const { channel } = granted(await context.link.call({ op: 'createCompChannel' }));
  context.openChannelPipe(reply, response, channel);
}

async function createCq({ context, input, reply, isExtended, respond }: Call): Promise<void> {
  const at = isExtended ? 0 : 8;
  const [userHandle, cqe, vector, channel] = [input.u64(at), input.u32(at + 8), input.u32(at + 12), input.s32(at + 16)];
  if (vector >= COMPLETION_VECTORS) throw invalid('no such completion vector');
  if (isExtended && input.u32(24) !== 0) throw new CommandError(Errno.EOPNOTSUPP, 'no CQ has these flags');
  const command = { op: 'createCq', cqe, cookie: userHandle, ...(channel >= 0 && { channel }) } as const;
  const answer = granted(await context.link.call(command));
  context.cqs.set(answer.cq, { userHandle, channel: channel >= 0 ? channel : null });
  const base = isExtended ? 16 : 8;
  const out = new Output(base + Layouts.MMINFO_BYTES).u32(0, answer.cq).u32(4, answer.cqe);
  if (isExtended) out.u32(12, base);
  Layouts.writeMminfo(out, base, answer.queue);
  respond(out);
  reply.cq(answer.cq, answer.queue.mapOffset + ARM);
}

async function resizeCq({ context, input, reply, respond }: Call): Promise<void> {
  const cq = input.u32(8);
  const { cqe, queue } = granted(await context.link.call({ op: 'resizeCq', cq, cqe: input.u32(12) }));
  const out = new Output(8 + Layouts.MMINFO_BYTES).u32(0, cqe);
  Layouts.writeMminfo(out, 8, queue);
  respond(out);
  reply.cq(cq, queue.mapOffset + ARM);
}

async function destroyCq({ context, input, reply, response }: Call): Promise<void> {
  const cq = input.u32(8);
  granted(await context.link.call({ op: 'destroyCq', cq }));
  const { userHandle, channel } = context.cqs.get(cq) ?? { userHandle: 0n, channel: null };
  await context.forgetCq(cq);
  reply.cq(cq, 0);
  if (channel !== null) reply.purge(channel, userHandle);
  reply.purge(CHANNEL_ASYNC, userHandle);
  reply.completionCount(response, userHandle);
  reply.asyncCount(response + 4n, userHandle);
}

const EX_QP_BASE_BYTES = 40;
const QP_BASE_BYTES = 32;

async function createQp({ context, input, reply, isExtended, respond }: Call): Promise<void> {
  const at = isExtended ? 0 : 8;
  const userHandle = input.u64(at);
  if (isExtended && input.u32(52) !== 0) throw new CommandError(Errno.EOPNOTSUPP, 'no QP has these flags');
  const answer = granted(
    await context.link.call({
      op: 'createQp',
      pd: input.u32(at + 8),
      sendCq: input.u32(at + 12),
      recvCq: input.u32(at + 16),
      ...(input.u8(at + 46) !== 0 && { srq: input.u32(at + 20) }),
      cap: Layouts.readCap(input, at + 24),
      sqSigAll: input.u8(at + 44) !== 0,
      type: input.u8(at + 45) as QpType,
      cookie: userHandle,
    }),
  );
  const { qp, slot, qpNum } = answer;
  context.qps.set(qp, { userHandle, slot, qpNum });
  const base = isExtended ? EX_QP_BASE_BYTES : QP_BASE_BYTES;
  const out = new Output(base + 2 * Layouts.MMINFO_BYTES).u32(0, qp).u32(4, qpNum);
  Layouts.writeCap(out, 8, answer.cap);
  if (isExtended) out.u32(36, base);
  Layouts.writeMminfo(out, base, answer.rq);
  Layouts.writeMminfo(out, base + Layouts.MMINFO_BYTES, answer.sq);
  respond(out);
  reply.qp(qp, QpState.RESET, slot, qpNum, [input.u32(at + 12), input.u32(at + 16)]);
}

async function queryQp({ context, input, respond }: Call): Promise<void> {
  respond(Layouts.qpResponse(granted(await context.link.call({ op: 'queryQp', qp: input.u32(8) }))));
}

async function modifyQp({ context, input, reply }: Call): Promise<void> {
  const qp = input.u32(64);
  const mask = input.u32(68);
  if ((mask & ~MODIFY_QP_ATTRIBUTES) !== 0) throw new CommandError(Errno.EOPNOTSUPP, 'no QP has these attributes');
  const { av, ...others } = Layouts.readQpAttributes(input, (mask & QpAttr.AV) !== 0);
  const { underlay } = context;
  const attributes = { ...others, ...(av && { av: { ...av, ...(underlay && { underlay }) } }) };
  const { state } = granted(await context.link.call({ op: 'modifyQp', qp, mask, attributes }));
  const { slot, qpNum } = context.qps.get(qp)!;
  reply.qp(qp, state, slot, qpNum);
}

async function destroyQp({ context, input, reply, response }: Call): Promise<void> {
  const qp = input.u32(8);
  granted(await context.link.call({ op: 'destroyQp', qp }));
  const { userHandle } = context.qps.get(qp)!;
  context.qps.delete(qp);
  reply.qp(qp, QP_GONE, 0, 0);
  reply.purge(CHANNEL_ASYNC, userHandle);
  reply.asyncCount(response, userHandle);
}

async function attachMcast({ context, input }: Call): Promise<void> {
  granted(await context.link.call({ op: 'attachMcast', gid: input.octets(0, 16), qp: input.u32(16) }));
}

async function detachMcast({ context, input }: Call): Promise<void> {
  granted(await context.link.call({ op: 'detachMcast', gid: input.octets(0, 16), qp: input.u32(16) }));
}

async function createSrq({ context, input, respond }: Call): Promise<void> {
  const userHandle = input.u64(8);
  const [maxWr, maxSge, srqLimit] = [input.u32(20), input.u32(24), input.u32(28)];
  const command = { op: 'createSrq', pd: input.u32(16), maxWr, maxSge, srqLimit, cookie: userHandle } as const;
  const answer = granted(await context.link.call(command));
  context.srqs.set(answer.srq, userHandle);
  const out = new Output(40).u32(0, answer.srq).u32(4, answer.maxWr).u32(8, answer.maxSge).u32(12, answer.srqNum);
  Layouts.writeMminfo(out, 16, answer.queue);
  respond(out.u32(32, answer.srqNum));
}

const SRQ_MAX_WR = 1;
const SRQ_LIMIT = 2;

async function modifySrq({ context, input, reply }: Call): Promise<void> {
  const mask = input.u32(4);
  const attributes = {
    ...(mask & SRQ_MAX_WR && { maxWr: input.u32(8) }),
    ...(mask & SRQ_LIMIT && { srqLimit: input.u32(12) }),
  };
  const { queue } = granted(await context.link.call({ op: 'modifySrq', srq: input.u32(0), attributes }));
  if (!queue) return;
  // rxe_modify_srq_cmd: where the program wants to know the new queue's place.
  const out = new Output(Layouts.MMINFO_BYTES);
  Layouts.writeMminfo(out, 0, queue as QueueMemory);
  reply.poke(input.u64(16), out.octets);
}

async function querySrq({ context, input, respond }: Call): Promise<void> {
  const { maxWr, maxSge, srqLimit } = granted(await context.link.call({ op: 'querySrq', srq: input.u32(8) }));
  respond(words(maxWr, maxSge, srqLimit, 0));
}

async function destroySrq({ context, input, reply, response }: Call): Promise<void> {
  const srq = input.u32(8);
  granted(await context.link.call({ op: 'destroySrq', srq }));
  const userHandle = context.srqs.get(srq)!;
  context.srqs.delete(srq);
  reply.purge(CHANNEL_ASYNC, userHandle);
  reply.asyncCount(response, userHandle);
}

/** `enum ib_uverbs_write_cmds`. POST_SEND (28) and REQ_NOTIFY_CQ (23) are answered by the shim, from shared memory. */
const HANDLERS: { readonly [number: number]: Handler } = {
  0: getContext,
  1: queryDevice,
  2: queryPort,
  3: allocPd,
  4: deallocPd,
  5: createAh,
  8: destroyAh,
  9: regMr,
  11: reregMr,
  13: deregMr,
  14: allocMw,
  16: deallocMw,
  17: createCompChannel,
  18: createCq,
  19: resizeCq,
  20: destroyCq,
  24: createQp,
  25: queryQp,
  26: modifyQp,
  27: destroyQp,
  30: attachMcast,
  31: detachMcast,
  32: createSrq,
  33: modifySrq,
  34: querySrq,
  35: destroySrq,
};
