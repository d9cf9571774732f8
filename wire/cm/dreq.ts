/** DREQ: asks to end a connection. IBA Vol. 1, ch. 12, table 112. */
import { type Layout, message, octets, u24, u32, type Values } from './layout.ts';

const LAYOUT = {
  localCommId: u32(0),
  remoteCommId: u32(4),
  remoteQpn: u24(8),
  privateData: octets(12, 220),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 220;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
