/**
 * A frame as values, for people and tests: which headers it has, what they say, and whether the ICRC holds.
 * Any octets decode: what cannot be understood is kept as octets and said in `malformed`. So every octet of a frame is in
 * exactly one layer, and `encode` gives the frame back.
 */
import * as Aeth from './aeth.ts';
import * as Arp from './arp.ts';
import * as AtomicAckEth from './atomic-ack-eth.ts';
import * as AtomicEth from './atomic-eth.ts';
import * as Bth from './bth.ts';
import type { Layout, Values } from './cm/layout.ts';
import * as Messages from './cm/messages.ts';
import * as Cnp from './cnp.ts';
import * as Deth from './deth.ts';
import * as Ethernet from './ethernet.ts';
import * as Feth from './feth.ts';
import * as Icmpv6Nd from './icmpv6-nd.ts';
import * as Icrc from './icrc.ts';
import * as Ieth from './ieth.ts';
import * as ImmDt from './imm-dt.ts';
import * as Ipv4 from './ipv4.ts';
import * as Ipv6 from './ipv6.ts';
import * as Mad from './mad.ts';
import * as Opcode from './opcode.ts';
import * as Reth from './reth.ts';
import type { OpCode, OpFlags } from './types.ts';
import * as Udp from './udp.ts';
import * as Vxlan from './vxlan.ts';
import * as XrcEth from './xrceth.ts';

export type IcrcVerdict = 'ok' | 'bad';

/** What a layer of each kind holds. */
export interface LayerFields {
  readonly ethernet: Ethernet.Fields;
  readonly arp: Arp.Fields;
  readonly ipv4: Ipv4.Fields;
  readonly ipv6: Ipv6.Fields;
  readonly icmpv6Nd: Icmpv6Nd.Fields;
  readonly udp: Udp.Fields;
  readonly vxlan: Vxlan.Fields;
  readonly bth: Bth.Fields;
  readonly deth: Deth.Fields;
  readonly xrcEth: XrcEth.Fields;
  readonly feth: Feth.Fields;
  readonly reth: Reth.Fields;
  readonly atomicEth: AtomicEth.Fields;
  readonly aeth: Aeth.Fields;
  readonly atomicAckEth: AtomicAckEth.Fields;
  readonly immDt: ImmDt.Fields;
  readonly ieth: Ieth.Fields;
  readonly mad: Mad.Fields;
  readonly cm: { readonly attributeId: number; readonly message: Values<Layout> };
  readonly icrc: { readonly value: number; readonly verdict: IcrcVerdict };
  /** Options of IP or neighbour discovery, the reserved octets of a CNP. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
  /** The pad octets that the BTH counts. */
  readonly pad: Uint8Array;
  /** Octets behind the end that an inner length gives: Ethernet padding. */
  readonly trailer: Uint8Array;
}

export type LayerKind = keyof LayerFields;

/** One layer: its kind, where it starts in the frame, how long it is, what it says. */
export type Layer = {
  readonly [K in LayerKind]: {
    readonly kind: K;
    readonly at: number;
    readonly bytes: number;
    readonly fields: LayerFields[K];
  };
}[LayerKind];

export interface Decoded {
  readonly bytes: number;
  readonly layers: readonly Layer[];
  /** The verdict on the RoCE packet, absent when there is none in the frame. */
  readonly icrc?: IcrcVerdict;
  /** The first thing that is wrong, absent in a well-formed frame. */
  readonly malformed?: string;
}

/** A decoding under way. */
interface Work {
  readonly octets: Uint8Array;
  readonly view: DataView;
  readonly layers: Layer[];
  icrc: IcrcVerdict | undefined;
  malformed: string | undefined;
}

/** VXLAN in VXLAN in … is followed so far. */
const NESTING_MAX = 2;

function add<K extends LayerKind>(work: Work, kind: K, at: number, bytes: number, fields: LayerFields[K]): void {
  work.layers.push({ kind, at, bytes, fields } as Layer);
}

type OctetKind = 'options' | 'payload' | 'pad' | 'trailer';

function addOctets(work: Work, kind: OctetKind, at: number, end: number): void {
  if (end > at) add(work, kind, at, end - at, work.octets.slice(at, end));
}

/** Notes the first problem and keeps the octets that it concerns. */
function malformed(work: Work, problem: string, at: number, end: number): void {
  work.malformed ??= problem;
  addOctets(work, 'payload', at, end);
}

function decodeEthernet(work: Work, at: number, end: number, nesting: number): void {
  if (!Ethernet.fits(end, at)) {
    malformed(work, `${end - at} octets are no Ethernet frame`, at, end);
    return;
  }
  const bytes = Ethernet.headerBytes(work.view, at);
  if (at + bytes > end) {
    malformed(work, 'a VLAN tag is cut short', at, end);
    return;
  }
  add(work, 'ethernet', at, bytes, Ethernet.read(work.view, at));
  decodeNetwork(work, Ethernet.etherType(work.view, at), at + bytes, end, nesting);
}

function decodeNetwork(work: Work, etherType: number, at: number, end: number, nesting: number): void {
  if (etherType === Ethernet.ETHER_TYPE_ARP) decodeArp(work, at, end);
  else if (etherType === Ethernet.ETHER_TYPE_IPV4) decodeIpv4(work, at, end, nesting);
  else if (etherType === Ethernet.ETHER_TYPE_IPV6) decodeIpv6(work, at, end, nesting);
  else addOctets(work, 'payload', at, end);
}

function decodeArp(work: Work, at: number, end: number): void {
  if (!Arp.fits(end, at)) malformed(work, 'ARP is cut short', at, end);
  else if (!Arp.isIpv4OverEthernet(work.view, at)) addOctets(work, 'payload', at, end);
  else {
    add(work, 'arp', at, Arp.BYTES, Arp.read(work.view, at));
    addOctets(work, 'trailer', at + Arp.BYTES, end);
  }
}

function ipv4Problem(view: DataView, at: number, end: number): string | undefined {
  if (!Ipv4.fits(end, at)) return 'the IPv4 header is cut short';
  if (Ipv4.version(view, at) !== 4) return `IP version ${Ipv4.version(view, at)} in an IPv4 frame`;
  const headerBytes = Ipv4.headerBytes(view, at);
  const totalLength = Ipv4.totalLength(view, at);
  if (headerBytes < Ipv4.BYTES) return `an IPv4 header of ${headerBytes} octets`;
  if (totalLength < headerBytes) return `IPv4 total length ${totalLength} is less than its header`;
  if (at + totalLength > end) return `IPv4 total length ${totalLength}, but ${end - at} octets are there`;
  return undefined;
}

function decodeIpv4(work: Work, at: number, end: number, nesting: number): void {
  const problem = ipv4Problem(work.view, at, end);
  if (problem !== undefined) {
    malformed(work, problem, at, end);
    return;
  }
  const ipEnd = at + Ipv4.totalLength(work.view, at);
  const next = at + Ipv4.headerBytes(work.view, at);
  add(work, 'ipv4', at, Ipv4.BYTES, Ipv4.read(work.view, at));
  addOctets(work, 'options', at + Ipv4.BYTES, next);
  if (!Ipv4.verifyChecksum(work.view, at)) work.malformed ??= 'the IPv4 header checksum is wrong';
  const isUdp = Ipv4.protocol(work.view, at) === Ipv4.PROTOCOL_UDP && !Ipv4.isFragment(work.view, at);
  if (isUdp) decodeUdp(work, at, next, ipEnd, nesting);
  else addOctets(work, 'payload', next, ipEnd);
  addOctets(work, 'trailer', ipEnd, end);
}

function ipv6Problem(view: DataView, at: number, end: number): string | undefined {
  if (!Ipv6.fits(end, at)) return 'the IPv6 header is cut short';
  if (Ipv6.version(view, at) !== 6) return `IP version ${Ipv6.version(view, at)} in an IPv6 frame`;
  const there = end - at - Ipv6.BYTES;
  const payloadLength = Ipv6.payloadLength(view, at);
  return payloadLength > there ? `IPv6 payload length ${payloadLength}, but ${there} octets are there` : undefined;
}

function decodeIpv6(work: Work, at: number, end: number, nesting: number): void {
  const problem = ipv6Problem(work.view, at, end);
  if (problem !== undefined) {
    malformed(work, problem, at, end);
    return;
  }
  const next = at + Ipv6.BYTES;
  const ipEnd = next + Ipv6.payloadLength(work.view, at);
  const nextHeader = Ipv6.nextHeader(work.view, at);
  add(work, 'ipv6', at, Ipv6.BYTES, Ipv6.read(work.view, at));
  if (nextHeader === Ipv6.NEXT_HEADER_UDP) decodeUdp(work, at, next, ipEnd, nesting);
  else if (nextHeader === Ipv6.NEXT_HEADER_ICMPV6) decodeIcmpv6(work, at, next, ipEnd);
  else addOctets(work, 'payload', next, ipEnd);
  addOctets(work, 'trailer', ipEnd, end);
}

function decodeIcmpv6(work: Work, ipAt: number, at: number, end: number): void {
  const isNd = Icmpv6Nd.fits(end, at) && Icmpv6Nd.isNeighborDiscovery(Icmpv6Nd.type(work.view, at));
  if (!isNd) {
    addOctets(work, 'payload', at, end);
    return;
  }
  add(work, 'icmpv6Nd', at, Icmpv6Nd.BYTES, Icmpv6Nd.read(work.view, at));
  addOctets(work, 'options', at + Icmpv6Nd.BYTES, end);
  if (!Icmpv6Nd.verifyChecksum(work.view, ipAt, at, end)) work.malformed ??= 'the ICMPv6 checksum is wrong';
}

function decodeUdp(work: Work, ipAt: number, at: number, end: number, nesting: number): void {
  if (!Udp.fits(end, at)) {
    malformed(work, 'the UDP header is cut short', at, end);
    return;
  }
  const length = Udp.length(work.view, at);
  if (length < Udp.BYTES || at + length > end) {
    malformed(work, `UDP length ${length}, but ${end - at} octets are there`, at, end);
    return;
  }
  add(work, 'udp', at, Udp.BYTES, Udp.read(work.view, at));
  // the two lengths must agree.
  if (at + length !== end) work.malformed ??= `UDP length ${length}, but the IP packet holds ${end - at}`;
  decodeUdpPayload(work, ipAt, at, at + length, nesting);
  addOctets(work, 'trailer', at + length, end);
}

function decodeUdpPayload(work: Work, ipAt: number, udpAt: number, end: number, nesting: number): void {
  const port = Udp.destinationPort(work.view, udpAt);
  const at = udpAt + Udp.BYTES;
  if (port === Udp.PORT_ROCE) decodeRoce(work, ipAt, udpAt, end);
  else if (port === Udp.PORT_VXLAN && nesting < NESTING_MAX) decodeVxlan(work, at, end, nesting);
  else addOctets(work, 'payload', at, end);
}

function decodeVxlan(work: Work, at: number, end: number, nesting: number): void {
  if (!Vxlan.fits(end, at)) {
    malformed(work, 'the VXLAN header is cut short', at, end);
    return;
  }
  add(work, 'vxlan', at, Vxlan.BYTES, Vxlan.read(work.view, at));
  if (!Vxlan.hasVni(work.view, at)) malformed(work, 'VXLAN without its I flag', at + Vxlan.BYTES, end);
  else decodeEthernet(work, at + Vxlan.BYTES, end, nesting + 1);
}

function roceProblem(view: DataView, ipAt: number, udpAt: number, end: number): string | undefined {
  const at = udpAt + Udp.BYTES;
  const bytes = end - at;
  if (bytes < Bth.BYTES + Icrc.BYTES) return `${bytes} octets are no RoCE packet`;
  //
  if (Ipv6.version(view, ipAt) === 4 && udpAt - ipAt !== Ipv4.BYTES) return 'RoCE behind IPv4 options';
  const opcode = Bth.opcode(view, at);
  if (Opcode.flags(opcode) === 0) return `opcode 0x${opcode.toString(16).padStart(2, '0')} is unknown`;
  if (Bth.version(view, at) !== 0) return `transport version ${Bth.version(view, at)}`;
  const least = Opcode.headerBytes(opcode) + Bth.padCount(view, at) + Icrc.BYTES;
  return bytes < least ? `${Opcode.name(opcode)} of ${bytes} octets, its headers need ${least}` : undefined;
}

function decodeRoce(work: Work, ipAt: number, udpAt: number, end: number): void {
  const { view } = work;
  const at = udpAt + Udp.BYTES;
  const problem = roceProblem(view, ipAt, udpAt, end);
  if (problem !== undefined) {
    malformed(work, problem, at, end);
    return;
  }
  const icrcAt = end - Icrc.BYTES;
  const padAt = icrcAt - Bth.padCount(view, at);
  const payloadAt = at + Opcode.headerBytes(Bth.opcode(view, at));
  add(work, 'bth', at, Bth.BYTES, Bth.read(view, at));
  decodeExtensions(work, Bth.opcode(view, at), at + Bth.BYTES);
  decodePayload(work, at, payloadAt, padAt);
  addOctets(work, 'pad', padAt, icrcAt);
  const verdict = Icrc.verify(view, work.octets, ipAt, end) ? 'ok' : 'bad';
  work.icrc = verdict;
  add(work, 'icrc', icrcAt, Icrc.BYTES, { value: view.getUint32(icrcAt), verdict });
}

interface Extension {
  readonly flag: OpFlags;
  readonly kind: LayerKind;
  readonly bytes: number;
  readonly read: (view: DataView, at: number) => object;
}

/** The extension headers in the order in which they stand. */
const EXTENSIONS: readonly Extension[] = [
  { flag: Opcode.HAS_DETH, kind: 'deth', bytes: Deth.BYTES, read: Deth.read },
  { flag: Opcode.HAS_XRCETH, kind: 'xrcEth', bytes: XrcEth.BYTES, read: XrcEth.read },
  { flag: Opcode.HAS_FETH, kind: 'feth', bytes: Feth.BYTES, read: Feth.read },
  { flag: Opcode.HAS_RETH, kind: 'reth', bytes: Reth.BYTES, read: Reth.read },
  { flag: Opcode.HAS_ATOMIC, kind: 'atomicEth', bytes: AtomicEth.BYTES, read: AtomicEth.read },
  { flag: Opcode.HAS_AETH, kind: 'aeth', bytes: Aeth.BYTES, read: Aeth.read },
  { flag: Opcode.HAS_ATOMIC_ACK, kind: 'atomicAckEth', bytes: AtomicAckEth.BYTES, read: AtomicAckEth.read },
  { flag: Opcode.HAS_IMM, kind: 'immDt', bytes: ImmDt.BYTES, read: ImmDt.read },
  { flag: Opcode.HAS_IETH, kind: 'ieth', bytes: Ieth.BYTES, read: Ieth.read },
];

function decodeExtensions(work: Work, opcode: OpCode, start: number): void {
  let at = start;
  for (const { flag, kind, bytes, read } of EXTENSIONS) {
    if ((Opcode.flags(opcode) & flag) === 0) continue;
    add(work, kind, at, bytes, read(work.view, at) as never);
    at += bytes;
  }
  if (opcode === Cnp.OPCODE) addOctets(work, 'options', at, at + Cnp.RESERVED_BYTES);
}

const GSI = 1;

/** A MAD when it is addressed to QP1 by datagram, else the application's octets. */
function decodePayload(work: Work, bthAt: number, at: number, end: number): void {
  const { view } = work;
  const isMad = Opcode.transport(Bth.opcode(view, bthAt)) === Opcode.UD && Bth.destQp(view, bthAt) === GSI;
  if (!isMad || end - at !== Mad.MAD_BYTES) {
    if (isMad) work.malformed ??= `a MAD of ${end - at} octets`;
    addOctets(work, 'payload', at, end);
    return;
  }
  add(work, 'mad', at, Mad.BYTES, Mad.read(view, at));
  const attributeId = Mad.attributeId(view, at);
  const message = Mad.managementClass(view, at) === Mad.CLASS_CM ? Messages.of(attributeId) : undefined;
  const dataAt = at + Mad.BYTES;
  if (message === undefined) addOctets(work, 'payload', dataAt, end);
  else add(work, 'cm', dataAt, end - dataAt, { attributeId, message: message.read(view, dataAt) });
}

/** Decodes one Ethernet frame without its FCS. Never throws. */
export function decode(octets: Uint8Array): Decoded {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length);
  const work: Work = { octets, view, layers: [], icrc: undefined, malformed: undefined };
  decodeEthernet(work, 0, octets.length, 0);
  return {
    bytes: octets.length,
    layers: work.layers,
    ...(work.icrc !== undefined && { icrc: work.icrc }),
    ...(work.malformed !== undefined && { malformed: work.malformed }),
  };
}
