/** Finds the RoCEv2 packets in a burst of frames and hands them to an engine, one reused object at a time; ARP and neighbour discovery go to the neighbour table. */
import type { ReceiveBurst, TransmitBurst } from '../rnic/burst.ts';
import { Counter, type Counters } from '../rnic/counters.ts';
import { newReceivedPacket, type ReceivedPacket } from '../rnic/packet.ts';
import * as Bth from '../wire/bth.ts';
import * as Ethernet from '../wire/ethernet.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import type { Micros } from '../wire/types.ts';
import * as Udp from '../wire/udp.ts';
import * as Vxlan from '../wire/vxlan.ts';
import type { Neighbours } from './neighbours.ts';
import type { Port } from './port.ts';

/** The shortest packet behind the UDP header. */
const ROCE_BYTES_MIN = Bth.BYTES + Icrc.BYTES;

export interface PacketSink {
  readonly counters: Counters;
  handlePacket(packet: ReceivedPacket, now: Micros): void;
  /** No more packets follow those that were handed over. */
  settle(): void;
}

/** Says of a VXLAN frame under which counter it is dropped; 0: under none. */
export interface Admittance {
  admit(view: DataView, at: number, end: number, source: number): number;
  /** A frame that is no RoCE, taken or not: whether it was a question, and has its answer. */
  answer?(view: DataView, at: number, end: number, source: number, now: Micros): boolean;
}

/** An engine may have several receivers: what they call a frame differs. */
let frames = 0;

export class Receiver {
  readonly #sink: PacketSink;
  readonly #neighbours: Neighbours | null;
  readonly #overlay: Admittance | null;
  readonly #packet: ReceivedPacket;
  /** Another frame of the same datagrams comes at once. */
  #isFollowed = false;

  /** @param connectedOnly of a port that datagrams never use. */
  constructor(
    sink: PacketSink,
    neighbours: Neighbours | null,
    first: ReceiveBurst,
    overlay: Admittance | null = null,
    connectedOnly = false,
  ) {
    this.#sink = sink;
    this.#neighbours = neighbours;
    this.#overlay = overlay;
    this.#packet = newReceivedPacket(first.bytes, first.view, connectedOnly);
  }

  /** @param portIndex of `port` among the vRNIC's. @param icrcElided true for a port whose frames never left this host's memory. */
  handleBurst(burst: ReceiveBurst, port: Port, portIndex: number, icrcElided: boolean, now: Micros): void {
    const packet = this.#packet;
    packet.bytes = burst.bytes;
    packet.view = burst.view;
    packet.port = portIndex;
    packet.icrcElided = icrcElided;
    for (let i = 0; i < burst.count; i++) this.#handle(burst, i, port.link, now);
  }

  /** Frame i of what another vRNIC read from a socket that both share. */
  handleOne(burst: ReceiveBurst, i: number, link: Port['link'], portIndex: number, now: Micros): void {
    const packet = this.#packet;
    packet.bytes = burst.bytes;
    packet.view = burst.view;
    packet.port = portIndex;
    packet.icrcElided = false;
    this.#handle(burst, i, link, now);
  }

  #handle(burst: ReceiveBurst, i: number, link: Port['link'], now: Micros): void {
    this.#packet.source = burst.source[i]!;
    if (link === 'vxlan') this.#handleVxlan(burst, i, now);
    else this.#handleFrame(burst.at[i]!, burst.frameBytes[i]!, burst.segmentBytes[i]!, link === 'ip', now);
    this.#sink.settle();
  }

  /** What this vRNIC sends to itself. */
  handleOwn(burst: TransmitBurst, portIndex: number, now: Micros): void {
    const packet = this.#packet;
    packet.bytes = burst.bytes;
    packet.view = burst.view;
    packet.port = portIndex;
    packet.source = 0;
    packet.icrcElided = true;
    for (let i = burst.sent; i < burst.count; i++)
      this.#handleFrame(burst.at[i]!, burst.frameBytes[i]!, burst.segmentBytes[i]!, false, now);
    this.#sink.settle();
  }

  /** Frame i of another vRNIC's burst, which never left this host's memory: the VXLAN header stands once. */
  handleLocal(burst: TransmitBurst | ReceiveBurst, i: number, portIndex: number, now: Micros): void {
    const packet = this.#packet;
    packet.bytes = burst.bytes;
    packet.view = burst.view;
    packet.port = portIndex;
    packet.source = 0;
    packet.icrcElided = true;
    const at = burst.at[i]!;
    const bytes = burst.frameBytes[i]!;
    const refused = this.#overlay === null ? Counter.drop_vni : this.#overlay.admit(burst.view, at, at + bytes, 0);
    if (refused !== 0) this.#drop(refused);
    else this.#handleFrame(at + Vxlan.BYTES, bytes - Vxlan.BYTES, burst.segmentBytes[i]!, false, now);
    this.#sink.settle();
  }

  /** Every segment has all its headers, but of one alone several packets may have them in common. */
  #handleVxlan(burst: ReceiveBurst, i: number, now: Micros): void {
    const { view, source } = this.#packet;
    const at = burst.at[i]!;
    const bytes = burst.frameBytes[i]!;
    const segmentBytes = burst.segmentBytes[i]!;
    const end = at + bytes;
    const step = segmentBytes === 0 ? bytes : segmentBytes;
    for (let from = at; from < end; from += step) {
      const to = Math.min(from + step, end);
      this.#isFollowed = to < end;
      const refused = this.#overlay === null ? Counter.drop_vni : this.#overlay.admit(view, from, to, source);
      if (refused !== 0) this.#refuse(refused, from, to, now);
      else this.#handleFrame(from + Vxlan.BYTES, to - from - Vxlan.BYTES, burst.innerBytes[i]!, false, now);
    }
  }

  #refuse(counter: number, at: number, end: number, now: Micros): void {
    const { view, source } = this.#packet;
    if (!this.#overlay?.answer?.(view, at, end, source, now)) this.#drop(counter);
  }

  #handleFrame(at: number, bytes: number, segmentBytes: number, isIp: boolean, now: Micros): void {
    const { view } = this.#packet;
    const end = at + bytes;
    this.#packet.ethernetAt = isIp ? -1 : at;
    if (isIp) this.#handleIp(view, at, end, segmentBytes, view.getUint8(at) >> 4 === 6, now);
    else if (bytes >= Ethernet.BYTES) this.#handleEthernet(view, at, end, segmentBytes, now);
    else this.#drop(Counter.drop_short);
  }

  #handleEthernet(view: DataView, at: number, end: number, segmentBytes: number, now: Micros): void {
    const type = view.getUint16(at + 12);
    const ipAt = at + Ethernet.BYTES;
    if (type === Ethernet.ETHER_TYPE_IPV4) this.#handleIp(view, ipAt, end, segmentBytes, false, now);
    else if (type === Ethernet.ETHER_TYPE_ARP) this.#neighbours?.handleFrame(view, at, end, now);
    else if (type === Ethernet.ETHER_TYPE_IPV6) {
      const isNd = end - ipAt > Ipv6.BYTES && Ipv6.nextHeader(view, ipAt) === Ipv6.NEXT_HEADER_ICMPV6;
      if (isNd) this.#handleNd(view, at, end, now);
      else this.#handleIp(view, ipAt, end, segmentBytes, true, now);
    }
  }

  #handleNd(view: DataView, at: number, end: number, now: Micros): void {
    if (this.#neighbours !== null) this.#neighbours.handleFrame(view, at, end, now);
    else this.#overlay?.answer?.(view, at - Vxlan.BYTES, end, this.#packet.source, now);
  }

  #handleIp(view: DataView, ipAt: number, end: number, segment: number, isIpv6: boolean, now: Micros): void {
    const packet = this.#packet;
    const udpAt = ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
    if (end - udpAt < Udp.BYTES + ROCE_BYTES_MIN) return this.#drop(Counter.drop_short);
    const protocol = isIpv6 ? Ipv6.nextHeader(view, ipAt) : Ipv4.protocol(view, ipAt);
    // no options, no fragments.
    if (!isIpv6 && (view.getUint8(ipAt) !== 0x45 || Ipv4.isFragment(view, ipAt)))
      return this.#drop(Counter.drop_fragment);
    if (protocol !== Ipv4.PROTOCOL_UDP || Udp.destinationPort(view, udpAt) !== Udp.PORT_ROCE) return;
    const packetEnd = udpAt + Udp.length(view, udpAt);
    const ipEnd = isIpv6 ? udpAt + Ipv6.payloadLength(view, ipAt) : ipAt + Ipv4.totalLength(view, ipAt);
    // both lengths agree; octets behind them are Ethernet's padding.
    if (packetEnd !== ipEnd || packetEnd > end) return this.#drop(Counter.drop_length);
    packet.ipAt = ipAt;
    packet.udpAt = udpAt;
    packet.isIpv6 = isIpv6;
    frames = (frames + 1) | 0;
    packet.frame = frames;
    packet.ipId = isIpv6 ? 0 : Ipv4.identification(view, ipAt);
    this.#handleSegments(udpAt + Udp.BYTES, packetEnd, segment === 0 ? packetEnd - udpAt : segment, now);
  }

  #handleSegments(from: number, end: number, segmentBytes: number, now: Micros): void {
    const packet = this.#packet;
    for (let at = from; at < end; at += segmentBytes) {
      packet.bthAt = at;
      packet.end = Math.min(at + segmentBytes, end);
      packet.isFollowed = packet.end < end || this.#isFollowed;
      if (packet.end - at < ROCE_BYTES_MIN) this.#drop(Counter.drop_short);
      else this.#sink.handlePacket(packet, now);
      packet.ipId = (packet.ipId + 1) & 0xffff;
    }
  }

  #drop(counter: number): void {
    this.#sink.counters.add(counter);
  }
}
