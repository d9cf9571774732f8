/**
 * AETH: ACK Extended Transport Header: acknowledged, not now, or refused. IBA Vol. 1, §9.7.5.
 *
 *     +---------------+-----------------------------------------------+
 *   0 |   Syndrome    |                      MSN                      |
 *     +---------------+-----------------------------------------------+
 *
 *     Syndrome 7:5 = 000 ACK, 4:0 a credit code;  001 RNR NAK, 4:0 a timer code;  011 NAK, 4:0 a reason.
 */
import type { Micros } from './types.ts';

export const BYTES = 4;
const MASK_24 = 0xff_ffff;

export const ACK = 0x00;
export const RNR_NAK = 0x20;
export const NAK = 0x60;
/** The credit code that says: send as much as you like. */
export const UNLIMITED_CREDITS = 31;

/** Whole syndromes of the NAKs. */
export const NAK_PSN_SEQUENCE_ERROR = 0x60;
export const NAK_INVALID_REQUEST = 0x61;
export const NAK_REMOTE_ACCESS_ERROR = 0x62;
export const NAK_REMOTE_OPERATIONAL_ERROR = 0x63;
export const NAK_INVALID_RD_REQUEST = 0x64;

/** Credit code 0…30 to the number of messages it grants. */
const CREDITS = Uint16Array.of(
  ...[0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096],
  ...[6144, 8192, 12288, 16384, 24576, 32768],
);
/** Timer code 0…31 to tens of microseconds. */
const RNR_TENS_OF_MICROS = Uint32Array.of(
  ...[65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072],
  ...[4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152],
);

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const syndrome = (view: DataView, at: number): number => view.getUint8(at);
export const msn = (view: DataView, at: number): number => view.getUint32(at) & MASK_24;

export const isAck = (syndrome: number): boolean => syndrome >> 5 === ACK >> 5;
export const isRnrNak = (syndrome: number): boolean => syndrome >> 5 === RNR_NAK >> 5;
export const isNak = (syndrome: number): boolean => syndrome >> 5 === NAK >> 5;
/** The low five bits: a credit code, an RNR timer code or a NAK code, as the class says. */
export const code = (syndrome: number): number => syndrome & 0x1f;
export const ackSyndrome = (creditCode: number): number => ACK | creditCode;
export const rnrNakSyndrome = (timerCode: number): number => RNR_NAK | timerCode;

/** Messages that a credit code grants; Infinity for `UNLIMITED_CREDITS`. */
export const credits = (creditCode: number): number => CREDITS[creditCode] ?? Infinity;
/** The greatest credit code that grants no more than `messages`. */
export function creditCodeFor(messages: number): number {
  let creditCode = 0;
  while (creditCode < 30 && credits(creditCode + 1) <= messages) creditCode++;
  return creditCode;
}
/** How long an RNR timer code asks the requester to wait; code 0 is the longest, 655.36 ms. */
export const rnrMicros = (timerCode: number): Micros => ((RNR_TENS_OF_MICROS[timerCode & 0x1f] ?? 0) * 10) as Micros;

export const write = (view: DataView, at: number, syndrome: number, msn: number): void =>
  view.setUint32(at, (syndrome << 24) | (msn & MASK_24));

export interface Fields {
  readonly syndrome: number;
  readonly msn: number;
}

export const read = (view: DataView, at: number): Fields => ({ syndrome: syndrome(view, at), msn: msn(view, at) });
export const writeFields = (view: DataView, at: number, f: Fields): void => write(view, at, f.syndrome, f.msn);
