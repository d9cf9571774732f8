/** Where the payload of READ responses and the results of atomics go: to what the work request named. SPEC-CHECKLIST R-112 … R-115. */
import * as Aeth from '../wire/aeth.ts';
import * as AtomicAckEth from '../wire/atomic-ack-eth.ts';
import * as Bth from '../wire/bth.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Opcode from '../wire/opcode.ts';
import type { OpFlags } from '../wire/types.ts';
import { Access, WcStatus } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import type { ReceivedPacket } from './packet.ts';
import { type SendWork, WorkKind } from './send-work.ts';
import { spanOf } from './span.ts';

const ORIGINAL = new Uint8Array(8);
const ORIGINAL_VIEW = new DataView(ORIGINAL.buffer);

/**
 * Puts what a response brings where its work request wants it; the status that ends the work request when that cannot be (R-112 … R-115).
 * @param isFollowed more of a READ's answer comes before the READ can complete.
 */
export function placeResponse(
  qp: Qp,
  core: EngineCore,
  work: SendWork,
  index: number,
  packet: ReceivedPacket,
  flags: OpFlags,
  isFollowed: boolean,
): WcStatus {
  const { view, bthAt } = packet;
  const headerBytes = Opcode.headerBytes(Bth.opcode(view, bthAt));
  const payloadBytes = packet.end - Icrc.BYTES - Bth.padCount(view, bthAt) - bthAt - headerBytes;
  const isRead = (flags & Opcode.IS_READ) !== 0;
  // A refusal comes as an ACKNOWLEDGE: a response that says it is one is none.
  const hasSyndrome = (flags & Opcode.HAS_AETH) !== 0;
  if (hasSyndrome && !Aeth.isAck(Aeth.syndrome(view, bthAt + Bth.BYTES))) return WcStatus.BAD_RESP_ERR;
  switch (work.kind) {
    case WorkKind.READ: {
      const span = spanOf(packet);
      const isLast = index + span === work.packets;
      if (!isRead || (isLast && (flags & Opcode.ENDS) === 0)) return WcStatus.BAD_RESP_ERR;
      const mtu = qp.pathMtuBytes;
      if (payloadBytes !== work.segmentBytes(index, mtu, span)) return WcStatus.LOC_LEN_ERR;
      work.sges.seek(index * mtu);
      return scatter(qp, core, work, packet.bytes, bthAt + headerBytes, payloadBytes, isFollowed && !isLast);
    }
    case WorkKind.ATOMIC:
      if ((flags & Opcode.IS_ATOMIC) === 0) return WcStatus.BAD_RESP_ERR;
      return placeOriginal(qp, core, work, view, bthAt + Bth.BYTES + Aeth.BYTES);
    case WorkKind.ATOMIC_WRITE:
    case WorkKind.FLUSH:
      return isRead && (flags & Opcode.ENDS) !== 0 && payloadBytes === 0 ? WcStatus.SUCCESS : WcStatus.BAD_RESP_ERR;
    default:
      return WcStatus.BAD_RESP_ERR;
  }
}

/** the original value goes to memory in the host's order. */
function placeOriginal(qp: Qp, core: EngineCore, work: SendWork, view: DataView, at: number): WcStatus {
  ORIGINAL_VIEW.setUint32(0, AtomicAckEth.originalLo(view, at), true);
  ORIGINAL_VIEW.setUint32(4, AtomicAckEth.originalHi(view, at), true);
  work.sges.seek(0);
  return scatter(qp, core, work, ORIGINAL, 0, 8, false);
}

function scatter(
  qp: Qp,
  core: EngineCore,
  work: SendWork,
  bytes: Uint8Array,
  at: number,
  length: number,
  isFollowed: boolean,
): WcStatus {
  const { regions } = core;
  const isPlaced = work.sges.scatter(regions, qp.pd, Access.LOCAL_WRITE, bytes, at, length, isFollowed);
  return isPlaced ? WcStatus.SUCCESS : WcStatus.LOC_PROT_ERR;
}
