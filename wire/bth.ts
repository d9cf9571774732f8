/**
 * BTH: Base Transport Header, the 12 octets that open every IB transport packet. IBA Vol. 1, §9.2.
 *
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +---------------+-+-+---+-------+-------------------------------+
 *   0 |    OpCode     |S|M|Pad| TVer  |             P_Key             |
 *     +---------------+-+-+---+-------+-------------------------------+
 *   4 |F|B|   resv6   |                    DestQP                     |
 *     +-+-+-----------+-----------------------------------------------+
 *   8 |A|    resv7    |                      PSN                      |
 *     +-+-------------+-----------------------------------------------+
 *
 * Accessors take the packet's view and the octet at which the header starts.
 * They check nothing: call `fits` once per packet before any of them.
 */
import type { OpCode, PKey, Psn, Qpn } from './types.ts';

export const BYTES = 12;
const MASK_24 = 0xff_ffff;

/** Bits of octet 1, as `write` takes them. */
export const SOLICITED = 0x80;
export const MIG_REQ = 0x40;
/** The octet-1 bits of a pad count 0…3. */
export const padBits = (padCount: number): number => (padCount & 3) << 4;
/** Octets that pad a payload to a multiple of four. */
export const padCountFor = (payloadBytes: number): number => -payloadBytes & 3;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const opcode = (view: DataView, at: number): OpCode => view.getUint8(at) as OpCode;
export const solicited = (view: DataView, at: number): boolean => view.getUint8(at + 1) >= 0x80;
export const migReq = (view: DataView, at: number): boolean => (view.getUint8(at + 1) & MIG_REQ) !== 0;
export const padCount = (view: DataView, at: number): number => (view.getUint8(at + 1) >> 4) & 3;
export const version = (view: DataView, at: number): number => view.getUint8(at + 1) & 0x0f;
export const pKey = (view: DataView, at: number): PKey => view.getUint16(at + 2) as PKey;
export const fecn = (view: DataView, at: number): boolean => view.getUint8(at + 4) >= 0x80;
export const becn = (view: DataView, at: number): boolean => (view.getUint8(at + 4) & 0x40) !== 0;
export const destQp = (view: DataView, at: number): Qpn => (view.getUint32(at + 4) & MASK_24) as Qpn;
export const ackRequest = (view: DataView, at: number): boolean => view.getUint8(at + 8) >= 0x80;
export const psn = (view: DataView, at: number): Psn => (view.getUint32(at + 8) & MASK_24) as Psn;

/**
 * Writes every octet of the header, so a reused slot leaks nothing.
 * `bits` is octet 1: `SOLICITED | MIG_REQ | padBits(n)`, transport version 0. FECN, BECN and reserved bits are sent 0.
 */
export function write(
  view: DataView,
  at: number,
  opcode: OpCode,
  bits: number,
  pKey: PKey,
  destQp: Qpn,
  ackRequest: boolean,
  psn: Psn,
): void {
  view.setUint32(at, (opcode << 24) | (bits << 16) | pKey);
  view.setUint32(at + 4, destQp);
  view.setUint32(at + 8, ackRequest ? 0x8000_0000 | psn : psn);
}

/** A BTH as a value: for tests, traces and slow paths. Never on the data path. */
export interface Fields {
  readonly opcode: OpCode;
  readonly solicited: boolean;
  readonly migReq: boolean;
  readonly padCount: number;
  readonly version: number;
  readonly pKey: PKey;
  readonly fecn: boolean;
  readonly becn: boolean;
  readonly reserved6: number;
  readonly destQp: Qpn;
  readonly ackRequest: boolean;
  readonly reserved7: number;
  readonly psn: Psn;
}

export const read = (view: DataView, at: number): Fields => ({
  opcode: opcode(view, at),
  solicited: solicited(view, at),
  migReq: migReq(view, at),
  padCount: padCount(view, at),
  version: version(view, at),
  pKey: pKey(view, at),
  fecn: fecn(view, at),
  becn: becn(view, at),
  reserved6: view.getUint8(at + 4) & 0x3f,
  destQp: destQp(view, at),
  ackRequest: ackRequest(view, at),
  reserved7: view.getUint8(at + 8) & 0x7f,
  psn: psn(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  const bits = (f.solicited ? SOLICITED : 0) | (f.migReq ? MIG_REQ : 0) | padBits(f.padCount) | f.version;
  write(view, at, f.opcode, bits, f.pKey, f.destQp, f.ackRequest, f.psn);
  view.setUint8(at + 4, (f.fecn ? 0x80 : 0) | (f.becn ? 0x40 : 0) | f.reserved6);
  view.setUint8(at + 8, (f.ackRequest ? 0x80 : 0) | f.reserved7);
}
