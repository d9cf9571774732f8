/** A work completion, `ibv_wc`: what pollCq fills. Objects may be reused from call to call. */
import { WcFlag, WcStatus } from '../rnic/constants.ts';
import * as Layout from '../rnic/queue/layout.ts';

const { Cqe } = Layout;
const STATUS_NAMES = Object.keys(WcStatus);

/** `ibv_wc_status_str`: `REM_ACCESS_ERR`. */
export const wcStatusName = (status: number): string => STATUS_NAMES[status] ?? `status ${status}`;

export class WorkCompletion {
  /** The wrId of the work request, in halves; `wrId` joins them. */
  wrIdLo = 0;
  wrIdHi = 0;
  status = 0;
  /** Of these, only wrId, status, qpNum and vendorErr mean anything when status is not SUCCESS. */
  opcode = 0;
  byteLen = 0;
  /** WITH_IMM: the peer's immData. WITH_INV: the key that was revoked. */
  immData = 0;
  invalidatedRKey = 0;
  qpNum = 0;
  srcQp = 0;
  wcFlags = 0;
  vendorErr = 0;
  sl = 0;

  get wrId(): bigint {
    return (BigInt(this.wrIdHi) << 32n) | BigInt(this.wrIdLo);
  }

  get isSuccess(): boolean {
    return this.status === WcStatus.SUCCESS;
  }

  get statusName(): string {
    return wcStatusName(this.status);
  }

  /** Reads the CQE at `at`. */
  load(view: DataView, at: number): void {
    this.wrIdLo = view.getUint32(at + Cqe.WR_ID, true);
    this.wrIdHi = view.getUint32(at + Cqe.WR_ID + 4, true);
    this.status = view.getUint32(at + Cqe.STATUS, true);
    this.opcode = view.getUint32(at + Cqe.OPCODE, true);
    this.vendorErr = view.getUint32(at + Cqe.VENDOR_ERR, true);
    this.byteLen = view.getUint32(at + Cqe.BYTE_LEN, true);
    this.qpNum = view.getUint32(at + Cqe.QP_NUM, true);
    this.srcQp = view.getUint32(at + Cqe.SRC_QP, true);
    this.wcFlags = view.getUint32(at + Cqe.WC_FLAGS, true);
    this.sl = view.getUint8(at + Cqe.SL);
    this.immData = (this.wcFlags & WcFlag.WITH_IMM) !== 0 ? view.getUint32(at + Cqe.IMM_OR_INVALIDATED) : 0;
    this.invalidatedRKey =
      (this.wcFlags & WcFlag.WITH_INV) !== 0 ? view.getUint32(at + Cqe.IMM_OR_INVALIDATED, true) : 0;
  }
}
