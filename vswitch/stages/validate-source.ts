/** Second stage: whether a frame's sender is who it says. At a port: its own MAC and addresses. From the network: those of the endpoint that has the MAC, and its host. */
import * as Ethernet from '../../wire/ethernet.ts';
import * as Gid from '../../wire/gid.ts';
import * as Nd from '../../wire/icmpv6-nd.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';
import { addressesOf, type Endpoint } from '../model.ts';
import { macNumber } from '../tenant-view.ts';
import { type AddressTable, isAddress } from './address-table.ts';
import { type Frame, Kind } from './classify.ts';

const ARP_SENDER_MAC = 8;
const PORT_DHCP_CLIENT = 68;
const PORT_DHCP_SERVER = 67;

/** Who an endpoint may say that it is. */
export class Identity {
  readonly endpoint: Endpoint;
  readonly mac: number;
  readonly #addresses: readonly Uint8Array[];

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
    this.mac = macNumber(endpoint.mac);
    this.#addresses = [...addressesOf(endpoint), Gid.linkLocalOf(endpoint.mac)];
  }

  /** MAC, IPv4, IPv6, and what ARP and neighbour discovery say of the sender. T-01. */
  isSenderOf(frame: Frame): boolean {
    if (frame.sourceMac !== this.mac) return false;
    const { view, bodyAt, sourceAt, addressBytes } = frame;
    if (addressBytes === 0) return true;
    if (frame.kind === Kind.ARP && Ethernet.macAt(view, bodyAt + ARP_SENDER_MAC) !== this.mac) return false;
    if (frame.kind === Kind.ND && !this.#isHonestNd(frame)) return false;
    return (
      this.has(view, sourceAt, addressBytes) || (isUnspecified(view, sourceAt, addressBytes) && maySayNothing(frame))
    );
  }

  has(view: DataView, at: number, bytes: number): boolean {
    for (let i = 0; i < this.#addresses.length; i++) if (isAddress(view, at, bytes, this.#addresses[i]!)) return true;
    return false;
  }

  /** What it says of MACs is about its own, what it advertises is its own address. */
  #isHonestNd({ view, bodyAt, end }: Frame): boolean {
    const at = bodyAt + Ipv6.BYTES;
    const isSolicitation = Nd.type(view, at) === Nd.NEIGHBOR_SOLICITATION;
    const option = isSolicitation ? Nd.OPTION_SOURCE_MAC : Nd.OPTION_TARGET_MAC;
    const macOptionAt = Nd.findMac(view, at, end, option);
    if (macOptionAt >= 0 && Ethernet.macAt(view, macOptionAt) !== this.mac) return false;
    return isSolicitation || this.has(view, at + Nd.TARGET_AT, 16);
  }
}

/** A MAC that no endpoint has, from a host of the tenant: it may not take an endpoint's address. */
export const isStrangerHonest = (frame: Frame, table: AddressTable): boolean =>
  frame.addressBytes === 0 || table.find(frame.view, frame.sourceAt, frame.addressBytes) === undefined;

export function isUnspecified(view: DataView, at: number, bytes: number): boolean {
  for (let i = 0; i < bytes; i++) if (view.getUint8(at + i) !== 0) return false;
  return true;
}

/** Who has no address yet: asks whether one is free, or for one by DHCP (RFC 5227, RFC 4862, RFC 2131). */
function maySayNothing({ view, kind, bodyAt, end }: Frame): boolean {
  if (kind === Kind.ARP || kind === Kind.ND) return true;
  if (kind === Kind.IPV6) return Ipv6.nextHeader(view, bodyAt) === Ipv6.NEXT_HEADER_ICMPV6;
  const udpAt = bodyAt + Ipv4.headerBytes(view, bodyAt);
  if (Ipv4.protocol(view, bodyAt) !== Ipv4.PROTOCOL_UDP || udpAt + Udp.BYTES > end) return false;
  return Udp.sourcePort(view, udpAt) === PORT_DHCP_CLIENT && Udp.destinationPort(view, udpAt) === PORT_DHCP_SERVER;
}
