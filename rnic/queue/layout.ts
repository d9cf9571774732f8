/**
 * Queues in shared memory: the octets that applications and the engine agree on. Linux rxe's user ABI (rdma_user_rxe.h, librxe's rxe_queue.h).
 *
 *     0    log2 of the element's octets       64   (unused)
 *     4    index mask = slots - 1
 *     128  producer index (masked)            its own cache lines
 *     256  consumer index (masked)            its own cache lines
 *     320  CQ only: arm word (ours; librxe leaves these octets alone)
 *     384  the elements
 *
 * One slot stays empty: producer == consumer is an empty queue. All values little endian (the host's).
 */
export const LOG2_ELEMENT_BYTES = 0;
export const INDEX_MASK = 4;
export const PRODUCER = 128;
export const CONSUMER = 256;
export const ARM = 320;
export const DATA = 384;

/** What the ARM word of a CQ holds: see `ibv_req_notify_cq`. */
export const Arm = { NONE: 0, SOLICITED: 1, NEXT: 2 } as const;

/** Send WQE (`rxe_send_wqe`): header of 208 octets, then the SGEs or the inline data. */
export const Send = {
  HEADER_BYTES: 208,
  WR_ID: 0,
  /** rxe numbers the opcodes at 12, flags at 16; immediate data or invalidate R_Key at 20 (immediate: network order octets). */
  OPCODE: 12,
  FLAGS: 16,
  IMM_OR_INVALIDATE: 20,
  REMOTE_ADDR: 24,
  RDMA_RKEY: 32,
  ATOMIC_COMPARE_ADD: 32,
  ATOMIC_SWAP: 40,
  ATOMIC_RKEY: 48,
  UD_QPN: 24,
  UD_QKEY: 28,
  UD_AH_NUM: 36,
  /** ATOMIC_WRITE: RDMA_RKEY as for a WRITE, the 8 octets at SGE whatever DMA says. FLUSH (rxe's `flush`). */
  FLUSH_LENGTH: 32,
  FLUSH_RKEY: 36,
  FLUSH_TYPE: 40,
  FLUSH_LEVEL: 41,
  /**
   * BIND_MW, and REG_MR in the same octets: MW_ADDR and MW_LENGTH are the range, MW_MR_LKEY the region registered anew, MW_RKEY its new key, MW_ACCESS
   * the rights.
   */
  MW_ADDR: 24,
  MW_LENGTH: 32,
  MW_MR_LKEY: 40,
  MW_RKEY: 44,
  MW_NEW_RKEY: 48,
  MW_ACCESS: 52,
  /** `rxe_dma_info`. Its own length is not to be trusted: sum the SGEs (UVERBS §3). With inline data, DMA_LENGTH is the data's length. */
  DMA_LENGTH: 184,
  DMA_NUM_SGE: 196,
  SGE: 208,
} as const;

/** Receive WQE (`rxe_recv_wqe`). */
export const Recv = { HEADER_BYTES: 40, WR_ID: 0, DMA_LENGTH: 16, DMA_NUM_SGE: 28, SGE: 40 } as const;

/** Scatter-gather element (`ibv_sge`). */
export const Sge = { BYTES: 16, ADDR: 0, LENGTH: 8, LKEY: 12 } as const;

/** Completion (`ib_uverbs_wc`), 48 octets in an element of 64. */
export const Cqe = {
  ELEMENT_BYTES: 64,
  WR_ID: 0,
  STATUS: 8,
  OPCODE: 12,
  VENDOR_ERR: 16,
  BYTE_LEN: 20,
  IMM_OR_INVALIDATED: 24,
  QP_NUM: 28,
  SRC_QP: 32,
  WC_FLAGS: 36,
  PKEY_INDEX: 40,
  SLID: 42,
  SL: 44,
  DLID_PATH_BITS: 45,
  PORT_NUM: 46,
} as const;

export const MAX_SGE = 32;
export const MAX_INLINE_BYTES = 512;

/** Octets of one element: a power of two of at least 64. */
export function elementBytes(octets: number): number {
  let size = 64;
  while (size < octets) size *= 2;
  return size;
}

/** Octets of one send WQE's element for a QP of these limits. */
export const sendElementBytes = (maxSge: number, maxInline: number): number =>
  elementBytes(Send.HEADER_BYTES + Math.max(Sge.BYTES * maxSge, maxInline));

/** Octets of one receive WQE's element. */
export const recvElementBytes = (maxSge: number): number => elementBytes(Recv.HEADER_BYTES + Sge.BYTES * maxSge);

/** Slots of a ring that can hold `depth` elements at once. */
export function slotsFor(depth: number): number {
  let slots = 2;
  while (slots < depth + 1) slots *= 2;
  return slots;
}

/** Octets of a whole queue. */
export const queueBytes = (depth: number, oneElementBytes: number): number => DATA + slotsFor(depth) * oneElementBytes;
