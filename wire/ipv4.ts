/**
 * IPv4 header. RFC 791.
 *
 *     +-------+-------+-----------+---+-------------------------------+
 *   0 |Version|  IHL  |   DSCP    |ECN|         Total Length          |
 *     +-------+-------+-----------+---+-----+-------------------------+
 *   4 |        Identification         |R|D|M|     Fragment Offset     |
 *     +---------------+---------------+-----+-------------------------+
 *   8 |      TTL      |   Protocol    |        Header Checksum        |
 *     +---------------+---------------+-------------------------------+
 *  12 |                        Source Address                         |
 *  16 |                      Destination Address                      |
 *     +---------------------------------------------------------------+
 */
import * as Checksum from './checksum.ts';

/** Octets of a header without options, the only kind RoCEv2 sends. */
export const BYTES = 20;
/** Where the addresses stand, source first. */
export const SOURCE_AT = 12;
export const DESTINATION_AT = 16;
export const PROTOCOL_UDP = 17;
export const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const version = (view: DataView, at: number): number => view.getUint8(at) >> 4;
/** Octets of the header with its options, as IHL says. */
export const headerBytes = (view: DataView, at: number): number => (view.getUint8(at) & 0x0f) * 4;
export const typeOfService = (view: DataView, at: number): number => view.getUint8(at + 1);
/** The low two bits of the type of service: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. */
export const ecn = (view: DataView, at: number): number => view.getUint8(at + 1) & 3;
export const totalLength = (view: DataView, at: number): number => view.getUint16(at + 2);
export const identification = (view: DataView, at: number): number => view.getUint16(at + 4);
/** Flags and fragment offset, 16 bits. */
export const fragment = (view: DataView, at: number): number => view.getUint16(at + 6);
/** True for any fragment but a whole packet: more to come, or an offset. */
export const isFragment = (view: DataView, at: number): boolean =>
  (view.getUint16(at + 6) & (MORE_FRAGMENTS | 0x1fff)) !== 0;
export const timeToLive = (view: DataView, at: number): number => view.getUint8(at + 8);
export const protocol = (view: DataView, at: number): number => view.getUint8(at + 9);
export const checksum = (view: DataView, at: number): number => view.getUint16(at + 10);
export const source = (view: DataView, at: number): number => view.getUint32(at + 12);
export const destination = (view: DataView, at: number): number => view.getUint32(at + 16);

/** The checksum that the header's other octets call for, whatever stands in its checksum field. */
export function computeChecksum(view: DataView, at: number): number {
  const total = Checksum.sum(view, at, at + 10, 0);
  return Checksum.finish(Checksum.sum(view, at + 12, at + headerBytes(view, at), total));
}

export const verifyChecksum = (view: DataView, at: number): boolean => checksum(view, at) === computeChecksum(view, at);

/** Changes length and identification of a laid-out header, as segment after segment needs; the checksum follows. */
export function renumber(view: DataView, at: number, totalLength: number, identification: number): void {
  const shortened = Checksum.update(checksum(view, at), view.getUint16(at + 2), totalLength);
  view.setUint16(at + 10, Checksum.update(shortened, view.getUint16(at + 4), identification));
  view.setUint16(at + 2, totalLength);
  view.setUint16(at + 4, identification);
}

/** Writes a header without options, DF set, checksum filled in. R-017. */
export function write(
  view: DataView,
  at: number,
  typeOfService: number,
  totalLength: number,
  identification: number,
  timeToLive: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  view.setUint32(at, 0x4500_0000 | (typeOfService << 16) | totalLength);
  view.setUint32(at + 4, (identification << 16) | DONT_FRAGMENT);
  view.setUint32(at + 8, (timeToLive << 24) | (protocol << 16));
  view.setUint32(at + 12, source);
  view.setUint32(at + 16, destination);
  view.setUint16(at + 10, computeChecksum(view, at));
}

/** A header as a value. `checksum` is what the packet said, right or wrong; options stay with the octets. */
export interface Fields {
  readonly version: number;
  readonly headerBytes: number;
  readonly typeOfService: number;
  readonly totalLength: number;
  readonly identification: number;
  readonly fragment: number;
  readonly timeToLive: number;
  readonly protocol: number;
  readonly checksum: number;
  readonly source: number;
  readonly destination: number;
}

export const read = (view: DataView, at: number): Fields => ({
  version: version(view, at),
  headerBytes: headerBytes(view, at),
  typeOfService: typeOfService(view, at),
  totalLength: totalLength(view, at),
  identification: identification(view, at),
  fragment: fragment(view, at),
  timeToLive: timeToLive(view, at),
  protocol: protocol(view, at),
  checksum: checksum(view, at),
  source: source(view, at),
  destination: destination(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  write(view, at, f.typeOfService, f.totalLength, f.identification, f.timeToLive, f.protocol, f.source, f.destination);
  view.setUint8(at, (f.version << 4) | (f.headerBytes >> 2));
  view.setUint16(at + 6, f.fragment);
  view.setUint16(at + 10, f.checksum);
}
