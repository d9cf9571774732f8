/**
 * What a sender left to its network card: checksums, and cutting a super-frame into segments. The virtio header of the frame (virtio 1.2, §5.1.6) says where the
 * checksum begins and how large the segments are.
 */
import * as Checksum from '../../wire/checksum.ts';
import { copy } from '../../wire/copy.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Tcp from '../../wire/tcp.ts';
import * as Udp from '../../wire/udp.ts';

/** NONE: one frame, whatever its size. */
export const Cut = { NONE: 0, TCP: 1, UDP: 2, UNKNOWN: 3 } as const;
export type Cut = (typeof Cut)[keyof typeof Cut];

const UDP_CHECKSUM = 6;

/** Completes the checksum whose pseudo-header's sum stands in its field already. False when it would lie outside of the frame. */
export function completeChecksum(view: DataView, at: number, end: number, start: number, offset: number): boolean {
  const from = at + start;
  const field = from + offset;
  if (start < Ethernet.BYTES || field + 2 > end) return false;
  // A sum that comes to zero is sent as all ones: for UDP zero says that there is none; for TCP both are right.
  view.setUint16(field, Checksum.finish(Checksum.sum(view, from, end, 0)) || 0xffff);
  return true;
}

/** One super-frame, and how it is cut. One object is used for all. */
export class SuperFrame {
  /** Ethernet, IP, and TCP or UDP. */
  headerBytes = 0;
  segmentBytes = 0;
  count = 0;
  #view: DataView = new DataView(new ArrayBuffer(0));
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #ipAt = 0;
  #layer4At = 0;
  #isIpv6 = false;
  #isTcp = false;

  /** @param start of TCP or UDP, from the frame's begin. False when its headers are not what they are said to be. */
  open(
    bytes: Uint8Array,
    view: DataView,
    at: number,
    end: number,
    start: number,
    cut: Cut,
    segmentBytes: number,
  ): boolean {
    this.#view = view;
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    this.#ipAt = at + Ethernet.BYTES;
    this.#layer4At = at + start;
    this.#isTcp = cut === Cut.TCP;
    const least = this.#isTcp ? Tcp.BYTES : Udp.BYTES;
    if (cut === Cut.NONE || cut === Cut.UNKNOWN || segmentBytes === 0 || this.#layer4At + least > end || !this.#isIp())
      return false;
    this.headerBytes = start + (this.#isTcp ? Tcp.headerBytes(view, this.#layer4At) : Udp.BYTES);
    if (this.headerBytes < start + least || at + this.headerBytes >= end) return false;
    this.segmentBytes = segmentBytes;
    this.count = Math.ceil((end - at - this.headerBytes) / segmentBytes);
    return true;
  }

  /** Octets of a whole segment's IP packet. */
  get ipBytes(): number {
    return this.headerBytes - Ethernet.BYTES + this.segmentBytes;
  }

  /** Writes segment `index` as the frame that it is on the wire; its octets. */
  write(index: number, target: Uint8Array, view: DataView, at: number): number {
    const from = this.#at + this.headerBytes + index * this.segmentBytes;
    const payload = Math.min(this.segmentBytes, this.#end - from);
    copy(this.#bytes, this.#at, target, at, this.headerBytes);
    copy(this.#bytes, from, target, at + this.headerBytes, payload);
    const end = at + this.headerBytes + payload;
    const ipAt = at + Ethernet.BYTES;
    const layer4At = at + this.#layer4At - this.#at;
    this.#writeIp(view, ipAt, end, index);
    if (this.#isTcp) this.#writeTcp(view, layer4At, index);
    else view.setUint16(layer4At + 4, end - layer4At);
    this.#writeChecksum(view, ipAt, layer4At, end);
    return end - at;
  }

  #isIp(): boolean {
    const type = this.#view.getUint16(this.#at + 12);
    this.#isIpv6 = type === Ethernet.ETHER_TYPE_IPV6;
    if (this.#isIpv6) return this.#layer4At >= this.#ipAt + Ipv6.BYTES;
    return (
      type === Ethernet.ETHER_TYPE_IPV4 && this.#layer4At === this.#ipAt + Ipv4.headerBytes(this.#view, this.#ipAt)
    );
  }

  #writeIp(view: DataView, ipAt: number, end: number, index: number): void {
    if (this.#isIpv6) {
      view.setUint16(ipAt + 4, end - ipAt - Ipv6.BYTES);
      return;
    }
    view.setUint16(ipAt + 2, end - ipAt);
    view.setUint16(ipAt + 4, (Ipv4.identification(view, ipAt) + index) & 0xffff);
    view.setUint16(ipAt + 10, Ipv4.computeChecksum(view, ipAt));
  }

  /** FIN and PSH belong to the last segment, CWR to the first (RFC 3168 §6.1.2). */
  #writeTcp(view: DataView, at: number, index: number): void {
    view.setUint32(at + Tcp.SEQUENCE, (view.getUint32(at + Tcp.SEQUENCE) + index * this.segmentBytes) >>> 0);
    let flags = view.getUint8(at + Tcp.FLAGS);
    if (index < this.count - 1) flags &= ~(Tcp.FIN | Tcp.PSH);
    if (index > 0) flags &= ~Tcp.CWR;
    view.setUint8(at + Tcp.FLAGS, flags);
  }

  #writeChecksum(view: DataView, ipAt: number, at: number, end: number): void {
    const field = at + (this.#isTcp ? Tcp.CHECKSUM : UDP_CHECKSUM);
    const addressesAt = ipAt + (this.#isIpv6 ? Ipv6.SOURCE_AT : Ipv4.SOURCE_AT);
    const addressesEnd = addressesAt + (this.#isIpv6 ? 2 * Ipv6.ADDRESS_BYTES : 8);
    const protocol = this.#isTcp ? Tcp.PROTOCOL : Ipv4.PROTOCOL_UDP;
    view.setUint16(field, 0);
    const pseudo = Checksum.sum(view, addressesAt, addressesEnd, protocol + end - at);
    view.setUint16(field, Checksum.finish(Checksum.sum(view, at, end, pseudo)) || 0xffff);
  }
}
