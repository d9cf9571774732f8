/** What a responder's checks say of a request. The RC responder answers each with what IBA Vol. 1, §9.9 wants; UC and UD drop and count. */
export const Verdict = {
  ACCEPT: 0,
  /** FIRST, MIDDLE, LAST and ONLY in an order that makes no messages. */
  OP_SEQUENCE: 1,
  /** The QP's access flags do not allow it. */
  OP_NOT_ALLOWED: 2,
  NO_RECV_WQE: 3,
  /** More READ and atomic requests than max_dest_rd_atomic. */
  TOO_MANY_READS: 4,
  /** Payload that the opcode, the path MTU or the RETH does not allow. */
  LENGTH: 5,
  RECV_TOO_SMALL: 6,
  MISALIGNED: 7,
  /** R_Key unknown, of another PD, without the right, or out of range; or the region has gone. */
  KEY: 8,
  /** The receive WQE's own keys do not hold what arrived. */
  LOCAL_PROTECTION: 9,
  /** The receive WQE itself is not well formed. */
  LOCAL_WQE: 10,
  /** SEND_WITH_INV named a key that cannot be invalidated. */
  INVALIDATE: 11,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];
