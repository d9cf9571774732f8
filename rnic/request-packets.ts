/** Lays out request packets: the segments of SENDs and WRITEs for every transport, READ, atomic, FLUSH and ATOMIC_WRITE requests for RC. */
import * as AtomicEth from '../wire/atomic-eth.ts';
import * as Bth from '../wire/bth.ts';
import * as Deth from '../wire/deth.ts';
import * as Feth from '../wire/feth.ts';
import * as Ieth from '../wire/ieth.ts';
import * as Opcode from '../wire/opcode.ts';
import * as Reth from '../wire/reth.ts';
import type { OpCode, PKey, Psn, QKey, Qpn, RKey, Transport } from '../wire/types.ts';
import { SendFlag, WrOpcode } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { Path } from './path.ts';
import { type SendWork, WorkKind } from './send-work.ts';

/** What became of a packet: positive values are its octets. */
export const Put = { FULL: 0, PROTECTION: -1, DROPPED: -2 } as const;

/** The only P_Key there is. */
export const DEFAULT_PKEY = 0xffff as PKey;
const TWO_32 = 2 ** 32;

/** RC opcode of a segment, by WrOpcode × 4 + (1 when it starts) + (2 when it ends). UC's stand 0x20 higher. */
const SEGMENT_OPCODES = new Uint8Array(64);
function define(opcode: WrOpcode, middle: OpCode, first: OpCode, last: OpCode, only: OpCode): void {
  SEGMENT_OPCODES.set([middle, first, last, only], opcode * 4);
}
define(WrOpcode.SEND, Opcode.RC_SEND_MIDDLE, Opcode.RC_SEND_FIRST, Opcode.RC_SEND_LAST, Opcode.RC_SEND_ONLY);
define(
  WrOpcode.SEND_WITH_IMM,
  Opcode.RC_SEND_MIDDLE,
  Opcode.RC_SEND_FIRST,
  Opcode.RC_SEND_LAST_WITH_IMMEDIATE,
  Opcode.RC_SEND_ONLY_WITH_IMMEDIATE,
);
define(
  WrOpcode.SEND_WITH_INV,
  Opcode.RC_SEND_MIDDLE,
  Opcode.RC_SEND_FIRST,
  Opcode.RC_SEND_LAST_WITH_INVALIDATE,
  Opcode.RC_SEND_ONLY_WITH_INVALIDATE,
);
define(
  WrOpcode.RDMA_WRITE,
  Opcode.RC_RDMA_WRITE_MIDDLE,
  Opcode.RC_RDMA_WRITE_FIRST,
  Opcode.RC_RDMA_WRITE_LAST,
  Opcode.RC_RDMA_WRITE_ONLY,
);
define(
  WrOpcode.RDMA_WRITE_WITH_IMM,
  Opcode.RC_RDMA_WRITE_MIDDLE,
  Opcode.RC_RDMA_WRITE_FIRST,
  Opcode.RC_RDMA_WRITE_LAST_WITH_IMMEDIATE,
  Opcode.RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE,
);

/** only what consumes a receive WQE can be solicited. */
const maySolicit = (opcode: number): boolean => opcode !== WrOpcode.RDMA_WRITE;

/** Packets of a message: an empty one takes one too. */
export const packetsFor = (bytes: number, mtu: number): number => (bytes <= mtu ? 1 : Math.ceil(bytes / mtu));

/** Payload from the work's inline copy or its SGEs. */
function putPayload(
  out: PacketWriter,
  qp: Qp,
  core: EngineCore,
  work: SendWork,
  offset: number,
  length: number,
): boolean {
  if (work.isInline) {
    out.putBytes(work.inline, offset, length);
    return true;
  }
  work.sges.seek(offset);
  return work.sges.gather(core.regions, qp.pd, out, length);
}

/** Segment `index` of a SEND or WRITE; `span` of them, where one packet may stand for several. */
export function putSegment(
  out: PacketWriter,
  qp: Qp,
  core: EngineCore,
  transport: Transport,
  work: SendWork,
  index: number,
  ackRequest: boolean,
  psn: Psn,
  span = 1,
): number {
  const mtu = qp.pathMtuBytes;
  const isLast = index + span === work.packets;
  const payloadBytes = work.segmentBytes(index, mtu, span);
  const opcode = (transport | SEGMENT_OPCODES[work.opcode * 4 + (index === 0 ? 1 : 0) + (isLast ? 2 : 0)]!) as OpCode;
  if (!out.begin(qp.path!, Opcode.headerBytes(opcode), payloadBytes, false, span)) return Put.FULL;
  const { view, bthAt } = out;
  const solicited = isLast && (work.flags & SendFlag.SOLICITED) !== 0 && maySolicit(work.opcode);
  const bits = (solicited ? Bth.SOLICITED : 0) | Bth.MIG_REQ | Bth.padBits(Bth.padCountFor(payloadBytes));
  Bth.write(view, bthAt, opcode, bits, DEFAULT_PKEY, qp.destQpn as Qpn, ackRequest, psn);
  putExtensions(view, bthAt + Bth.BYTES, opcode, work);
  if (payloadBytes !== 0 && !putPayload(out, qp, core, work, index * mtu, payloadBytes)) return Put.PROTECTION;
  return out.end();
}

function putExtensions(view: DataView, at: number, opcode: OpCode, work: SendWork): void {
  const flags = Opcode.flags(opcode);
  let next = at;
  if ((flags & Opcode.HAS_RETH) !== 0) {
    Reth.write(view, next, work.remoteHi, work.remoteLo, work.rKey as RKey, work.length);
    next += Reth.BYTES;
  }
  // Immediate data is 4 octets that nobody turns round: they were read little endian and are written so.
  if ((flags & Opcode.HAS_IMM) !== 0) view.setInt32(next, work.immediate, true);
  else if ((flags & Opcode.HAS_IETH) !== 0) Ieth.write(view, next, work.immediate as RKey);
}

/** A datagram: to the QP and Q_Key of the work request. R-133: a Q_Key with its top bit set stands for the QP's own. */
export function putDatagram(out: PacketWriter, qp: Qp, core: EngineCore, path: Path, work: SendWork, psn: Psn): number {
  const hasImmediate = work.opcode === WrOpcode.SEND_WITH_IMM;
  const opcode = hasImmediate ? Opcode.UD_SEND_ONLY_WITH_IMMEDIATE : Opcode.UD_SEND_ONLY;
  if (!out.begin(path, Opcode.headerBytes(opcode), work.length)) return Put.FULL;
  const { view, bthAt } = out;
  const solicited = (work.flags & SendFlag.SOLICITED) !== 0;
  const bits = (solicited ? Bth.SOLICITED : 0) | Bth.MIG_REQ | Bth.padBits(Bth.padCountFor(work.length));
  Bth.write(view, bthAt, opcode, bits, DEFAULT_PKEY, work.destQpn as Qpn, false, psn);
  Deth.write(view, bthAt + Bth.BYTES, (work.qKey < 0 ? qp.qKey : work.qKey) as QKey, qp.qpn as Qpn);
  if (hasImmediate) view.setInt32(bthAt + Bth.BYTES + Deth.BYTES, work.immediate, true);
  if (work.length !== 0 && !putPayload(out, qp, core, work, 0, work.length)) return Put.PROTECTION;
  return out.end();
}

/** A request that is answered by a response of its own; of a READ, `packets` of the message from packet `index` on. */
export function putAwaited(
  out: PacketWriter,
  qp: Qp,
  work: SendWork,
  index: number,
  packets: number,
  psn: Psn,
): number {
  switch (work.kind) {
    case WorkKind.READ: {
      const offset = index * qp.pathMtuBytes;
      return putRead(out, qp, work, offset, Math.min(work.length - offset, packets * qp.pathMtuBytes), psn);
    }
    case WorkKind.ATOMIC:
      return putAtomic(out, qp, work, psn);
    case WorkKind.ATOMIC_WRITE:
      return putAtomicWrite(out, qp, work, psn);
    default:
      return putFlush(out, qp, work, psn);
  }
}

/** A READ request for `length` octets from `offset` of the message. */
function putRead(out: PacketWriter, qp: Qp, work: SendWork, offset: number, length: number, psn: Psn): number {
  if (!out.begin(qp.path!, Bth.BYTES + Reth.BYTES, 0)) return Put.FULL;
  const { view, bthAt } = out;
  Bth.write(view, bthAt, Opcode.RC_RDMA_READ_REQUEST, Bth.MIG_REQ, DEFAULT_PKEY, qp.destQpn as Qpn, true, psn);
  const lo = (work.remoteLo >>> 0) + offset;
  const hi = (work.remoteHi >>> 0) + (lo >= TWO_32 ? 1 : 0);
  Reth.write(view, bthAt + Bth.BYTES, hi, lo, work.rKey as RKey, length);
  return out.end();
}

function putAtomic(out: PacketWriter, qp: Qp, work: SendWork, psn: Psn): number {
  if (!out.begin(qp.path!, Bth.BYTES + AtomicEth.BYTES, 0)) return Put.FULL;
  const { view, bthAt } = out;
  const opcode = work.opcode === WrOpcode.ATOMIC_CMP_AND_SWP ? Opcode.RC_COMPARE_SWAP : Opcode.RC_FETCH_ADD;
  Bth.write(view, bthAt, opcode, Bth.MIG_REQ, DEFAULT_PKEY, qp.destQpn as Qpn, true, psn);
  const at = bthAt + Bth.BYTES;
  const { remoteHi, remoteLo, swapHi, swapLo, compareHi, compareLo } = work;
  AtomicEth.write(view, at, remoteHi, remoteLo, work.rKey as RKey, swapHi, swapLo, compareHi, compareLo);
  return out.end();
}

function putAtomicWrite(out: PacketWriter, qp: Qp, work: SendWork, psn: Psn): number {
  if (!out.begin(qp.path!, Bth.BYTES + Reth.BYTES, work.length)) return Put.FULL;
  const { view, bthAt } = out;
  Bth.write(view, bthAt, Opcode.RC_ATOMIC_WRITE, Bth.MIG_REQ, DEFAULT_PKEY, qp.destQpn as Qpn, true, psn);
  Reth.write(view, bthAt + Bth.BYTES, work.remoteHi, work.remoteLo, work.rKey as RKey, work.length);
  out.putBytes(work.inline, 0, work.length);
  return out.end();
}

function putFlush(out: PacketWriter, qp: Qp, work: SendWork, psn: Psn): number {
  if (!out.begin(qp.path!, Bth.BYTES + Feth.BYTES + Reth.BYTES, 0)) return Put.FULL;
  const { view, bthAt } = out;
  Bth.write(view, bthAt, Opcode.RC_FLUSH, Bth.MIG_REQ, DEFAULT_PKEY, qp.destQpn as Qpn, true, psn);
  Feth.write(view, bthAt + Bth.BYTES, work.flushType, work.flushLevel);
  const rethAt = bthAt + Bth.BYTES + Feth.BYTES;
  Reth.write(view, rethAt, work.remoteHi, work.remoteLo, work.rKey as RKey, work.length);
  return out.end();
}
