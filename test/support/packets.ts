/** Packets for an engine of test/support/engine.ts, octet by octet: right in everything that is not said otherwise. */
import type { ReceivedPacket } from '../../rnic/packet.ts';
import * as Bth from '../../wire/bth.ts';
import * as Deth from '../../wire/deth.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { OpCode } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import { OURS, THEIRS } from './engine.ts';

export const IP_AT = 14;
const UDP_AT = IP_AT + Ipv4.BYTES;
export const BTH_AT = UDP_AT + Udp.BYTES;
const Q_KEY = 0x1111;

export interface PacketShape {
  readonly opcode: number;
  readonly destQp: number;
  readonly psn?: number;
  readonly pKey?: number;
  readonly from?: number;
  readonly to?: number;
  readonly qKey?: number;
  /** Octets after all headers. */
  readonly payload?: number;
  /** Changes octets before the ICRC is computed, or after. */
  readonly before?: (view: DataView) => void;
  readonly after?: (view: DataView) => void;
  /** Octets cut off at the end, after the ICRC. */
  readonly cut?: number;
  /** Which of the vRNIC's ports it comes by; 0 by default. */
  readonly port?: number;
  readonly connectedOnly?: boolean;
  /** Another packet comes at once. */
  readonly isFollowed?: boolean;
}

export function packetOf(shape: PacketShape): ReceivedPacket {
  const { opcode, destQp, psn = 5, pKey = 0xffff, from = THEIRS, to = OURS, qKey = Q_KEY, payload = 0 } = shape;
  const bthBytes = Math.max(Bth.BYTES, Opcode.headerBytes(opcode as OpCode)) + payload;
  const whole = BTH_AT + bthBytes + Icrc.BYTES;
  const bytes = new Uint8Array(whole);
  const view = new DataView(bytes.buffer);
  Ipv4.write(view, IP_AT, 0, whole - IP_AT, 0, 64, Ipv4.PROTOCOL_UDP, from, to);
  Udp.write(view, UDP_AT, 0xc000, Udp.PORT_ROCE, whole - UDP_AT);
  view.setUint8(BTH_AT, opcode);
  view.setUint16(BTH_AT + 2, pKey);
  view.setUint32(BTH_AT + 4, destQp);
  view.setUint32(BTH_AT + 8, psn);
  if ((Opcode.flags(opcode as OpCode) & Opcode.HAS_DETH) !== 0)
    Deth.write(view, BTH_AT + Bth.BYTES, qKey as never, 9 as never);
  shape.before?.(view);
  Icrc.write(view, whole - Icrc.BYTES, Icrc.compute(view, bytes, IP_AT, whole - Icrc.BYTES));
  shape.after?.(view);
  const end = whole - (shape.cut ?? 0);
  const place = {
    ethernetAt: 0,
    ipAt: IP_AT,
    udpAt: UDP_AT,
    bthAt: BTH_AT,
    end,
    isIpv6: false,
    ipId: 0,
    isFollowed: shape.isFollowed ?? false,
  };
  const { port = 0, connectedOnly = false } = shape;
  return { bytes, view, ...place, port, source: 0, icrcElided: false, connectedOnly };
}
