/**
 * IPv6 header. RFC 8200.
 *
 *     +-------+---------------+---------------------------------------+
 *   0 |Version| Traffic Class |              Flow Label               |
 *     +-------+---------------+-------+---------------+---------------+
 *   4 |        Payload Length         |  Next Header  |   Hop Limit   |
 *     +-------------------------------+---------------+---------------+
 *   8 |                  Source Address (16 octets)                   |
 *  24 |               Destination Address (16 octets)                 |
 *     +---------------------------------------------------------------+
 *
 * An address is read as four 32-bit words, or copied.
 */
export const BYTES = 40;
export const ADDRESS_BYTES = 16;
export const NEXT_HEADER_UDP = 17;
export const NEXT_HEADER_ICMPV6 = 58;
/** Where the addresses start in the header. */
export const SOURCE_AT = 8;
export const DESTINATION_AT = 24;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const version = (view: DataView, at: number): number => view.getUint8(at) >> 4;
export const trafficClass = (view: DataView, at: number): number => (view.getUint16(at) >> 4) & 0xff;
/** The low two bits of the traffic class: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. */
export const ecn = (view: DataView, at: number): number => (view.getUint16(at) >> 4) & 3;
export const flowLabel = (view: DataView, at: number): number => view.getUint32(at) & 0x0f_ffff;
export const payloadLength = (view: DataView, at: number): number => view.getUint16(at + 4);
export const nextHeader = (view: DataView, at: number): number => view.getUint8(at + 6);
export const hopLimit = (view: DataView, at: number): number => view.getUint8(at + 7);
/** Word 0…3 of the source address. */
export const sourceWord = (view: DataView, at: number, index: number): number =>
  view.getUint32(at + SOURCE_AT + index * 4);
/** Word 0…3 of the destination address. */
export const destinationWord = (view: DataView, at: number, index: number): number =>
  view.getUint32(at + DESTINATION_AT + index * 4);

/** True when 16 octets at one place equal 16 at another. */
export const equalAddress = (a: DataView, aAt: number, b: DataView, bAt: number): boolean =>
  a.getUint32(aAt + 12) === b.getUint32(bAt + 12) &&
  a.getUint32(aAt + 8) === b.getUint32(bAt + 8) &&
  a.getUint32(aAt + 4) === b.getUint32(bAt + 4) &&
  a.getUint32(aAt) === b.getUint32(bAt);

/** Copies an address, 16 octets. */
export function copyAddress(from: DataView, fromAt: number, to: DataView, toAt: number): void {
  for (let i = 0; i < ADDRESS_BYTES; i += 4) to.setUint32(toAt + i, from.getUint32(fromAt + i));
}
export const copySource = (view: DataView, at: number, to: DataView, toAt: number): void =>
  copyAddress(view, at + SOURCE_AT, to, toAt);
export const copyDestination = (view: DataView, at: number, to: DataView, toAt: number): void =>
  copyAddress(view, at + DESTINATION_AT, to, toAt);

/** Writes the header; the addresses are copied from 16 octets each of `addresses` (a GID table, an address vector). */
export function write(
  view: DataView,
  at: number,
  trafficClass: number,
  flowLabel: number,
  payloadLength: number,
  nextHeader: number,
  hopLimit: number,
  addresses: DataView,
  sourceAt: number,
  destinationAt: number,
): void {
  view.setUint32(at, 0x6000_0000 | (trafficClass << 20) | flowLabel);
  view.setUint32(at + 4, (payloadLength << 16) | (nextHeader << 8) | hopLimit);
  copyAddress(addresses, sourceAt, view, at + SOURCE_AT);
  copyAddress(addresses, destinationAt, view, at + DESTINATION_AT);
}

export interface Fields {
  readonly version: number;
  readonly trafficClass: number;
  readonly flowLabel: number;
  readonly payloadLength: number;
  readonly nextHeader: number;
  readonly hopLimit: number;
  /** 16 octets. */
  readonly source: readonly number[];
  readonly destination: readonly number[];
}

/** Sixteen octets as a value. */
export const readAddress = (view: DataView, at: number): readonly number[] =>
  Array.from({ length: ADDRESS_BYTES }, (_, i) => view.getUint8(at + i));

export function writeAddress(view: DataView, at: number, address: readonly number[]): void {
  for (const [i, octet] of address.entries()) view.setUint8(at + i, octet);
}

export const read = (view: DataView, at: number): Fields => ({
  version: version(view, at),
  trafficClass: trafficClass(view, at),
  flowLabel: flowLabel(view, at),
  payloadLength: payloadLength(view, at),
  nextHeader: nextHeader(view, at),
  hopLimit: hopLimit(view, at),
  source: readAddress(view, at + SOURCE_AT),
  destination: readAddress(view, at + DESTINATION_AT),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  view.setUint32(at, (f.version << 28) | (f.trafficClass << 20) | f.flowLabel);
  view.setUint32(at + 4, (f.payloadLength << 16) | (f.nextHeader << 8) | f.hopLimit);
  writeAddress(view, at + SOURCE_AT, f.source);
  writeAddress(view, at + DESTINATION_AT, f.destination);
}
