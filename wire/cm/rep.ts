/** REP: accepts a connection. IBA Vol. 1, ch. 12, table 110. */
import { bits, type Layout, message, octets, u8, u24, u32, type Values } from './layout.ts';

const LAYOUT = {
  localCommId: u32(0),
  remoteCommId: u32(4),
  localQKey: u32(8),
  localQpn: u24(12),
  localEecn: u24(16),
  startingPsn: u24(20),
  responderResources: u8(24),
  initiatorDepth: u8(25),
  targetAckDelay: bits(26, 0, 5),
  failoverAccepted: bits(26, 5, 2),
  endToEndFlowControl: bits(26, 7, 1),
  rnrRetryCount: bits(27, 0, 3),
  srq: bits(27, 3, 1),
  localCaGuidHi: u32(28),
  localCaGuidLo: u32(32),
  privateData: octets(36, 196),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 196;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
