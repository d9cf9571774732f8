/** A packet that stands for several (rnic/span.ts) taken apart into those: for whoever looks at what goes by memory as if it went by a wire. */
import * as Bth from '../../wire/bth.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as PsnMath from '../../wire/psn.ts';
import * as Reth from '../../wire/reth.ts';
import type { OpCode } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import { setLengths, sharedHeaderBytes } from './super-frame.ts';

const SMALLEST_MTU = 256;
const KIND = Opcode.IS_REQUEST | Opcode.IS_RESPONSE | Opcode.IS_SEND | Opcode.IS_WRITE | Opcode.IS_READ;
const AT_END = Opcode.HAS_IMM | Opcode.HAS_IETH;
/** Ethernet, IPv6, UDP, BTH and extension headers, 4 KiB, ICRC. */
const PACKET_BYTES_MAX = 4300;

const packet = new Uint8Array(PACKET_BYTES_MAX);
const packetView = new DataView(packet.buffer);

/** Each as it would be on a wire, with its ICRC, good until the next. `octets`: an Ethernet frame of `length` octets, at the beginning. */
export function eachPacket(
  octets: Uint8Array,
  view: DataView,
  length: number,
  take: (frame: Uint8Array<ArrayBuffer>) => void,
): void {
  const ipAt = Ethernet.BYTES;
  const bthAt = sharedHeaderBytes(view, 0);
  const span = view.getUint32(length - Icrc.BYTES) + 1;
  const opcode = Bth.opcode(view, bthAt);
  const payloadAt = bthAt + Opcode.headerBytes(opcode);
  const payloadBytes = length - Icrc.BYTES - Bth.padCount(view, bthAt) - payloadAt;
  const mtu = span === 1 ? payloadBytes : mtuOf(payloadBytes, span);
  for (let i = 0; i < span; i++) {
    const piece = span === 1 ? opcode : pieceOf(opcode, i === 0, i === span - 1);
    packet.set(octets.subarray(0, bthAt + Bth.BYTES));
    const pieceAt = bthAt + Opcode.headerBytes(piece);
    const from = payloadAt + i * mtu;
    const bytes = Math.min(mtu, payloadAt + payloadBytes - from);
    writeBth(bthAt, piece, bytes, i, i === span - 1);
    copyExtensions(octets, bthAt, payloadAt, piece, pieceAt);
    packet.set(octets.subarray(from, from + bytes), pieceAt);
    const icrcAt = pieceAt + bytes + Bth.padCountFor(bytes);
    packet.fill(0, pieceAt + bytes, icrcAt);
    setLengths(packetView, bthAt - Udp.BYTES, ipAt, icrcAt + Icrc.BYTES - bthAt, i);
    Icrc.write(packetView, icrcAt, Icrc.compute(packetView, packet, ipAt, icrcAt));
    take(packet.subarray(0, icrcAt + Icrc.BYTES));
  }
}

/** There is one alone of which so many octets take so many packets, for each is twice the one before. */
function mtuOf(payloadBytes: number, span: number): number {
  let mtu = SMALLEST_MTU;
  while (Math.ceil(payloadBytes / mtu) > span) mtu *= 2;
  return mtu;
}

/** What one packet of those that `whole` stands for is. */
function pieceOf(whole: OpCode, isFirst: boolean, isLast: boolean): OpCode {
  const flags = Opcode.flags(whole);
  const starts = isFirst ? flags & Opcode.STARTS : 0;
  const ends = isLast ? flags & (Opcode.ENDS | AT_END) : 0;
  const wanted = (flags & KIND) | starts | ends;
  const mask = KIND | Opcode.STARTS | Opcode.ENDS | AT_END;
  const transport = Opcode.transport(whole);
  for (let opcode = transport as number; opcode < transport + 0x20; opcode++)
    if ((Opcode.flags(opcode as OpCode) & mask) === wanted) return opcode as OpCode;
  return whole;
}

/** Of packet `index`; the rest as it stands. */
function writeBth(at: number, opcode: OpCode, payloadBytes: number, index: number, isLast: boolean): void {
  const fields = Bth.read(packetView, at);
  Bth.writeFields(packetView, at, {
    ...fields,
    opcode,
    solicited: fields.solicited && isLast,
    padCount: Bth.padCountFor(payloadBytes),
    ackRequest: fields.ackRequest && isLast,
    psn: PsnMath.add(fields.psn, index),
  });
}

/** The RETH stands first, what belongs to a message's end last; an AETH is the only one. */
function copyExtensions(octets: Uint8Array, bthAt: number, payloadAt: number, piece: OpCode, pieceAt: number): void {
  const at = bthAt + Bth.BYTES;
  const rethBytes = (Opcode.flags(piece) & Opcode.HAS_RETH) === 0 ? 0 : Reth.BYTES;
  const lastBytes = pieceAt - at - rethBytes;
  packet.set(octets.subarray(at, at + rethBytes), at);
  packet.set(octets.subarray(payloadAt - lastBytes, payloadAt), at + rethBytes);
}
