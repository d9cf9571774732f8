/** A packet from its BTH to its payload and pad, without ICRC, as a peer that knows the rules lays it out. */
import * as Bth from '../../wire/bth.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { OpCode, PKey, Psn, Qpn } from '../../wire/types.ts';
import type { Random } from '../support/sim/random.ts';

const DEFAULT_PKEY = 0xffff as PKey;
const SOLICITED = 0x80;
/** Where the first extension header stands. */
export const EXTENSION_AT = Bth.BYTES;

export interface Body {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
}

export function bodyOf(bytes: Uint8Array<ArrayBuffer>): Body {
  return { bytes, view: new DataView(bytes.buffer) };
}

/** Headers but the BTH are zero; the payload is of chance. */
export function layOut(
  opcode: OpCode,
  destQpn: number,
  psn: Psn,
  asks: boolean,
  payloadBytes: number,
  random: Random,
): Body {
  const headerBytes = Opcode.headerBytes(opcode);
  const pad = -payloadBytes & 3;
  const body = bodyOf(new Uint8Array(headerBytes + payloadBytes + pad));
  const bits = (pad << 4) | (random.chance(0.1) ? SOLICITED : 0);
  Bth.write(body.view, 0, opcode, bits, DEFAULT_PKEY, destQpn as Qpn, asks, psn);
  for (let at = headerBytes; at + 4 <= headerBytes + payloadBytes; at += 4) body.view.setUint32(at, random.bits());
  return body;
}
