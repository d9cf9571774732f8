/** SIDR_REQ: asks which QP serves a service ID with datagrams. IBA Vol. 1, ch. 12, table 119. */
import { type Layout, message, octets, u16, u32, type Values } from './layout.ts';

const LAYOUT = {
  requestId: u32(0),
  pKey: u16(4),
  serviceIdHi: u32(8),
  serviceIdLo: u32(12),
  privateData: octets(16, 216),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 216;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
