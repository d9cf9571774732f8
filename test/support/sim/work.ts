/** Work requests and completions as an application sees them: octets in shared queues, written and read as librxe does. */
import { WrOpcode } from '../../../rnic/constants.ts';
import * as Layout from '../../../rnic/queue/layout.ts';
import { type QueueMemory, Ring } from '../../../rnic/queue/ring.ts';

const { Send, Recv, Cqe } = Layout;

export interface SgeValue {
  readonly address: number;
  readonly length: number;
  readonly lKey: number;
}

export interface SendRequest {
  readonly wrId: number;
  readonly opcode: WrOpcode;
  readonly flags: number;
  readonly sges?: readonly SgeValue[];
  /** Instead of SGEs (INLINE), and the 8 octets of ATOMIC_WRITE. */
  readonly inline?: Uint8Array;
  readonly immediate?: number;
  readonly remoteAddress?: number;
  readonly rKey?: number;
  readonly compareAdd?: bigint;
  readonly swap?: bigint;
  readonly destQpn?: number;
  readonly qKey?: number;
  readonly ahNum?: number;
  /** FLUSH: how much of what, and how far. */
  readonly flush?: { readonly length: number; readonly type: number; readonly level: number };
  /** BIND_MW and REG_MR. */
  readonly grant?: Grant;
}

/** What a window is bound to, or a region registered for. */
export interface Grant {
  readonly address: number;
  readonly length: number;
  /** Of the region; of REG_MR, the key that the region has now. */
  readonly lKey: number;
  /** BIND_MW: the key that the window has now. REG_MR: the region's key to come. */
  readonly rKey: number;
  readonly newKey: number;
  readonly access: number;
}

export interface Completion {
  readonly wrId: number;
  readonly status: number;
  readonly opcode: number;
  readonly byteLen: number;
  readonly immediate: number;
  readonly qpNum: number;
  readonly srcQp: number;
  readonly wcFlags: number;
}

/** A ring over memory that the engine formatted: its shape stands in its header. */
export function openRing(queue: QueueMemory): Ring {
  const view = new DataView(queue.buffer, queue.byteOffset, queue.byteLength);
  const slots = view.getUint32(Layout.INDEX_MASK, true) + 1;
  return new Ring(queue, slots, 1 << view.getUint32(Layout.LOG2_ELEMENT_BYTES, true));
}

function writeSges(view: DataView, at: number, sges: readonly SgeValue[]): void {
  for (const [i, sge] of sges.entries()) {
    const to = at + i * Layout.Sge.BYTES;
    view.setBigUint64(to + Layout.Sge.ADDR, BigInt(sge.address), true);
    view.setUint32(to + Layout.Sge.LENGTH, sge.length, true);
    view.setUint32(to + Layout.Sge.LKEY, sge.lKey, true);
  }
}

/** False when the queue is full. */
export function writeSend(ring: Ring, request: SendRequest): boolean {
  if (ring.count() === ring.mask) return false;
  const index = ring.producer();
  const at = ring.slotAt(index);
  const { view } = ring;
  ring.bytes.fill(0, at, at + ring.elementBytes);
  view.setBigUint64(at + Send.WR_ID, BigInt(request.wrId), true);
  view.setUint32(at + Send.OPCODE, request.opcode, true);
  view.setUint32(at + Send.FLAGS, request.flags, true);
  view.setUint32(at + Send.IMM_OR_INVALIDATE, request.immediate ?? 0, true);
  view.setBigUint64(at + Send.REMOTE_ADDR, BigInt(request.remoteAddress ?? 0), true);
  writeTransport(view, at, request);
  if (request.inline !== undefined) {
    ring.bytes.set(request.inline, at + Send.SGE);
    view.setUint32(at + Send.DMA_LENGTH, request.inline.length, true);
  } else {
    view.setUint32(at + Send.DMA_NUM_SGE, request.sges?.length ?? 0, true);
    writeSges(view, at + Send.SGE, request.sges ?? []);
  }
  ring.publishProducer(ring.next(index));
  return true;
}

function writeTransport(view: DataView, at: number, request: SendRequest): void {
  const { opcode, flush, grant } = request;
  const isAtomic = opcode === WrOpcode.ATOMIC_CMP_AND_SWP || opcode === WrOpcode.ATOMIC_FETCH_AND_ADD;
  if (isAtomic) {
    view.setBigUint64(at + Send.ATOMIC_COMPARE_ADD, request.compareAdd ?? 0n, true);
    view.setBigUint64(at + Send.ATOMIC_SWAP, request.swap ?? 0n, true);
    view.setUint32(at + Send.ATOMIC_RKEY, request.rKey ?? 0, true);
  } else if (request.ahNum !== undefined) {
    view.setUint32(at + Send.UD_QPN, request.destQpn ?? 0, true);
    view.setUint32(at + Send.UD_QKEY, request.qKey ?? 0, true);
    view.setUint32(at + Send.UD_AH_NUM, request.ahNum, true);
  } else if (flush !== undefined) {
    view.setUint32(at + Send.FLUSH_LENGTH, flush.length, true);
    view.setUint32(at + Send.FLUSH_RKEY, request.rKey ?? 0, true);
    view.setUint8(at + Send.FLUSH_TYPE, flush.type);
    view.setUint8(at + Send.FLUSH_LEVEL, flush.level);
  } else if (grant !== undefined) writeGrant(view, at, grant);
  else view.setUint32(at + Send.RDMA_RKEY, request.rKey ?? 0, true);
}

function writeGrant(view: DataView, at: number, grant: Grant): void {
  view.setBigUint64(at + Send.MW_ADDR, BigInt(grant.address), true);
  view.setBigUint64(at + Send.MW_LENGTH, BigInt(grant.length), true);
  view.setUint32(at + Send.MW_MR_LKEY, grant.lKey, true);
  view.setUint32(at + Send.MW_RKEY, grant.rKey, true);
  view.setUint32(at + Send.MW_NEW_RKEY, grant.newKey, true);
  view.setUint32(at + Send.MW_ACCESS, grant.access, true);
}

/** False when the queue is full. */
export function writeReceive(ring: Ring, wrId: number, sges: readonly SgeValue[]): boolean {
  if (ring.count() === ring.mask) return false;
  const index = ring.producer();
  const at = ring.slotAt(index);
  ring.view.setBigUint64(at + Recv.WR_ID, BigInt(wrId), true);
  ring.view.setUint32(at + Recv.DMA_NUM_SGE, sges.length, true);
  writeSges(ring.view, at + Recv.SGE, sges);
  ring.publishProducer(ring.next(index));
  return true;
}

/** Takes the next completion of a CQ; undefined when there is none. */
export function readCompletion(ring: Ring): Completion | undefined {
  const index = ring.consumer();
  if (index === ring.producer()) return undefined;
  const at = ring.slotAt(index);
  const { view } = ring;
  const completion = {
    wrId: Number(view.getBigUint64(at + Cqe.WR_ID, true)),
    status: view.getUint32(at + Cqe.STATUS, true),
    opcode: view.getUint32(at + Cqe.OPCODE, true),
    byteLen: view.getUint32(at + Cqe.BYTE_LEN, true),
    immediate: view.getUint32(at + Cqe.IMM_OR_INVALIDATED, true),
    qpNum: view.getUint32(at + Cqe.QP_NUM, true),
    srcQp: view.getUint32(at + Cqe.SRC_QP, true),
    wcFlags: view.getUint32(at + Cqe.WC_FLAGS, true),
  };
  ring.publishConsumer(ring.next(index));
  return completion;
}
