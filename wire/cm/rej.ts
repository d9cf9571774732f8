/** REJ: refuses a connection, or gives up on one. IBA Vol. 1, ch. 12, table 108. */
import { bits, type Layout, message, octets, u16, u32, type Values } from './layout.ts';

const LAYOUT = {
  localCommId: u32(0),
  remoteCommId: u32(4),
  /** 0 REQ, 1 REP, 2 no message (a timeout). */
  messageRejected: bits(8, 0, 2),
  rejectedInfoLength: bits(9, 0, 7),
  reason: u16(10),
  additionalInfo: octets(12, 72),
  privateData: octets(84, 148),
} as const satisfies Layout;

export const PRIVATE_DATA_BYTES = 148;

/** Reasons that are met in practice. */
export const NO_QP = 1;
export const TIMEOUT = 4;
export const UNSUPPORTED = 5;
export const INVALID_SERVICE_ID = 8;
export const STALE_CONNECTION = 10;
export const INVALID_GID = 13;
export const INVALID_MTU = 26;
export const CONSUMER_DEFINED = 28;

const REASONS: Readonly<Record<number, string>> = {
  [NO_QP]: 'no QP',
  [TIMEOUT]: 'timeout',
  [UNSUPPORTED]: 'unsupported request',
  [INVALID_SERVICE_ID]: 'invalid service ID',
  [STALE_CONNECTION]: 'stale connection',
  [INVALID_GID]: 'invalid primary GID',
  [INVALID_MTU]: 'invalid path MTU',
  [CONSUMER_DEFINED]: 'consumer reject',
};

export const reasonName = (reason: number): string => REASONS[reason] ?? `reason ${reason}`;

export type Fields = Values<typeof LAYOUT>;
export const { read, write } = message(LAYOUT);
