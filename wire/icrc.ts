/**
 * ICRC: the four octets that guard a RoCEv2 packet from IP header to pad, save the fields that a router may change.
 * IBA Vol. 1, Annex A17; R-006 … R-009.
 *
 *     eight octets of ones in place of the LRH │ IP, masked │ UDP, masked │ BTH, masked │ extension headers, payload, pad │ ICRC
 *     └───────────────────────────── headerCrc ──────────────────────────┘└────────────── crc32 ──────────────┘
 *
 * Masked to ones: IPv4 type of service, TTL and checksum; IPv6 traffic class, flow label and hop limit; UDP checksum;
 * octet 4 of the BTH. A CRC here is a signed number; the packet carries it least significant octet first.
 */
import * as Bth from './bth.ts';
import { crc32 } from './crc32.ts';
import { step4, step8 } from './crc32-slice.ts';
import * as Ipv4 from './ipv4.ts';
import * as Ipv6 from './ipv6.ts';
import * as Udp from './udp.ts';

export const BYTES = 4;

/** The CRC state after eight octets of ones. R-006. */
const STATE_AFTER_LRH = 0xdebb_20e3 | 0;

/** A 16-bit field as it lies in a little-endian word. */
const swap16 = (value: number): number => ((value & 0xff) << 8) | ((value >> 8) & 0xff);

/** With identification 0: `identificationState` adds it. */
function ipv4State(view: DataView, at: number, totalLength: number): number {
  const version = view.getUint8(at) | 0xff00 | (swap16(totalLength) << 16);
  const fragment = view.getUint16(at + 6, true) << 16;
  const timeToLive = 0xffff_00ff | (view.getUint8(at + 9) << 8);
  const source = view.getInt32(at + 12, true);
  const state = step8(STATE_AFTER_LRH, version, fragment);
  return step4(step8(state, timeToLive, source), view.getInt32(at + 16, true));
}

function ipv6State(view: DataView, at: number, payloadLength: number): number {
  const version = view.getUint8(at) | 0xffff_ff0f;
  const lengths = swap16(payloadLength) | (view.getUint8(at + 6) << 16) | 0xff00_0000;
  let state = step8(STATE_AFTER_LRH, version, lengths);
  for (let i = at + 8; i < at + 40; i += 8) state = step8(state, view.getInt32(i, true), view.getInt32(i + 4, true));
  return state;
}

/**
 * What the octets of an IPv4 identification add to the state behind the UDP header: a CRC is linear, so a header that differs in nothing else need not be gone
 * through again. The identification lies in the second word; 20 octets follow it up to the BTH.
 */
function identificationTable(shift: number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, octet) => {
    const state = step8(0, 0, octet << shift);
    return step8(step4(step8(state, 0, 0), 0), 0, 0);
  });
}
const UPPER_OCTET = identificationTable(0);
const LOWER_OCTET = identificationTable(8);

/** The CRC's state behind the masked IP and UDP headers, of a packet whose IPv4 identification is 0. Lengths are given, not read. */
export function udpState(
  view: DataView,
  ipAt: number,
  isIpv6: boolean,
  udpAt: number,
  ipLength: number,
  udpLength: number,
): number {
  const ip = isIpv6 ? ipv6State(view, ipAt, ipLength) : ipv4State(view, ipAt, ipLength);
  return step8(ip, view.getInt32(udpAt, true), swap16(udpLength) | 0xffff_0000);
}

/** To be added (exclusive or) to `udpState` of an IPv4 packet with this identification. */
export const identificationState = (identification: number): number =>
  UPPER_OCTET[identification >>> 8]! ^ LOWER_OCTET[identification & 0xff]!;

/** Goes on from the state behind the UDP header: the CRC with the masked BTH, to go on from with `crc32`. */
export function bthCrc(state: number, view: DataView, bthAt: number): number {
  const bth = step8(state, view.getInt32(bthAt, true), view.getInt32(bthAt + 4, true) | 0xff);
  return ~step4(bth, view.getInt32(bthAt + 8, true));
}

/**
 * The CRC over the eight ones and the masked IP, UDP and BTH headers, to go on from with `crc32`.
 * IPv4 identification (ignored for IPv6), IP length (total length, or payload length for IPv6) and UDP length are given,
 * not read: in a super-frame they stand once and each segment has its own. `isIpv6` says which IP header is at `ipAt`.
 */
export function headerCrc(
  view: DataView,
  ipAt: number,
  isIpv6: boolean,
  udpAt: number,
  bthAt: number,
  identification: number,
  ipLength: number,
  udpLength: number,
): number {
  const state = udpState(view, ipAt, isIpv6, udpAt, ipLength, udpLength);
  return bthCrc(isIpv6 ? state : state ^ identificationState(identification), view, bthAt);
}

export const write = (view: DataView, at: number, crc: number): void => view.setInt32(at, crc, true);
export const read = (view: DataView, at: number): number => view.getInt32(at, true);

/** The ICRC of a whole laid-out packet: `view` and `bytes` over the same octets, IP header at `ipAt`, ICRC to stand at `icrcAt`. */
export function compute(view: DataView, bytes: Uint8Array, ipAt: number, icrcAt: number): number {
  const isIpv6 = Ipv6.version(view, ipAt) === 6;
  const udpAt = ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
  const bthAt = udpAt + Udp.BYTES;
  const ipLength = isIpv6 ? Ipv6.payloadLength(view, ipAt) : Ipv4.totalLength(view, ipAt);
  const identification = isIpv6 ? 0 : Ipv4.identification(view, ipAt);
  const header = headerCrc(view, ipAt, isIpv6, udpAt, bthAt, identification, ipLength, Udp.length(view, udpAt));
  return crc32(bytes, bthAt + Bth.BYTES, icrcAt, header);
}

/** True when the packet that ends at `end` carries the ICRC that its octets call for. */
export const verify = (view: DataView, bytes: Uint8Array, ipAt: number, end: number): boolean =>
  read(view, end - BYTES) === compute(view, bytes, ipAt, end - BYTES);
