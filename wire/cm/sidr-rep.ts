/** SIDR_REP: names the QP and Q_Key of a datagram service, or says why not. IBA Vol. 1, ch. 12, table 120. */
import { type Layout, message, octets, u8, u24, u32, type Values } from './layout.ts';

const LAYOUT = {
  requestId: u32(0),
  status: u8(4),
  additionalInfoLength: u8(5),
  qpn: u24(8),
  serviceIdHi: u32(12),
  serviceIdLo: u32(16),
  qKey: u32(20),
  additionalInfo: octets(24, 72),
  privateData: octets(96, 136),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 136;

/** Statuses. */
export const SUCCESS = 0;
export const UNSUPPORTED = 1;
export const REJECTED = 2;
export const NO_QP = 3;
export const REDIRECTED = 4;
export const UNSUPPORTED_VERSION = 5;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
