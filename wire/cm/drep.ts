/** DREP: agrees that the connection is over. IBA Vol. 1, ch. 12, table 113. */
import { type Layout, message, octets, u32, type Values } from './layout.ts';

const LAYOUT = {
  localCommId: u32(0),
  remoteCommId: u32(4),
  privateData: octets(8, 224),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 224;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
