/** Super-frames (rnic/path.ts, Framing) taken apart into the frames that they stand for: for ports and files that carry single frames only. */
import type { TransmitBurst } from '../../rnic/burst.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';

/** Frames on the wire that frame i of a burst stands for. */
export function segmentCount(frameBytes: number, segmentBytes: number, headerBytes: number): number {
  return segmentBytes === 0 ? 1 : Math.ceil((frameBytes - headerBytes) / segmentBytes);
}

/** Octets of the headers that stand once before the segments of a received super-frame: Ethernet, IP and UDP. */
export function sharedHeaderBytes(view: DataView, at: number): number {
  const ipAt = at + Ethernet.headerBytes(view, at);
  const isIpv6 = view.getUint8(ipAt) >> 4 === 6;
  return ipAt - at + (isIpv6 ? Ipv6.BYTES : Ipv4.headerBytes(view, ipAt)) + Udp.BYTES;
}

/** IP and UDP lengths, IPv4 identification and checksum of a HEADER_ONCE frame, set for segment `index` of `payloadBytes`. */
export function setLengths(view: DataView, udpAt: number, ipAt: number, payloadBytes: number, index: number): void {
  const udpBytes = Udp.BYTES + payloadBytes;
  view.setUint16(udpAt + 4, udpBytes);
  if (view.getUint8(ipAt) >> 4 === 6) view.setUint16(ipAt + 4, udpBytes);
  else {
    const identification = (Ipv4.identification(view, ipAt) + index) & 0xffff;
    Ipv4.renumber(view, ipAt, udpAt - ipAt + udpBytes, identification);
  }
}

/**
 * Copies segment `index` of frame `frame` to `target` at `at` as the frame that it is on the wire, and returns its octets. A single frame is its own segment 0.
 * HEADER_ONCE frames (headerBytes > 0) get the header with lengths, identification and checksum of the segment, UDP checksum 0.
 */
export function copySegment(burst: TransmitBurst, frame: number, index: number, target: DataView, at: number): number {
  const from = burst.at[frame]!;
  const bytes = burst.frameBytes[frame]!;
  return copyPart(burst.bytes, from, bytes, burst.segmentBytes[frame]!, burst.headerBytes[frame]!, index, target, at);
}

/** The same for `frameBytes` octets from `from` on, wherever they came from. */
export function copyPart(
  source: Uint8Array,
  from: number,
  frameBytes: number,
  segmentBytes: number,
  headerBytes: number,
  index: number,
  target: DataView,
  at: number,
): number {
  if (segmentBytes === 0) return copy(source, from, frameBytes, target, at);
  const offset = headerBytes + index * segmentBytes;
  const bytes = Math.min(segmentBytes, frameBytes - offset);
  copy(source, from, headerBytes, target, at);
  copy(source, from + offset, bytes, target, at + headerBytes);
  if (headerBytes === 0) return bytes;
  const udpAt = at + headerBytes - Udp.BYTES;
  setLengths(target, udpAt, at + Ethernet.headerBytes(target, at), bytes, index);
  target.setUint16(udpAt + 6, 0); // the checksum was the super-frame's; RoCEv2 needs none
  return headerBytes + bytes;
}

function copy(source: Uint8Array, from: number, bytes: number, target: DataView, at: number): number {
  new Uint8Array(target.buffer, target.byteOffset + at, bytes).set(source.subarray(from, from + bytes));
  return bytes;
}
