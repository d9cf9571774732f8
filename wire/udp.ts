/**
 * UDP header. RFC 768; over IPv6 RFC 8200 §8.1.
 *
 *     +-------------------------------+-------------------------------+
 *   0 |          Source Port          |       Destination Port        |
 *     +-------------------------------+-------------------------------+
 *   4 |            Length             |           Checksum            |
 *     +-------------------------------+-------------------------------+
 */
import * as Checksum from './checksum.ts';

export const BYTES = 8;
export const PORT_ROCE = 4791;
export const PORT_VXLAN = 4789;
const PROTOCOL = 17;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const sourcePort = (view: DataView, at: number): number => view.getUint16(at);
export const destinationPort = (view: DataView, at: number): number => view.getUint16(at + 2);
/** Octets of header and payload. */
export const length = (view: DataView, at: number): number => view.getUint16(at + 4);
export const checksum = (view: DataView, at: number): number => view.getUint16(at + 6);

/** Writes the header with checksum 0: none. R-014. */
export function write(view: DataView, at: number, sourcePort: number, destinationPort: number, length: number): void {
  view.setUint32(at, (sourcePort << 16) | destinationPort);
  view.setUint32(at + 4, length << 16);
}

const WITHOUT_CHECKSUM = 6;

function computeOver(view: DataView, at: number, addresses: number): number {
  const bytes = length(view, at);
  const header = Checksum.sum(view, at, at + WITHOUT_CHECKSUM, addresses + PROTOCOL + bytes);
  // A sum that comes to zero is sent as all ones, for zero says that there is none.
  return Checksum.finish(Checksum.sum(view, at + BYTES, at + bytes, header)) || 0xffff;
}

/** The checksum that a laid-out datagram under an IPv4 header calls for. */
export const computeChecksumIpv4 = (view: DataView, ipAt: number, at: number): number =>
  computeOver(view, at, Checksum.sum(view, ipAt + 12, ipAt + 20, 0));

/** The checksum that a laid-out datagram under an IPv6 header calls for. */
export const computeChecksumIpv6 = (view: DataView, ipAt: number, at: number): number =>
  computeOver(view, at, Checksum.sum(view, ipAt + 8, ipAt + 40, 0));

export interface Fields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly length: number;
  readonly checksum: number;
}

export const read = (view: DataView, at: number): Fields => ({
  sourcePort: sourcePort(view, at),
  destinationPort: destinationPort(view, at),
  length: length(view, at),
  checksum: checksum(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  write(view, at, f.sourcePort, f.destinationPort, f.length);
  view.setUint16(at + 6, f.checksum);
}
