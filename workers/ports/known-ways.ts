/**
 * Small VXLAN frames that leave alone, again and again, and over a veth pair all frames, pass by the kernel's UDP and IP: the ring's packet socket takes them with the outer
 * headers that the kernel itself put before an earlier frame of the same flow, a super-frame with all of its pieces behind one (GSO_UDP_L4). Every tenth of a second one
 * goes through the kernel, and is looked at as it leaves. So routes, neighbours and filters have had their say; of a frame that they keep, change or encrypt nothing is seen
 * that looks like ours, and the flow stays the kernel's.
 *
 *     before a frame:  virtio header (10) │ Ethernet (14) │ IPv4 (20) or IPv6 (40) │ UDP (8)
 */
import type { TransmitBurst } from '../../rnic/burst.ts';
import { ecnOf, outerClassOf } from '../../vswitch/traffic-class.ts';
import { boxed } from '../../wire/arena.ts';
import * as Checksum from '../../wire/checksum.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import type { Micros } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import * as Linux from '../linux/constants.ts';
import * as Libc from '../linux/libc.ts';
import { SMALL_IP_BYTES } from '../linux/vxlan-filter.ts';
import { FLOW_COUNT } from './flow-sockets.ts';
import { segmentCount } from './super-frame.ts';
import { VIRTIO_BYTES, type VxlanRing } from './vxlan-ring.ts';

/** A way is the kernel's as it was so long ago at most. */
const VALID_MICROS = 100_000;
/** So many such frames in a row: what has large neighbours, which a queue may hold up, does not overtake them. */
const RUN = 8;
const NOWHERE = -1;
const ETHERNET_AT = VIRTIO_BYTES;
const IP_AT = ETHERNET_AT + Ethernet.BYTES;
const UDP_CHECKSUM_AT = 6;

/** KERNEL: by the socket. LOOK: by the socket, and it is looked at. KNOWN: by `send`. */
export const Way = { KERNEL: 0, LOOK: 1, KNOWN: 2 } as const;
export type Way = (typeof Way)[keyof typeof Way];

export class KnownWays {
  readonly #ring: VxlanRing;
  readonly #isIpv4: boolean;
  /** Octets that stand before a frame; a multiple of four. */
  readonly #headBytes: number;
  readonly #udpAt: number;
  /** Frames are handed on as they are sent, in no queue that one could overtake. */
  readonly #isVeth: boolean;
  /** Of a small outer IP packet. */
  readonly #smallBytes: number;
  /** By flow, `headBytes` each, with neither lengths nor sums. */
  readonly #heads: DataView;
  /** By flow: the sum of what does not change of the IPv4 header, and of UDP's pseudo header. */
  readonly #ipSums = new Int32Array(FLOW_COUNT);
  readonly #pseudoSums = new Int32Array(FLOW_COUNT);
  /** By flow: octets of a frame, or of a super-frame's piece, that the way is known to carry. */
  readonly #widths = new Int32Array(FLOW_COUNT);
  /** By flow: the VTEP that its head leads to, and until when; no other look before that. */
  readonly #vteps = new Int32Array(FLOW_COUNT).fill(NOWHERE);
  readonly #until = new Float64Array(FLOW_COUNT);
  readonly #runs = new Int32Array(FLOW_COUNT);
  /** What is looked for. */
  #flow = NOWHERE;
  #vtep = NOWHERE;
  #width = 0;
  /** One flow is looked for at a time, or of those that leave together the same ones would be missed again and again. */
  #lookedAt: Micros = Number.NEGATIVE_INFINITY;
  /** Where a head was written last, for which flow and class: it stands there until another port writes there, and only lengths and sums change. */
  #headed: TransmitBurst | null = null;
  #headedAt = 0;
  #headedFlow = 0;
  #headedClass = 0;
  /** Of the next IPv4 packet: the kernel lets super-frames be fragmented. */
  #identification = 0;
  #sourcePort = 0;
  #address: Uint8Array = new Uint8Array(0);

  /** @param isVeth the ring's interface is an end of a veth pair. */
  constructor(ring: VxlanRing, isIpv4: boolean, isVeth: boolean) {
    const ipBytes = isIpv4 ? Ipv4.BYTES : Ipv6.BYTES;
    this.#ring = ring;
    this.#isIpv4 = isIpv4;
    this.#isVeth = isVeth;
    this.#udpAt = IP_AT + ipBytes;
    this.#headBytes = this.#udpAt + Udp.BYTES;
    this.#smallBytes = SMALL_IP_BYTES - ipBytes - Udp.BYTES;
    this.#heads = new DataView(new ArrayBuffer(this.#headBytes * FLOW_COUNT));
  }

  /** Whether the burst's next frame has room before it, and overtakes nothing: it is alone and small, or no frame waits. */
  suits(burst: TransmitBurst): boolean {
    const frame = burst.sent;
    if (burst.headroom < this.#headBytes) return false;
    if (this.#isVeth) return true;
    return burst.count - frame === 1 && burst.segmentBytes[frame] === 0 && burst.frameBytes[frame]! <= this.#smallBytes;
  }

  /** For a frame that suits. @param width of it, or of a piece of it. */
  wayOf(flow: number, vtep: number, width: number, now: Micros): Way {
    if (this.#runs[flow]! < RUN) {
      this.#runs[flow]!++;
      return Way.KERNEL;
    }
    const isCurrent = now < this.#until[flow]!;
    if (isCurrent && this.#vteps[flow] !== vtep) return Way.KERNEL;
    if (isCurrent && width <= this.#widths[flow]!) return Way.KNOWN;
    return now > this.#lookedAt ? Way.LOOK : Way.KERNEL;
  }

  /** A frame of the flow that does not suit. */
  interrupt(flow: number): void {
    this.#runs[flow] = 0;
  }

  /** Before a frame leaves by the kernel: it is looked at. @param address of the VTEP, 4 octets or 16. */
  look(flow: number, vtep: number, address: Uint8Array, width: number, sourcePort: number, now: Micros): void {
    this.#flow = flow;
    this.#vtep = vtep;
    this.#width = Math.max(width, this.#smallBytes);
    this.#address = address;
    this.#sourcePort = sourcePort;
    this.#vteps[flow] = NOWHERE;
    this.#until[flow] = now + VALID_MICROS;
    this.#lookedAt = now;
    this.#ring.watchLeaving(true);
  }

  /** When it has left. */
  lookAway(): void {
    this.#ring.watchLeaving(false);
  }

  /** The ring's next datagram is one that left. Copied to `words`; `view` is over the same octets. */
  learn(words: Int32Array, view: DataView): void {
    const at = this.#ring.takeLeaving(words);
    const flow = this.#flow;
    if (flow === NOWHERE || !this.#isOurs(view, at - VIRTIO_BYTES)) return;
    this.#flow = NOWHERE;
    this.#headed = null;
    const head = flow * this.#headBytes;
    for (let i = 0; i < this.#headBytes; i++) this.#heads.setUint8(head + i, view.getUint8(at - VIRTIO_BYTES + i));
    this.#prepare(flow, head);
    this.#vteps[flow] = this.#vtep;
    this.#widths[flow] = this.#width;
  }

  /** By the way that is known. False: not at all; the kernel's own may do. */
  send(burst: TransmitBurst, burstAddress: number, flow: number, dscp: number): boolean {
    const frameAt = burst.at[burst.sent]!;
    const bytes = burst.frameBytes[burst.sent]!;
    const trafficClass = outerClassOf(dscp, ecnOf(burst.view, frameAt + Vxlan.BYTES));
    if (!this.#isHeaded(burst, frameAt, flow, trafficClass)) this.#writeHead(burst, frameAt, flow, trafficClass);
    this.#writeLengths(burst.view, frameAt, bytes, flow);
    const segment = burst.segmentBytes[burst.sent]!;
    if (segment !== 0) this.#writeSegments(burst, frameAt, bytes, segment, flow);
    this.#identification = (this.#identification + segmentCount(bytes, segment, 0)) & 0xffff;
    const head = this.#headBytes;
    const at = boxed(burstAddress + frameAt - head);
    if (Libc.send(this.#ring.fileDescriptor, at, head + bytes, Linux.MSG_DONTWAIT) >= 0) return true;
    this.#vteps[flow] = NOWHERE;
    return false;
  }

  /** The number will name another VTEP. */
  forget(vtep: number): void {
    for (let flow = 0; flow < FLOW_COUNT; flow++) if (this.#vteps[flow] === vtep) this.#vteps[flow] = NOWHERE;
    if (this.#vtep === vtep) this.#flow = NOWHERE;
  }

  /** The datagram that is looked for: the ring takes no fragments and no options. */
  #isOurs(view: DataView, at: number): boolean {
    const ipAt = at + IP_AT;
    if (Udp.sourcePort(view, at + this.#udpAt) !== this.#sourcePort) return false;
    const destinationAt = ipAt + (this.#isIpv4 ? Ipv4.DESTINATION_AT : Ipv6.DESTINATION_AT);
    for (let i = 0; i < this.#address.length; i++)
      if (view.getUint8(destinationAt + i) !== this.#address[i]) return false;
    return true;
  }

  /** RFC 7348 §5: no checksum in UDP over IPv4. Over IPv6 there must be one; the interface finishes it, or whoever reads here believes it. */
  #prepare(flow: number, head: number): void {
    const heads = this.#heads;
    const ipAt = head + IP_AT;
    const udpAt = head + this.#udpAt;
    for (let i = 0; i < VIRTIO_BYTES; i += 2) heads.setUint16(head + i, 0);
    heads.setUint32(udpAt + 4, 0);
    if (this.#isIpv4) {
      heads.setUint8(ipAt + 1, 0);
      heads.setUint16(ipAt + 2, 0);
      heads.setUint16(ipAt + 4, 0);
      heads.setUint16(ipAt + 10, 0);
      this.#ipSums[flow] = Checksum.sum(heads, ipAt, udpAt, 0);
      this.#pseudoSums[flow] = Checksum.sum(heads, ipAt + Ipv4.SOURCE_AT, udpAt, Ipv4.PROTOCOL_UDP);
      return;
    }
    this.#writeUnsummed(heads, head);
    this.#pseudoSums[flow] = Checksum.sum(heads, ipAt + Ipv6.SOURCE_AT, udpAt, Ipv6.NEXT_HEADER_UDP);
  }

  /** The virtio header of a frame whose UDP checksum the interface finishes. */
  #writeUnsummed(view: DataView, at: number): void {
    view.setUint8(at, Linux.VIRTIO_NET_HDR_F_NEEDS_CSUM);
    view.setUint16(at + 6, this.#udpAt - ETHERNET_AT, true);
    view.setUint16(at + 8, UDP_CHECKSUM_AT, true);
  }

  /** A super-frame in one piece of the kernel's memory (af-packet.ts says why); as from a UDP socket, its pieces have checksums over IPv4, too. */
  #writeSegments(burst: TransmitBurst, frameAt: number, bytes: number, segment: number, flow: number): void {
    const { view } = burst;
    this.#headed = null;
    const headBytes = this.#headBytes;
    const at = frameAt - headBytes;
    this.#writeUnsummed(view, at);
    view.setUint8(at + 1, Linux.VIRTIO_NET_HDR_GSO_UDP_L4);
    view.setUint16(at + 2, headBytes - ETHERNET_AT + bytes, true);
    view.setUint16(at + 4, segment, true);
    view.setUint16(at + this.#udpAt + UDP_CHECKSUM_AT, Checksum.fold(this.#pseudoSums[flow]! + Udp.BYTES + bytes));
  }

  #isHeaded(burst: TransmitBurst, frameAt: number, flow: number, trafficClass: number): boolean {
    const isThere = burst === this.#headed && burst.headedBy === this && frameAt === this.#headedAt;
    return isThere && flow === this.#headedFlow && trafficClass === this.#headedClass;
  }

  #writeHead(burst: TransmitBurst, frameAt: number, flow: number, trafficClass: number): void {
    const { view } = burst;
    const heads = this.#heads;
    const headBytes = this.#headBytes;
    const at = frameAt - headBytes;
    const from = flow * headBytes;
    for (let i = 0; i < headBytes; i += 4) view.setUint32(at + i, heads.getUint32(from + i));
    const ipAt = at + IP_AT;
    if (this.#isIpv4) view.setUint8(ipAt + 1, trafficClass);
    else view.setUint32(ipAt, (heads.getUint32(from + IP_AT) & 0xf00f_ffff) | (trafficClass << 20));
    // Only the first frame of a burst has the same place as the one before.
    this.#headed = burst.sent === 0 ? burst : null;
    burst.headedBy = this;
    this.#headedAt = frameAt;
    this.#headedFlow = flow;
    this.#headedClass = trafficClass;
  }

  #writeLengths(view: DataView, frameAt: number, bytes: number, flow: number): void {
    const ipAt = frameAt - this.#headBytes + IP_AT;
    const udpAt = frameAt - Udp.BYTES;
    const udpBytes = Udp.BYTES + bytes;
    view.setUint16(udpAt + 4, udpBytes);
    if (this.#isIpv4) {
      const ipBytes = Ipv4.BYTES + udpBytes;
      const identification = this.#identification;
      const sum = this.#ipSums[flow]! + view.getUint8(ipAt + 1) + ipBytes + identification;
      view.setUint16(ipAt + 2, ipBytes);
      view.setUint16(ipAt + 4, identification);
      view.setUint16(ipAt + 10, Checksum.finish(sum));
    } else {
      view.setUint16(ipAt + 4, udpBytes);
      view.setUint16(udpAt + UDP_CHECKSUM_AT, Checksum.fold(this.#pseudoSums[flow]! + udpBytes));
    }
  }
}
