/** MRA: the answer will take longer; wait this much more. IBA Vol. 1, ch. 12, table 107. */
import { bits, type Layout, message, octets, u32, type Values } from './layout.ts';

const LAYOUT = {
  localCommId: u32(0),
  remoteCommId: u32(4),
  /** 0 REQ, 1 REP, 2 LAP. */
  messageMraed: bits(8, 0, 2),
  serviceTimeout: bits(9, 0, 5),
  privateData: octets(10, 222),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 222;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
