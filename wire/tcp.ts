/** What the switch reads and writes of a TCP header: it cuts a sender's super-frames and joins segments again. RFC 9293 §3.1. */

export const PROTOCOL = 6;
/** Without options. */
export const BYTES = 20;

export const SEQUENCE = 4;
export const ACKNOWLEDGEMENT = 8;
const DATA_OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;

export const FIN = 0x01;
export const PSH = 0x08;
export const ACK = 0x10;
/** RFC 3168 §6.1. */
export const ECE = 0x40;
export const CWR = 0x80;

/** Octets of the header with its options. */
export const headerBytes = (view: DataView, at: number): number => (view.getUint8(at + DATA_OFFSET) >> 4) * 4;
