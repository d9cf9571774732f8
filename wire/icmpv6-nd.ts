/**
 * ICMPv6 Neighbor Solicitation and Advertisement, with their link-layer address option. RFC 4861 §4.3, §4.4, §4.6.1.
 *
 *     +---------------+---------------+-------------------------------+
 *   0 | Type 135, 136 |    Code 0     |           Checksum            |
 *     +-+-+-+---------+---------------+-------------------------------+
 *   4 |R|S|O|                        Reserved                         |
 *     +-+-+-+---------------------------------------------------------+
 *   8 |                  Target Address (16 octets)                   |
 *     +---------------+---------------+-------------------------------+
 *  24 |  Option type  | Length (of 8) |       MAC (6 octets) …        |
 *     +---------------+---------------+-------------------------------+
 */
import * as Checksum from './checksum.ts';
import { readAddress, writeAddress } from './ipv6.ts';

/** Octets of the message without options. */
export const BYTES = 24;
/** Octets of a link-layer address option. */
export const OPTION_BYTES = 8;
export const NEIGHBOR_SOLICITATION = 135;
export const NEIGHBOR_ADVERTISEMENT = 136;
export const OPTION_SOURCE_MAC = 1;
export const OPTION_TARGET_MAC = 2;
/** Advertisement flags, as the octet at 4. */
export const ROUTER = 0x80;
export const SOLICITED = 0x40;
export const OVERRIDE = 0x20;
/** Where the target address starts. */
export const TARGET_AT = 8;
const NEXT_HEADER_ICMPV6 = 58;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const type = (view: DataView, at: number): number => view.getUint8(at);
export const code = (view: DataView, at: number): number => view.getUint8(at + 1);
export const checksum = (view: DataView, at: number): number => view.getUint16(at + 2);
export const flags = (view: DataView, at: number): number => view.getUint8(at + 4) & 0xe0;
/** Word 0…3 of the target address. */
export const targetWord = (view: DataView, at: number, index: number): number =>
  view.getUint32(at + TARGET_AT + index * 4);
export const isNeighborDiscovery = (type: number): boolean =>
  type === NEIGHBOR_SOLICITATION || type === NEIGHBOR_ADVERTISEMENT;

/** Where the MAC of the first option of a type stands, or −1 when there is none or the options are malformed. */
export function findMac(view: DataView, at: number, end: number, optionType: number): number {
  let optionAt = at + BYTES;
  while (optionAt + OPTION_BYTES <= end) {
    const bytes = view.getUint8(optionAt + 1) * 8;
    if (bytes === 0) return -1; // RFC 4861 §4.6: a length of zero makes the packet one to discard.
    if (view.getUint8(optionAt) === optionType) return optionAt + 2;
    optionAt += bytes;
  }
  return -1;
}

/** The checksum that the message `at` … `end` under the IPv6 header `ipAt` calls for. */
export function computeChecksum(view: DataView, ipAt: number, at: number, end: number): number {
  const pseudo = Checksum.sum(view, ipAt + 8, ipAt + 40, NEXT_HEADER_ICMPV6 + (end - at));
  const first = Checksum.sum(view, at, at + 2, pseudo);
  return Checksum.finish(Checksum.sum(view, at + 4, end, first));
}

export const verifyChecksum = (view: DataView, ipAt: number, at: number, end: number): boolean =>
  checksum(view, at) === computeChecksum(view, ipAt, at, end);

/**
 * Writes a message with one MAC option (source for a solicitation, target for an advertisement), 32 octets,
 * under the IPv6 header that already stands at `ipAt`; the target is 16 octets of `address`.
 */
export function write(
  view: DataView,
  ipAt: number,
  at: number,
  type: number,
  flags: number,
  address: DataView,
  addressAt: number,
  macHi: number,
  macLo: number,
): void {
  view.setUint32(at, type << 24);
  view.setUint32(at + 4, flags << 24);
  for (let i = 0; i < 16; i += 4) view.setUint32(at + TARGET_AT + i, address.getUint32(addressAt + i));
  view.setUint8(at + BYTES, type === NEIGHBOR_SOLICITATION ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC);
  view.setUint8(at + BYTES + 1, 1);
  view.setUint16(at + BYTES + 2, macHi);
  view.setUint32(at + BYTES + 4, macLo);
  view.setUint16(at + 2, computeChecksum(view, ipAt, at, at + BYTES + OPTION_BYTES));
}

/** The fixed part as a value; options stay with the octets. */
export interface Fields {
  readonly type: number;
  readonly code: number;
  readonly checksum: number;
  readonly flagsAndReserved: number;
  /** 16 octets. */
  readonly target: readonly number[];
}

export const read = (view: DataView, at: number): Fields => ({
  type: type(view, at),
  code: code(view, at),
  checksum: checksum(view, at),
  flagsAndReserved: view.getUint32(at + 4),
  target: readAddress(view, at + TARGET_AT),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  view.setUint32(at, (f.type << 24) | (f.code << 16) | f.checksum);
  view.setUint32(at + 4, f.flagsAndReserved);
  writeAddress(view, at + TARGET_AT, f.target);
}
