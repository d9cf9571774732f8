/** First stage: what an Ethernet frame is, where its addresses lie. One object is used for every frame. */
import * as Arp from '../../wire/arp.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Nd from '../../wire/icmpv6-nd.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import { PortCounter } from '../port-counters.ts';

/** ND: a neighbour solicitation or advertisement. OTHER has no addresses that are known here. */
export const Kind = { IPV4: 0, IPV6: 1, ARP: 2, ND: 3, OTHER: 4 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** RFC 4861 §7.1: proof that no router forwarded it. */
const ND_HOP_LIMIT = 255;
/** Where ARP has the IPv4 addresses of its sender and its target. */
const ARP_SENDER = 14;
const ARP_TARGET = 24;

export class Frame {
  view: DataView = new DataView(new ArrayBuffer(0));
  /** Where it begins and ends, Ethernet header first. */
  at = 0;
  end = 0;
  kind: Kind = Kind.OTHER;
  sourceMac = 0;
  destinationMac = 0;
  isMulticast = false;
  /** Behind the Ethernet header. */
  bodyAt = 0;
  /** Of the addresses; OTHER has none. ARP has the sender's and the target's. */
  sourceAt = -1;
  destinationAt = -1;
  /** 4 or 16; 0 where there are none. */
  addressBytes = 0;

  /** A counter to drop it under, or 0. */
  classify(view: DataView, at: number, end: number): number {
    if (end - at < Ethernet.BYTES) return PortCounter.drop_short;
    this.view = view;
    this.at = at;
    this.end = end;
    this.destinationMac = Ethernet.macAt(view, at);
    this.sourceMac = Ethernet.macAt(view, at + Ethernet.MAC_BYTES);
    this.isMulticast = Ethernet.isMulticast(view, at);
    this.bodyAt = at + Ethernet.BYTES;
    const type = view.getUint16(at + 12);
    if (Ethernet.isTag(type)) return PortCounter.drop_tagged;
    switch (type) {
      case Ethernet.ETHER_TYPE_IPV4:
        return this.#place(Kind.IPV4, Ipv4.BYTES, Ipv4.SOURCE_AT, Ipv4.SOURCE_AT + 4, 4);
      case Ethernet.ETHER_TYPE_IPV6:
        return this.#place(this.#isNd() ? Kind.ND : Kind.IPV6, Ipv6.BYTES, Ipv6.SOURCE_AT, Ipv6.DESTINATION_AT, 16);
      case Ethernet.ETHER_TYPE_ARP:
        return this.#place(Kind.ARP, Arp.BYTES, ARP_SENDER, ARP_TARGET, 4);
      default:
        this.kind = Kind.OTHER;
        this.addressBytes = 0;
        return 0;
    }
  }

  #place(kind: Kind, bytes: number, source: number, destination: number, addressBytes: number): number {
    if (this.end - this.bodyAt < bytes) return PortCounter.drop_short;
    this.kind = kind;
    this.sourceAt = this.bodyAt + source;
    this.destinationAt = this.bodyAt + destination;
    this.addressBytes = addressBytes;
    return 0;
  }

  /** What is malformed is IPv6 like any other: nobody acts on it here, and its receiver drops it. */
  #isNd(): boolean {
    const { view, bodyAt, end } = this;
    const at = bodyAt + Ipv6.BYTES;
    if (end - at < Nd.BYTES || Ipv6.nextHeader(view, bodyAt) !== Ipv6.NEXT_HEADER_ICMPV6) return false;
    return Nd.isNeighborDiscovery(Nd.type(view, at)) && Ipv6.hopLimit(view, bodyAt) === ND_HOP_LIMIT;
  }
}
