/**
 * CNP: the RoCEv2 Congestion Notification Packet: a BTH with opcode 0x81 and BECN set, then 16 octets of zero. IBA Vol. 1, Annex A17.9.3.
 * PSN 0, no AETH, never acknowledged; DestQP is the QP that sent the marked packet.
 */
import * as Bth from './bth.ts';
import type { OpCode, PKey, Psn, Qpn } from './types.ts';

/** Octets after the BTH. */
export const RESERVED_BYTES = 16;
/** BTH and the reserved octets, without the ICRC. */
export const BYTES = Bth.BYTES + RESERVED_BYTES;
export const OPCODE = 0x81 as OpCode;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;

/** Writes a whole CNP, BTH included, at `at`. */
export function write(view: DataView, at: number, pKey: PKey, destQp: Qpn): void {
  Bth.write(view, at, OPCODE, 0, pKey, destQp, false, 0 as Psn);
  view.setUint8(at + 4, 0x40);
  for (let i = Bth.BYTES; i < BYTES; i += 4) view.setUint32(at + i, 0);
}
