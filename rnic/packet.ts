/** One received RoCEv2 packet, as the worker hands it to the engine: places inside a receive arena. One object, reused. */
import * as Opcode from '../wire/opcode.ts';
import type { OpFlags } from '../wire/types.ts';

export interface ReceivedPacket {
  /** The arena. The same few arenas for the life of the worker. */
  bytes: Uint8Array;
  view: DataView;
  /** Ethernet header, or -1 where there is none. Replies to datagrams go back to its source. */
  ethernetAt: number;
  ipAt: number;
  udpAt: number;
  bthAt: number;
  /** One past the last octet of the ICRC. In a super-frame, of this segment's. */
  end: number;
  isIpv6: boolean;
  /** IPv4 identification of this packet (a super-frame's header holds only the first one's). */
  ipId: number;
  /** Packets of one super-frame share it, others do not: their IP and UDP headers are the same octets. Absent: nothing is known. */
  frame?: number;
  /** Another packet may come at once, before anything else is done. Payload may then be placed together with the next one's; who hands packets on says when no more follow (`settle`). */
  isFollowed: boolean;
  /** The port it came in by. */
  port: number;
  /** Outer source (VTEP index) when it came encapsulated; 0 otherwise. */
  source: number;
  /** True when it came by a port that only connections use: datagrams have no business there. */
  connectedOnly?: boolean;
  /** True when the packet never left this host's memory and carries no ICRC. */
  icrcElided: boolean;
}

/** More of the message that it belongs to comes at once, most likely. */
export const goesOn = (packet: ReceivedPacket, flags: OpFlags): boolean =>
  packet.isFollowed && (flags & Opcode.ENDS) === 0;

/**
 * One that holds nothing yet, over an arena: its reader fills it again and again. All are made here, and none by copying another: to V8 each copy would be of a kind of its own,
 * and whoever reads packets of hundreds of vRNICs would look up each member.
 */
export const newReceivedPacket = (bytes: Uint8Array, view: DataView, connectedOnly = false): ReceivedPacket => ({
  bytes,
  view,
  ethernetAt: -1,
  ipAt: 0,
  udpAt: 0,
  bthAt: 0,
  end: 0,
  isIpv6: false,
  ipId: 0,
  frame: 0,
  isFollowed: false,
  port: 0,
  source: 0,
  connectedOnly,
  icrcElided: false,
});
