/**
 * Where packets never leave this host's memory one may stand for several of its message: it is as long as they are together, and has headers once. It takes their PSNs,
 * and whatever counts packets counts them all. How many more than one it is stands where the ICRC would.
 */
import * as Opcode from '../wire/opcode.ts';
import type { OpFlags } from '../wire/types.ts';
import { SUPER_FRAME_BYTES } from './burst.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { Path } from './path.ts';

/** BTH, extension headers, pad and ICRC, at most. */
const OWN_BYTES_MAX = 64;

/** Packets from one on that the next may stand for: as many as an IP header, the writer's turn and its limits have room for. */
export function mostInOne(path: Path, out: PacketWriter, mtu: number): number {
  if (!path.icrcElided) return 1;
  const room = SUPER_FRAME_BYTES - path.template.length - OWN_BYTES_MAX;
  return Math.max(1, Math.floor(Math.min(room, out.turnLeft, out.allowance - out.meteredBytes) / mtu));
}

export function writeSpan(view: DataView, icrcAt: number, span: number): void {
  view.setUint32(icrcAt, span - 1);
}

/** Packets that this one stands for. */
export const spanOf = ({ icrcElided, view, end }: ReceivedPacket): number =>
  icrcElided ? view.getUint32(end - 4) + 1 : 1;

/** a packet that does not end its message is full, and one that ends it has something in it, unless it is all there is. */
export function isFull(payloadBytes: number, mtu: number, span: number, flags: OpFlags): boolean {
  const most = mtu * span;
  if ((flags & Opcode.ENDS) === 0) return payloadBytes === most;
  const mayBeEmpty = span === 1 && (flags & Opcode.STARTS) !== 0;
  return payloadBytes <= most && (mayBeEmpty || payloadBytes > most - mtu);
}
