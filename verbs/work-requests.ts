/** Work requests as applications give them, and how they are written into queues (rnic/queue/layout.ts). `ibv_send_wr`, `ibv_recv_wr`, `ibv_sge`. */
import { Errno } from '../rnic/commands.ts';
import { QpType, SendFlag, WrOpcode } from '../rnic/constants.ts';
import * as Layout from '../rnic/queue/layout.ts';
import type { Ah } from './address-handle.ts';
import { VerbsError } from './errors.ts';
import type { Mr } from './memory-region.ts';
import type { Mw } from './memory-window.ts';

/**
 * Where octets are: in a region from an offset (no bigint needed), at an address under a key (as in C), or, for inline sends only, any octets.
 * `length` is in octets.
 */
export type Sge =
  | { readonly mr: Mr; readonly offset?: number; readonly length?: number }
  | { readonly addr: bigint; readonly length: number; readonly lKey: number }
  | { readonly bytes: Uint8Array };

export interface SendWr {
  /** Comes back in the completion; 64 bits. */
  readonly wrId?: bigint | number;
  readonly opcode: WrOpcode;
  /** SendFlag bits: FENCE 1, SIGNALED 2, SOLICITED 4, INLINE 8. */
  readonly sendFlags?: number;
  readonly sgList?: readonly Sge[];
  /** *_WITH_IMM: 32 bits, sent most significant octet first. */
  readonly immData?: number;
  /** SEND_WITH_INV: the peer's key to revoke. LOCAL_INV: ours. */
  readonly invalidateRKey?: number;
  /** RDMA and atomics: the peer's address and key. */
  readonly remoteAddr?: bigint;
  readonly rKey?: number;
  /** ATOMIC_CMP_AND_SWP: compared with; ATOMIC_FETCH_AND_ADD: added. */
  readonly compareAdd?: bigint;
  readonly swap?: bigint;
  /** UD. */
  readonly ah?: Ah;
  readonly remoteQpn?: number;
  readonly remoteQKey?: number;
  /** BIND_MW. */
  readonly mw?: Mw;
  readonly bindInfo?: {
    readonly mr: Mr;
    readonly addr: bigint;
    readonly length: number;
    readonly mwAccessFlags: number;
  };
}

export interface RecvWr {
  readonly wrId?: bigint | number;
  readonly sgList?: readonly Sge[];
}

const { Send, Recv } = Layout;
const MESSAGE_BYTES_MAX = 2 ** 31;
const ATOMIC_BYTES = 8;
const ATOMICS: readonly number[] = [WrOpcode.ATOMIC_CMP_AND_SWP, WrOpcode.ATOMIC_FETCH_AND_ADD];
const IMMEDIATES: readonly number[] = [WrOpcode.SEND_WITH_IMM, WrOpcode.RDMA_WRITE_WITH_IMM];
const INVALIDATES: readonly number[] = [WrOpcode.SEND_WITH_INV, WrOpcode.LOCAL_INV];
const WRITES: readonly number[] = [WrOpcode.RDMA_WRITE, WrOpcode.RDMA_WRITE_WITH_IMM];
const INLINES: readonly number[] = [
  ...WRITES,
  WrOpcode.SEND,
  WrOpcode.SEND_WITH_IMM,
  WrOpcode.SEND_WITH_INV,
  WrOpcode.ATOMIC_WRITE,
];
const OF_UD: readonly number[] = [WrOpcode.SEND, WrOpcode.SEND_WITH_IMM];
const OF_UC: readonly number[] = [...OF_UD, ...WRITES, WrOpcode.LOCAL_INV, WrOpcode.BIND_MW];

/** What a queue takes: for the checks at post (SPEC-CHECKLIST R-142). */
export interface SendLimits {
  readonly type: QpType;
  readonly maxSge: number;
  readonly maxInline: number;
}

const wrong = (argument: string, reason: string, errno: number = Errno.EINVAL): VerbsError =>
  new VerbsError('postSend', errno, reason, argument);

/** Writes one send WQE at `at`. Throws, and leaves the queue as it was, when the request is not valid for the QP. */
export function writeSend(view: DataView, bytes: Uint8Array, at: number, wr: SendWr, limits: SendLimits): void {
  const { opcode, sendFlags = 0, sgList = [] } = wr;
  checkOpcode(opcode, limits.type);
  const isInline = (sendFlags & SendFlag.INLINE) !== 0;
  if (isInline && !INLINES.includes(opcode)) throw wrong('sendFlags', 'only SEND and WRITE carry inline data');
  if (sgList.length > limits.maxSge && !isInline) throw wrong('sgList', `the QP takes ${limits.maxSge} SGEs`);
  writeWrId(view, at + Send.WR_ID, wr.wrId);
  view.setUint32(at + Send.OPCODE, opcode, true);
  view.setUint32(at + Send.FLAGS, sendFlags, true);
  view.setUint32(at + Send.IMM_OR_INVALIDATE, 0, true);
  if (IMMEDIATES.includes(opcode)) view.setUint32(at + Send.IMM_OR_INVALIDATE, wr.immData ?? 0);
  if (INVALIDATES.includes(opcode))
    view.setUint32(at + Send.IMM_OR_INVALIDATE, need(wr.invalidateRKey, 'invalidateRKey'), true);
  writeOperation(view, at, wr, limits.type);
  const length = isInline
    ? writeInline(view, bytes, at, sgList, limits.maxInline)
    : writeSges(view, at + Send.SGE, sgList);
  if (length > MESSAGE_BYTES_MAX) throw wrong('sgList', 'a message holds at most 2^31 octets');
  if (ATOMICS.includes(opcode) && length !== ATOMIC_BYTES) throw wrong('sgList', 'an atomic returns 8 octets');
  view.setUint32(at + Send.DMA_LENGTH, length, true);
  view.setUint32(at + Send.DMA_NUM_SGE, isInline ? 0 : sgList.length, true);
}

function checkOpcode(opcode: number, type: QpType): void {
  const isOf =
    type === QpType.RC
      ? Object.values(WrOpcode).includes(opcode as WrOpcode)
      : (type === QpType.UC ? OF_UC : OF_UD).includes(opcode);
  if (!isOf) throw wrong('opcode', 'this type of QP has no such operation');
}

function need<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw wrong(name, 'is missing');
  return value;
}

function writeOperation(view: DataView, at: number, wr: SendWr, type: QpType): void {
  const { opcode } = wr;
  if (type === QpType.UD) {
    view.setUint32(at + Send.UD_QPN, need(wr.remoteQpn, 'remoteQpn'), true);
    view.setUint32(at + Send.UD_QKEY, need(wr.remoteQKey, 'remoteQKey'), true);
    view.setUint32(at + Send.UD_AH_NUM, need(wr.ah, 'ah').ahNum, true);
  } else if (ATOMICS.includes(opcode)) {
    view.setBigUint64(at + Send.REMOTE_ADDR, need(wr.remoteAddr, 'remoteAddr'), true);
    view.setBigUint64(at + Send.ATOMIC_COMPARE_ADD, BigInt.asUintN(64, need(wr.compareAdd, 'compareAdd')), true);
    view.setBigUint64(at + Send.ATOMIC_SWAP, BigInt.asUintN(64, wr.swap ?? 0n), true);
    view.setUint32(at + Send.ATOMIC_RKEY, need(wr.rKey, 'rKey'), true);
  } else if (opcode === WrOpcode.BIND_MW) writeBind(view, at, wr);
  else if (WRITES.includes(opcode) || opcode === WrOpcode.RDMA_READ || opcode === WrOpcode.ATOMIC_WRITE) {
    view.setBigUint64(at + Send.REMOTE_ADDR, need(wr.remoteAddr, 'remoteAddr'), true);
    view.setUint32(at + Send.RDMA_RKEY, need(wr.rKey, 'rKey'), true);
  }
}

function writeBind(view: DataView, at: number, wr: SendWr): void {
  const mw = need(wr.mw, 'mw');
  const info = need(wr.bindInfo, 'bindInfo');
  view.setBigUint64(at + Send.MW_ADDR, info.addr, true);
  view.setBigUint64(at + Send.MW_LENGTH, BigInt(info.length), true);
  view.setUint32(at + Send.MW_MR_LKEY, info.mr.lKey, true);
  view.setUint32(at + Send.MW_RKEY, mw.rKey, true);
  view.setUint32(at + Send.MW_NEW_RKEY, need(wr.rKey, 'rKey'), true);
  view.setUint32(at + Send.MW_ACCESS, info.mwAccessFlags, true);
}

/** Copies the octets into the WQE: the source may change as soon as the verb returns, its key is not looked at. */
function writeInline(view: DataView, bytes: Uint8Array, at: number, sgList: readonly Sge[], most: number): number {
  let length = 0;
  for (const sge of sgList) {
    const source = inlineBytes(sge);
    if (length + source.length > most) throw wrong('sgList', `the QP takes ${most} octets of inline data`);
    bytes.set(source, at + Send.SGE + length);
    length += source.length;
  }
  view.setUint32(at + Send.DMA_NUM_SGE, 0, true);
  return length;
}

function inlineBytes(sge: Sge): Uint8Array {
  if ('bytes' in sge) return sge.bytes;
  if ('mr' in sge) return sge.mr.bytes.subarray(sge.offset ?? 0, (sge.offset ?? 0) + lengthOf(sge));
  throw wrong('sgList', 'inline data is given as { bytes } or { mr }');
}

const lengthOf = (sge: { mr: Mr; offset?: number; length?: number }): number =>
  sge.length ?? sge.mr.length - (sge.offset ?? 0);

/** Writes SGEs and returns the octets they name. */
function writeSges(view: DataView, at: number, sgList: readonly Sge[]): number {
  let total = 0;
  for (let i = 0; i < sgList.length; i++) {
    const sge = sgList[i]!;
    const to = at + i * Layout.Sge.BYTES;
    let length: number;
    if ('mr' in sge) {
      length = lengthOf(sge);
      sge.mr.writeAddress(view, to + Layout.Sge.ADDR, sge.offset ?? 0);
      view.setUint32(to + Layout.Sge.LKEY, sge.mr.lKey, true);
    } else if ('addr' in sge) {
      length = sge.length;
      view.setBigUint64(to + Layout.Sge.ADDR, sge.addr, true);
      view.setUint32(to + Layout.Sge.LKEY, sge.lKey, true);
    } else throw wrong('sgList', 'octets without a region can only be sent inline');
    view.setUint32(to + Layout.Sge.LENGTH, length, true);
    total += length;
  }
  return total;
}

/** Writes one receive WQE. */
export function writeRecv(view: DataView, at: number, wr: RecvWr, maxSge: number): void {
  const { sgList = [] } = wr;
  if (sgList.length > maxSge)
    throw new VerbsError('postRecv', Errno.EINVAL, `the queue takes ${maxSge} SGEs`, 'sgList');
  writeWrId(view, at + Recv.WR_ID, wr.wrId);
  view.setUint32(at + Recv.DMA_LENGTH, writeSges(view, at + Recv.SGE, sgList), true);
  view.setUint32(at + Recv.DMA_NUM_SGE, sgList.length, true);
}

function writeWrId(view: DataView, at: number, wrId: bigint | number = 0): void {
  if (typeof wrId === 'bigint') view.setBigUint64(at, wrId, true);
  else {
    view.setUint32(at, wrId >>> 0, true);
    view.setUint32(at + 4, Math.floor(wrId / 2 ** 32), true);
  }
}
