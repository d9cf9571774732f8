/** Builds the headers that a connection's packets begin with (rnic/path.ts) from an address vector, a resolved MAC and a port. R-014 … R-018. */
import type { ReceivedPacket } from '../rnic/packet.ts';
import type { AddressVector, Path } from '../rnic/path.ts';
import * as Ethernet from '../wire/ethernet.ts';
import * as Gid from '../wire/gid.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import * as Udp from '../wire/udp.ts';
import type { Port } from './port.ts';

/** a hop limit of zero would not leave the host. */
const HOP_LIMIT = 64;
const SOURCE_PORT_BASE = 0xc000;
const FLOW_LABEL_MASK = 0xf_ffff;

export interface PathRequest {
  readonly av: AddressVector;
  /** GID of av.sgidIndex, 16 octets. */
  readonly sgid: Uint8Array;
  /** 6 octets each. */
  readonly sourceMac: Uint8Array;
  readonly destinationMac: Uint8Array;
  /** Of the two QPs; 0 where there is none (an address handle). */
  readonly localQpn: number;
  readonly remoteQpn: number;
  /** Index of `port` among the vRNIC's. */
  readonly portIndex: number;
  readonly port: Pick<Port, 'link' | 'framing'>;
  readonly destination?: number;
  readonly icrcElided?: boolean;
  /** Octets that stand before the Ethernet header (a VXLAN header). */
  readonly encapsulation?: Uint8Array;
}

/**
 * the flow label, or one made of the two QPNs: v = local × remote; v ^= v >> 20; v ^= v >> 40; 20 bits. The product has up to 48 bits: it is made of
 * two halves of 24. Symmetric, so that both directions have one port.
 */
export function flowLabelOf(flowLabel: number, localQpn: number, remoteQpn: number): number {
  if (flowLabel !== 0) return flowLabel & FLOW_LABEL_MASK;
  const product = BigInt(localQpn) * BigInt(remoteQpn);
  const folded = product ^ (product >> 20n);
  return Number((folded ^ (folded >> 40n)) & BigInt(FLOW_LABEL_MASK));
}

/** */
export const sourcePortOf = (label: number): number => SOURCE_PORT_BASE | ((label & 0x3fff) ^ (label >> 14));

/** GIDs of both families cannot meet: an error in words, or undefined when they fit. */
export function familyMismatch(sgid: Uint8Array, dgid: Uint8Array): string | undefined {
  if (Gid.isMappedIpv4(sgid) === Gid.isMappedIpv4(dgid)) return undefined;
  return `source GID is ${Gid.isMappedIpv4(sgid) ? 'IPv4' : 'IPv6'}, destination GID is ${Gid.isMappedIpv4(dgid) ? 'IPv4' : 'IPv6'}`;
}

export function buildPath(request: PathRequest): Path {
  const isIpv6 = !Gid.isMappedIpv4(request.av.dgid);
  const ethernetAt = request.encapsulation?.length ?? 0;
  const ipAt = ethernetAt + (request.port.link === 'ip' ? 0 : Ethernet.BYTES);
  const udpAt = ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
  const template = new Uint8Array(udpAt + Udp.BYTES);
  const view = new DataView(template.buffer);
  template.set(request.encapsulation ?? []);
  if (ipAt > ethernetAt) writeEthernet(template, ethernetAt, request, isIpv6);
  if (isIpv6) writeIpv6(view, ipAt, request);
  else writeIpv4(view, ipAt, request);
  Udp.write(view, udpAt, 0, Udp.PORT_ROCE, 0);
  return {
    template,
    sourcePort: sourcePortOf(flowLabelOf(request.av.flowLabel, request.localQpn, request.remoteQpn)),
    ethernetAt,
    ipAt,
    udpAt,
    isIpv6,
    port: request.portIndex,
    destination: request.destination ?? 0,
    framing: request.port.framing,
    icrcElided: request.icrcElided ?? false,
  };
}

/** Packets from now on carry this traffic class (IPv4: type of service). */
export function setTrafficClass(path: Path, trafficClass: number): void {
  const { template, ipAt, isIpv6, local } = path;
  const view = new DataView(template.buffer, template.byteOffset);
  if (isIpv6) view.setUint16(ipAt, (view.getUint16(ipAt) & 0xf00f) | (trafficClass << 4));
  else view.setUint8(ipAt + 1, trafficClass);
  if (local) setTrafficClass(local, trafficClass);
}

function writeEthernet(template: Uint8Array, at: number, request: PathRequest, isIpv6: boolean): void {
  template.set(request.destinationMac, at);
  template.set(request.sourceMac, at + Ethernet.MAC_BYTES);
  const type = isIpv6 ? Ethernet.ETHER_TYPE_IPV6 : Ethernet.ETHER_TYPE_IPV4;
  new DataView(template.buffer).setUint16(at + 12, type);
}

const hopLimitOf = (av: AddressVector): number => av.hopLimit & 0xff || HOP_LIMIT;

function writeIpv4(view: DataView, at: number, { av, sgid }: PathRequest): void {
  const word = (gid: Uint8Array): number => new DataView(gid.buffer, gid.byteOffset, 16).getUint32(12);
  Ipv4.write(view, at, av.trafficClass & 0xff, 0, 0, hopLimitOf(av), Ipv4.PROTOCOL_UDP, word(sgid), word(av.dgid));
}

function writeIpv6(view: DataView, at: number, { av, sgid }: PathRequest): void {
  const addresses = new Uint8Array(32);
  addresses.set(sgid);
  addresses.set(av.dgid, 16);
  const label = av.flowLabel & FLOW_LABEL_MASK;
  const pair = new DataView(addresses.buffer);
  Ipv6.write(view, at, av.trafficClass & 0xff, label, 0, Ipv6.NEXT_HEADER_UDP, hopLimitOf(av), pair, 0, 16);
}

/** The address vector and MAC that lead back to a packet's sender, for answers to datagrams. `sgidIndex` is the caller's to find from `destination`. */
export interface ReturnAddress {
  readonly gid: Uint8Array;
  /** The address that the packet was sent to. */
  readonly destination: Uint8Array;
  /** Absent where there is no link header. */
  readonly mac?: Uint8Array;
  readonly trafficClass: number;
  readonly flowLabel: number;
}

export function returnAddress(packet: ReceivedPacket): ReturnAddress {
  const { bytes, view, ipAt, ethernetAt, isIpv6 } = packet;
  const gidAt = (at: number): Uint8Array =>
    isIpv6 ? bytes.slice(at, at + 16) : Gid.ofIpv4(bytes.subarray(at, at + 4));
  return {
    gid: gidAt(ipAt + (isIpv6 ? 8 : 12)),
    destination: gidAt(ipAt + (isIpv6 ? 24 : 16)),
    trafficClass: isIpv6 ? Ipv6.trafficClass(view, ipAt) : Ipv4.typeOfService(view, ipAt),
    flowLabel: isIpv6 ? Ipv6.flowLabel(view, ipAt) : 0,
    ...(ethernetAt >= 0 ? { mac: bytes.slice(ethernetAt + 6, ethernetAt + 12) } : {}),
  };
}
