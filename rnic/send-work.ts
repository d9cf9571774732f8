/** A send work request as the engine keeps it: copied once from shared memory and checked; what the application does to the WQE afterwards changes nothing. */
import type { Psn } from '../wire/types.ts';
import { QpType, SendFlag, WcOpcode, WcStatus, WrOpcode } from './constants.ts';
import type { Qp } from './core.ts';
import * as Layout from './queue/layout.ts';
import { SgeList } from './sge-list.ts';

const { Send } = Layout;

/** The longest message. IBA Vol. 1, C9-94. */
export const MAX_MESSAGE_BYTES = 2 ** 31;

/** What a work request is to the protocol. */
export const WorkKind = {
  SEGMENTS: 0,
  READ: 1,
  ATOMIC: 2,
  ATOMIC_WRITE: 3,
  FLUSH: 4,
  LOCAL: 5,
} as const;

/** By WrOpcode: kind of work, opcode of the completion, bit of each transport that has it. */
const RC = 1;
const UC = 2;
const UD = 4;
const KINDS = new Uint8Array(64);
const COMPLETIONS = new Uint8Array(64);
const TRANSPORTS = new Uint8Array(64);
const INLINE = new Uint8Array(64);

function define(opcode: WrOpcode, kind: number, completion: WcOpcode, transports: number, mayInline = 0): void {
  KINDS[opcode] = kind;
  COMPLETIONS[opcode] = completion;
  TRANSPORTS[opcode] = transports;
  INLINE[opcode] = mayInline;
}
define(WrOpcode.RDMA_WRITE, WorkKind.SEGMENTS, WcOpcode.RDMA_WRITE, RC | UC, 1);
define(WrOpcode.RDMA_WRITE_WITH_IMM, WorkKind.SEGMENTS, WcOpcode.RDMA_WRITE, RC | UC, 1);
define(WrOpcode.SEND, WorkKind.SEGMENTS, WcOpcode.SEND, RC | UC | UD, 1);
define(WrOpcode.SEND_WITH_IMM, WorkKind.SEGMENTS, WcOpcode.SEND, RC | UC | UD, 1);
define(WrOpcode.SEND_WITH_INV, WorkKind.SEGMENTS, WcOpcode.SEND, RC, 1);
define(WrOpcode.RDMA_READ, WorkKind.READ, WcOpcode.RDMA_READ, RC);
define(WrOpcode.ATOMIC_CMP_AND_SWP, WorkKind.ATOMIC, WcOpcode.COMP_SWAP, RC);
define(WrOpcode.ATOMIC_FETCH_AND_ADD, WorkKind.ATOMIC, WcOpcode.FETCH_ADD, RC);
define(WrOpcode.ATOMIC_WRITE, WorkKind.ATOMIC_WRITE, WcOpcode.ATOMIC_WRITE, RC, 1);
define(WrOpcode.FLUSH, WorkKind.FLUSH, WcOpcode.FLUSH, RC);
define(WrOpcode.LOCAL_INV, WorkKind.LOCAL, WcOpcode.LOCAL_INV, RC | UC);
define(WrOpcode.BIND_MW, WorkKind.LOCAL, WcOpcode.BIND_MW, RC | UC);
define(WrOpcode.REG_MR, WorkKind.LOCAL, WcOpcode.BIND_MW, RC | UC);

const transportOf = (type: QpType): number => (type === QpType.RC ? RC : type === QpType.UC ? UC : UD);

/** The completion opcode of a WQE's opcode, whatever a stranger wrote there. */
export const completionOpcode = (opcode: number): number => COMPLETIONS[opcode & 63]!;

const NO_BYTES = new Uint8Array(0);

export class SendWork {
  /** 32-bit values are kept signed: V8 holds those without a heap object. */
  wrIdLo = 0;
  wrIdHi = 0;
  opcode = 0;
  kind = 0;
  flags = 0;
  /** The 4 octets of immediate data read little endian, or the key to invalidate. */
  immediate = 0;
  remoteHi = 0;
  remoteLo = 0;
  rKey = 0;
  /** Octets of the message; of a FLUSH, of the range. */
  length = 0;
  /** AtomicETH: swap or add, compare. */
  swapHi = 0;
  swapLo = 0;
  compareHi = 0;
  compareLo = 0;
  /** BIND_MW: the window and its key to come. REG_MR: the region's key to come, in `windowKey`. */
  windowKey = 0;
  newKey = 0;
  access = 0;
  flushType = 0;
  flushLevel = 0;
  /** UD: destination. */
  destQpn = 0;
  qKey = 0;
  ahNum = 0;
  isInline = false;
  inline: Uint8Array = NO_BYTES;
  readonly sges = new SgeList();
  /** Slot of the send ring. */
  slot = 0;
  /** PSNs: given when the first packet leaves. `packets` is 0 for local work. */
  isStarted = false;
  firstPsn = 0 as Psn;
  packets = 0;
  /** Other than SUCCESS: this work ends with it when its turn comes. */
  status: WcStatus = WcStatus.SUCCESS;

  /** True when only a response of its own completes it. */
  get awaitsResponse(): boolean {
    return this.kind !== WorkKind.SEGMENTS && this.kind !== WorkKind.LOCAL;
  }

  /** Copies and checks the WQE in a slot; what is wrong with it is in `status`. */
  load(qp: Qp, slot: number): void {
    const { view } = qp.sq;
    const at = qp.sq.slotAt(slot);
    this.slot = slot;
    this.isStarted = false;
    this.packets = 0;
    this.wrIdLo = view.getInt32(at + Send.WR_ID, true);
    this.wrIdHi = view.getInt32(at + Send.WR_ID + 4, true);
    this.opcode = view.getInt32(at + Send.OPCODE, true);
    this.flags = view.getInt32(at + Send.FLAGS, true);
    this.immediate = view.getInt32(at + Send.IMM_OR_INVALIDATE, true);
    this.isInline = (this.flags & SendFlag.INLINE) !== 0;
    this.status = this.#check(qp, view, at);
  }

  /** Octets of segment `index` of the message, or of `span` of them. */
  segmentBytes(index: number, mtu: number, span = 1): number {
    return index + span === this.packets ? this.length - index * mtu : mtu * span;
  }

  #check(qp: Qp, view: DataView, at: number): WcStatus {
    const { opcode } = this;
    if (opcode < 0 || opcode > 63 || (TRANSPORTS[opcode]! & transportOf(qp.type)) === 0) return WcStatus.LOC_QP_OP_ERR;
    this.kind = KINDS[opcode]!;
    if (this.kind === WorkKind.LOCAL) return this.#loadWindow(view, at);
    if (this.kind === WorkKind.FLUSH) return this.#loadFlush(view, at);
    const status = this.#loadData(qp, view, at);
    if (status !== WcStatus.SUCCESS) return status;
    if (qp.type === QpType.UD || qp.type === QpType.GSI) this.#loadDestination(view, at);
    else if (this.kind === WorkKind.ATOMIC) this.#loadAtomic(view, at);
    else this.#loadRemote(view, at + Send.RDMA_RKEY, at);
    return WcStatus.SUCCESS;
  }

  #loadData(qp: Qp, view: DataView, at: number): WcStatus {
    if (this.kind === WorkKind.ATOMIC_WRITE) return this.#loadInline(qp, at, 8);
    if (this.isInline) {
      if (INLINE[this.opcode] === 0) return WcStatus.LOC_QP_OP_ERR;
      const length = view.getUint32(at + Send.DMA_LENGTH, true);
      return length > qp.cap.maxInlineData ? WcStatus.LOC_LEN_ERR : this.#loadInline(qp, at, length);
    }
    const count = view.getUint32(at + Send.DMA_NUM_SGE, true);
    if (count > qp.cap.maxSendSge) return WcStatus.LOC_QP_OP_ERR;
    this.sges.load(view, at + Send.SGE, count);
    if (this.sges.totalBytes > MAX_MESSAGE_BYTES) return WcStatus.LOC_LEN_ERR;
    this.length = this.sges.totalBytes;
    return this.kind === WorkKind.ATOMIC && this.length !== 8 ? WcStatus.LOC_LEN_ERR : WcStatus.SUCCESS;
  }

  #loadInline(qp: Qp, at: number, length: number): WcStatus {
    if (Send.SGE + length > qp.sq.elementBytes) return WcStatus.LOC_LEN_ERR;
    if (this.inline.length < length) this.inline = new Uint8Array(Math.max(length, qp.cap.maxInlineData));
    for (let i = 0; i < length; i++) this.inline[i] = qp.sq.bytes[at + Send.SGE + i]!;
    this.length = length;
    this.isInline = true;
    return WcStatus.SUCCESS;
  }

  #loadRemote(view: DataView, keyAt: number, at: number): void {
    this.remoteLo = view.getInt32(at + Send.REMOTE_ADDR, true);
    this.remoteHi = view.getInt32(at + Send.REMOTE_ADDR + 4, true);
    this.rKey = view.getInt32(keyAt, true);
  }

  #loadAtomic(view: DataView, at: number): void {
    this.#loadRemote(view, at + Send.ATOMIC_RKEY, at);
    const isSwap = this.opcode === WrOpcode.ATOMIC_CMP_AND_SWP;
    const swapAt = at + (isSwap ? Send.ATOMIC_SWAP : Send.ATOMIC_COMPARE_ADD);
    this.swapLo = view.getInt32(swapAt, true);
    this.swapHi = view.getInt32(swapAt + 4, true);
    this.compareLo = isSwap ? view.getInt32(at + Send.ATOMIC_COMPARE_ADD, true) : 0;
    this.compareHi = isSwap ? view.getInt32(at + Send.ATOMIC_COMPARE_ADD + 4, true) : 0;
  }

  #loadDestination(view: DataView, at: number): void {
    this.destQpn = view.getInt32(at + Send.UD_QPN, true) & 0xff_ffff;
    this.qKey = view.getInt32(at + Send.UD_QKEY, true);
    this.ahNum = view.getInt32(at + Send.UD_AH_NUM, true);
  }

  #loadFlush(view: DataView, at: number): WcStatus {
    this.#loadRemote(view, at + Send.FLUSH_RKEY, at);
    this.length = view.getUint32(at + Send.FLUSH_LENGTH, true);
    this.flushType = view.getUint8(at + Send.FLUSH_TYPE);
    this.flushLevel = view.getUint8(at + Send.FLUSH_LEVEL);
    return this.length > MAX_MESSAGE_BYTES ? WcStatus.LOC_LEN_ERR : WcStatus.SUCCESS;
  }

  /** BIND_MW and REG_MR: range in remote and `length` (it may pass 2^32), region's key in `rKey`, others where named. */
  #loadWindow(view: DataView, at: number): WcStatus {
    this.#loadRemote(view, at + Send.MW_MR_LKEY, at);
    this.length = view.getUint32(at + Send.MW_LENGTH, true) + view.getUint32(at + Send.MW_LENGTH + 4, true) * 2 ** 32;
    this.windowKey = view.getInt32(at + Send.MW_RKEY, true);
    this.newKey = view.getInt32(at + Send.MW_NEW_RKEY, true);
    this.access = view.getInt32(at + Send.MW_ACCESS, true);
    return WcStatus.SUCCESS;
  }
}
