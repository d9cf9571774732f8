/** Lays out what an RC responder sends: ACK, NAK, READ responses, atomic acknowledgements; and CNPs. */
import * as Aeth from '../wire/aeth.ts';
import * as AtomicAckEth from '../wire/atomic-ack-eth.ts';
import * as Bth from '../wire/bth.ts';
import * as Cnp from '../wire/cnp.ts';
import * as Opcode from '../wire/opcode.ts';
import * as PsnMath from '../wire/psn.ts';
import type { Psn, Qpn } from '../wire/types.ts';
import type { Qp } from './core.ts';
import type { PacketWriter } from './packet-writer.ts';
import { DEFAULT_PKEY, Put } from './request-packets.ts';
import { type Answer, type Response, ResponseKind } from './response-queue.ts';
import { mostInOne } from './span.ts';

/** SRQs and software queues tell no credits. */
const POSITIVE = Aeth.ackSyndrome(Aeth.UNLIMITED_CREDITS);

/** An ACK, NAK or RNR NAK. Octets, or Put.FULL. */
export function putAcknowledge(out: PacketWriter, qp: Qp, psn: Psn, syndrome: number, msn: number): number {
  if (!out.begin(qp.path!, Bth.BYTES + Aeth.BYTES, 0, true)) return Put.FULL;
  const { view, bthAt } = out;
  Bth.write(view, bthAt, Opcode.RC_ACKNOWLEDGE, Bth.MIG_REQ, DEFAULT_PKEY, qp.destQpn as Qpn, false, psn);
  Aeth.write(view, bthAt + Bth.BYTES, syndrome, msn);
  return out.end();
}

export const putAck = (out: PacketWriter, qp: Qp, psn: Psn, msn: number): number =>
  putAcknowledge(out, qp, psn, POSITIVE, msn);

/** The next packet of a READ's answer, or one that stands for the next few. Put.PROTECTION when the region has gone. */
export function putReadResponse(out: PacketWriter, qp: Qp, answer: Answer): number {
  const { response } = answer;
  const mtu = qp.pathMtuBytes;
  const { next, from, end } = answer;
  const { packets, length } = response;
  const isFirst = next === from;
  const span = Math.min(end - next, mostInOne(qp.path!, out, mtu));
  const isLast = next + span === end;
  const payloadBytes = next + span === packets ? length - next * mtu : mtu * span;
  if (payloadBytes !== 0 && !response.region?.valid) return Put.PROTECTION;
  const opcode = isFirst
    ? isLast
      ? Opcode.RC_RDMA_READ_RESPONSE_ONLY
      : Opcode.RC_RDMA_READ_RESPONSE_FIRST
    : isLast
      ? Opcode.RC_RDMA_READ_RESPONSE_LAST
      : Opcode.RC_RDMA_READ_RESPONSE_MIDDLE;
  if (!out.begin(qp.path!, Opcode.headerBytes(opcode), payloadBytes, false, span)) return Put.FULL;
  answer.span = span;
  const { view, bthAt } = out;
  const bits = Bth.MIG_REQ | Bth.padBits(Bth.padCountFor(payloadBytes));
  const psn = PsnMath.add(response.psn, next);
  Bth.write(view, bthAt, opcode, bits, DEFAULT_PKEY, qp.destQpn as Qpn, false, psn);
  if (isFirst || isLast) Aeth.write(view, bthAt + Bth.BYTES, POSITIVE, response.msn);
  const offset = next * mtu;
  const ahead = Math.min(length, end * mtu) - offset - payloadBytes;
  if (payloadBytes !== 0 && !out.putPayload(response.region!.memory, response.offset + offset, payloadBytes, ahead)) {
    return Put.PROTECTION;
  }
  return out.end();
}

/** The whole answer to an atomic, ATOMIC_WRITE or FLUSH request. */
export function putShortResponse(out: PacketWriter, qp: Qp, response: Response): number {
  const isAtomic = response.kind === ResponseKind.ATOMIC;
  const opcode = isAtomic ? Opcode.RC_ATOMIC_ACKNOWLEDGE : Opcode.RC_RDMA_READ_RESPONSE_ONLY;
  if (!out.begin(qp.path!, Opcode.headerBytes(opcode), 0, true)) return Put.FULL;
  const { view, bthAt } = out;
  Bth.write(view, bthAt, opcode, Bth.MIG_REQ, DEFAULT_PKEY, qp.destQpn as Qpn, false, response.psn);
  Aeth.write(view, bthAt + Bth.BYTES, POSITIVE, response.msn);
  const originalAt = bthAt + Bth.BYTES + Aeth.BYTES;
  if (isAtomic) AtomicAckEth.write(view, originalAt, response.originalHi, response.originalLo);
  return out.end();
}

/** */
export function putCnp(out: PacketWriter, qp: Qp): number {
  if (!out.begin(qp.path!, Cnp.BYTES, 0, true)) return Put.FULL;
  Cnp.write(out.view, out.bthAt, DEFAULT_PKEY, qp.destQpn as Qpn);
  return out.end();
}
