/**
 * The VXLAN socket of one VTEP in one worker, shared by the vRNICs and switch ports of all tenants there. Each has a member, which looks like a port of its own. Who polls takes
 * its own frames in place, and hands those of others to their sinks; for who has none they are kept. What is for a member in another worker goes there by a link.
 */
import { moveFrame, type ReceiveBurst, type TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import { AskedFor } from '../../vswitch/neighbour-answerer.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Gid from '../../wire/gid.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import type { Micros } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { closeOwned } from '../linux/descriptors.ts';
import { gidText, readNetdev } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import { newPortCounters } from '../ports/port-counters.ts';
import { segmentCount } from '../ports/super-frame.ts';
import { UdpVxlanPort, VTEP_COUNT_MAX } from '../ports/udp-vxlan.ts';
import { elsewhereOf, type Link, type VtepElsewhere } from './elsewhere.ts';
import { KeptFrames } from './kept-frames.ts';
import { SocketTurn } from './socket-turn.ts';
import { NOWHERE, VtepTable } from './vtep-table.ts';
import { FrameKind, type LinkedFrame } from './worker-link.ts';

export interface VxlanPortConfig {
  /** The VTEP's own address, 16 octets. */
  readonly local: Uint8Array;
  /** Largest inner IP packet. */
  readonly mtu: number;
  readonly udpPort?: number;
  /** The socket, where several workers share the VTEP: the worker's to close. */
  readonly descriptor?: number;
  /** By which most of what is for it comes. */
  readonly netdev?: string;
}

/** Frames that go to all hosts of a tenant have a number from here on. */
const GROUPS_AT = VTEP_COUNT_MAX;

/** By VTEP address and UDP port. One thread's alone. */
const hubs = new Map<string, VxlanHub>();

/** Joins the VTEP's socket, opening it for the first. @throws SystemError: address not ours, port taken. */
export function joinVtep(config: VxlanPortConfig, vni: number, mac: number, isSwitch = false): VxlanMember {
  const key = `${gidText(config.local)} ${config.udpPort ?? ''}`;
  const known = hubs.get(key);
  if (known) dropSocket(config);
  const hub = known ?? new VxlanHub(config, () => hubs.delete(key));
  hubs.set(key, hub);
  return hub.join({ vni, mac, isSwitch, mtu: config.mtu });
}

/** Nobody joins: what was sent for it is given back. */
export function dropSocket({ descriptor }: { readonly descriptor?: number }): void {
  if (descriptor !== undefined) closeOwned(descriptor);
}

/** What a hub knows of one VNI. */
class Segment {
  /** The number by which frames name all of its hosts but this one. */
  readonly group: number;
  readonly members: VxlanMember[] = [];
  /** Packets of its tenant leave by VXLAN, and so others come. */
  isBusy = false;
  readonly #byMac = new Map<number, VxlanMember>();

  constructor(group: number) {
    this.group = group;
  }

  add(member: VxlanMember): void {
    this.members.push(member);
    this.#byMac.set(member.mac, member);
  }

  delete(member: VxlanMember): void {
    this.members.splice(this.members.indexOf(member), 1);
    if (this.#byMac.get(member.mac) === member) this.#byMac.delete(member.mac);
  }

  withMac(mac: number): VxlanMember | undefined {
    return this.#byMac.get(mac);
  }
}

export class VxlanHub {
  readonly port: UdpVxlanPort;
  /** The VTEP's own address. */
  readonly local: Uint8Array;
  readonly #members: VxlanMember[] = [];
  readonly #segments = new Map<number, Segment>();
  readonly #vteps: VtepTable;
  readonly #groups: (Segment | undefined)[] = [];
  /** The time of the breath that reads. */
  now: Micros = 0;
  readonly #turn = new SocketTurn<VxlanMember>();
  readonly #elsewhere: VtepElsewhere;
  /** Of the host whose frames came last by a link. */
  #linkedSource = NOWHERE;
  readonly #onClose: () => void;
  /** The number of this host's own VTEP, once somebody has named it. */
  localIndex = NOWHERE;

  constructor(config: VxlanPortConfig, onClose: () => void) {
    const { netdev, descriptor } = config;
    // Where other workers may have sockets of this VTEP, a packet socket here would see what is theirs.
    const link = netdev !== undefined && descriptor === undefined ? readNetdev(netdev) : undefined;
    const nearest = link?.isEthernet ? { interfaceIndex: link.index, isVeth: link.isVeth } : {};
    this.port = new UdpVxlanPort({ ...config, ...nearest });
    this.#vteps = new VtepTable(this.port);
    this.local = config.local;
    this.#onClose = onClose;
    this.#elsewhere = elsewhereOf(config.local);
    if (config.udpPort !== undefined) return;
    this.#elsewhere.takeVxlan = (frame, now) => this.#takeLinked(frame, now);
    this.#elsewhere.changed = () => this.#sayVnis();
  }

  join(options: MemberOptions): VxlanMember {
    const segment = this.#segments.get(options.vni) ?? this.#newSegment(options.vni);
    const member = new VxlanMember(this, options, segment.group);
    this.#members.push(member);
    segment.add(member);
    if (options.isSwitch) this.expect(options.vni);
    return member;
  }

  /** Packets of this tenant will come, and not only what connections that are translated need to be made: small ones by the ring. */
  expect(vni: number): void {
    const segment = this.#segments.get(vni);
    if (segment === undefined || segment.isBusy) return;
    segment.isBusy = true;
    this.#sayVnis();
  }

  leave(member: VxlanMember): void {
    const at = this.#members.indexOf(member);
    if (at < 0) return;
    this.#members.splice(at, 1);
    this.nameHosts(member, []);
    this.#leaveSegment(member);
    this.#turn.leave(member, this.#members);
    if (this.#members.length > 0) return;
    this.#elsewhere.takeVxlan = null;
    this.#elsewhere.changed = null;
    this.port.close();
    this.#onClose();
  }

  /** The hosts of a member's tenant, this one among them: VTEPs that no member names any more are heard no more. @throws RangeError: too many, or of the other address family. */
  nameHosts(member: VxlanMember, hosts: readonly Uint8Array[]): void {
    member.hosts = this.#vteps.replace(member.hosts, hosts);
    this.localIndex = this.#vteps.indexOf(this.local);
    const others = [...member.hosts.values()].filter((index) => index !== this.localIndex);
    member.copies = Math.max(1, others.length);
    if (hosts.length > 0) this.port.setGroup(member.group - GROUPS_AT, others);
  }

  /** The number by which frames name a VTEP; NOWHERE when no member has named it. */
  vtepIndex(address: Uint8Array): number {
    return this.#vteps.indexOf(address);
  }

  /** Undefined: a host that no member has named. */
  vtep(index: number): Uint8Array | undefined {
    return this.#vteps.at(index);
  }

  /** Reads the socket for `member`: its frames stay in the burst, others go to whom they are for. How many were read. */
  poll(member: VxlanMember, burst: ReceiveBurst, now?: Micros): number {
    burst.count = 0;
    if (!this.#turn.mayRead(member, this.#members.length > 1)) return 0;
    const read = this.port.receive(burst, now);
    this.#turn.hasRead(member, read);
    if (this.#members.length === 1 && this.#elsewhere.segments.size === 0) return read;
    let kept = 0;
    for (let i = 0; i < read; i++) {
      // Behind a frame that waits, all do: they stay in order.
      if (!member.isWaiting && isAllFor(member, burst, i)) moveFrame(burst, i, kept++);
      else this.#share(burst, i);
    }
    this.#turn.hasHanded(member, read - kept, read);
    burst.count = kept;
    return read;
  }

  /** Others may pass over the socket until this one goes. */
  isReader(member: VxlanMember): boolean {
    return this.#turn.isReader(member);
  }

  /** A frame of `sender`, from its VXLAN header on, to members on this host: to the one that has its MAC, or to all. */
  deliver(sender: VxlanMember, bytes: Uint8Array, view: DataView, from: number, to: number): void {
    const segment = this.#segments.get(sender.vni)!;
    const mac = Ethernet.macAt(view, from + Vxlan.BYTES);
    const owner = segment.withMac(mac);
    if (owner !== undefined) return owner.keep(bytes, from, to, this.localIndex);
    const link = this.#elsewhere.linkTo(sender.vni, mac);
    if (link !== undefined) return this.#send(link, bytes, from, to, this.local);
    this.#flood(sender.vni, bytes, from, to, this.local);
    shareAmong(segment.members, sender, bytes, view, from, to, this.localIndex);
  }

  /** Datagrams that the kernel joined may be of several tenants: they have one pair of UDP ports. @param isLinked another worker has looked already. */
  #share(burst: ReceiveBurst, i: number, isLinked = false): void {
    const at = burst.at[i]!;
    const end = at + burst.frameBytes[i]!;
    const step = burst.segmentBytes[i]! || end - at;
    const owner = this.#ownerOf(burst.view, at, end);
    if (owner?.sink && !owner.isWaiting && isAllFor(owner, burst, i)) {
      owner.hand(burst, i);
      return;
    }
    for (let from = at; from < end; from += step)
      this.#shareFrame(burst, from, Math.min(from + step, end), burst.source[i]!, isLinked);
  }

  /** What is nobody's goes to somebody who drops it by name. */
  #shareFrame({ bytes, view }: ReceiveBurst, from: number, to: number, source: number, isLinked: boolean): void {
    const segment = this.#segmentOf(view, from, to);
    const owner = segment?.withMac(Ethernet.macAt(view, from + Vxlan.BYTES));
    if (owner !== undefined) return owner.keep(bytes, from, to, source);
    if (!isLinked && this.#forward(bytes, view, from, to, this.#vteps.at(source))) return;
    if (segment === undefined) this.#members[0]!.keep(bytes, from, to, source);
    else if (!shareAmong(segment.members, null, bytes, view, from, to, source))
      segment.members[0]!.keep(bytes, from, to, source);
  }

  /** A frame of the wire to another worker that has its MAC, or to all that have its tenant. True: nobody here wants it. */
  #forward(bytes: Uint8Array, view: DataView, from: number, to: number, host: Uint8Array | undefined): boolean {
    if (host === undefined || to - from < Vxlan.BYTES + Ethernet.BYTES) return false;
    const vni = Vxlan.vni(view, from);
    const link = this.#elsewhere.linkTo(vni, Ethernet.macAt(view, from + Vxlan.BYTES));
    if (link === undefined) return this.#flood(vni, bytes, from, to, host) && !this.#segments.has(vni);
    this.#send(link, bytes, from, to, host);
    return true;
  }

  #flood(vni: number, bytes: Uint8Array, from: number, to: number, host: Uint8Array): boolean {
    const segment = this.#elsewhere.segments.get(vni);
    if (segment === undefined) return false;
    for (let i = 0; i < segment.links.length; i++) this.#send(segment.links[i]!, bytes, from, to, host);
    return true;
  }

  /** What a worker has no room for is lost, as in a socket's buffer. */
  #send(link: Link, bytes: Uint8Array, from: number, to: number, host: Uint8Array): void {
    if (!link.send(FrameKind.VXLAN, this.local, host, bytes, from, to - from, 0, 0, this.now))
      this.port.counters.rxDropped++;
  }

  /** What another worker's socket or switch had for members of this one. */
  #takeLinked({ burst, source }: LinkedFrame<VtepElsewhere>, now: Micros): void {
    const known = this.#vteps.at(this.#linkedSource);
    if (known === undefined || !Gid.isSame(known, source)) this.#linkedSource = this.#vteps.indexOf(source);
    this.now = now;
    burst.source[0] = this.#linkedSource;
    this.#share(burst, 0, true);
  }

  #segmentOf(view: DataView, from: number, to: number): Segment | undefined {
    const isWhole = to - from >= Vxlan.BYTES + Ethernet.BYTES;
    return isWhole ? this.#segments.get(Vxlan.vni(view, from)) : undefined;
  }

  #ownerOf(view: DataView, from: number, to: number): VxlanMember | undefined {
    return this.#segmentOf(view, from, to)?.withMac(Ethernet.macAt(view, from + Vxlan.BYTES));
  }

  /** Every worker's packet socket sees every datagram: of a tenant that several workers have, the UDP sockets have all, which the kernel steers by MAC. */
  #sayVnis(): void {
    const busy = [...this.#segments].filter(([vni, { isBusy }]) => isBusy && !this.#elsewhere.segments.has(vni));
    this.port.setVnis(busy.map(([vni]) => vni));
  }

  #newSegment(vni: number): Segment {
    let slot = this.#groups.indexOf(undefined);
    if (slot < 0) slot = this.#groups.length;
    const segment = new Segment(GROUPS_AT + slot);
    this.#groups[slot] = segment;
    this.#segments.set(vni, segment);
    return segment;
  }

  #leaveSegment(member: VxlanMember): void {
    const segment = this.#segments.get(member.vni)!;
    segment.delete(member);
    if (segment.members.length > 0) return;
    this.#segments.delete(member.vni);
    this.#groups[segment.group - GROUPS_AT] = undefined;
    this.port.setGroup(segment.group - GROUPS_AT, []);
    this.#sayVnis();
  }
}

function isAllFor(member: VxlanMember, burst: ReceiveBurst, i: number): boolean {
  const at = burst.at[i]!;
  const end = at + burst.frameBytes[i]!;
  const step = burst.segmentBytes[i]! || end - at;
  for (let from = at; from < end; from += step) if (!member.owns(burst.view, from, end)) return false;
  return true;
}

/** A frame for a MAC that no member has, from its VXLAN header on. False when nobody took it. */
function shareAmong(
  members: readonly VxlanMember[],
  sender: VxlanMember | null,
  bytes: Uint8Array,
  view: DataView,
  from: number,
  to: number,
  source: number,
): boolean {
  const ethernetAt = from + Vxlan.BYTES;
  const isGroup = Ethernet.isMulticast(view, ethernetAt);
  let isTaken = false;
  for (let i = 0; i < members.length; i++) {
    const member = members[i]!;
    if (member === sender || !(member.isSwitch || (isGroup && isForVrnic(member, view, ethernetAt, to)))) continue;
    member.keep(bytes, from, to, source);
    isTaken = true;
  }
  return isTaken || isGroup;
}

const asked = new AskedFor();

/** vRNICs take RoCE for many, and questions about themselves: else their neighbours are the tenant's endpoints. */
const isForVrnic = ({ addresses }: VxlanMember, view: DataView, ethernetAt: number, to: number): boolean =>
  isRoceGroup(view, ethernetAt, to) || asked.isFor(view, ethernetAt, to, addresses);

function isRoceGroup(view: DataView, ethernetAt: number, to: number): boolean {
  const ipAt = ethernetAt + Ethernet.BYTES;
  const isIpv6 = view.getUint16(ethernetAt + 12) === Ethernet.ETHER_TYPE_IPV6;
  const udpAt = ipAt + (isIpv6 ? Ipv6.BYTES : Ipv4.BYTES);
  if (udpAt + Udp.BYTES > to || (!isIpv6 && view.getUint16(ethernetAt + 12) !== Ethernet.ETHER_TYPE_IPV4)) return false;
  const protocol = isIpv6 ? Ipv6.nextHeader(view, ipAt) : Ipv4.protocol(view, ipAt);
  return protocol === Ipv4.PROTOCOL_UDP && Udp.destinationPort(view, udpAt) === Udp.PORT_ROCE;
}

export interface MemberOptions {
  readonly vni: number;
  /** As a number of 48 bits. */
  readonly mac: number;
  /** It takes what is for MACs that nobody here has, too. */
  readonly isSwitch: boolean;
  /** Largest inner IP packet of its tenant. */
  readonly mtu: number;
}

/** The share of a VTEP that a vRNIC has, or a port of the switch. */
export class VxlanMember implements Port {
  readonly link = 'vxlan';
  readonly framing = Framing.HEADER_EACH;
  readonly counters = newPortCounters();
  readonly hub: VxlanHub;
  readonly vni: number;
  readonly mac: number;
  readonly isSwitch: boolean;
  readonly mtu: number;
  /** Names all hosts of its tenant but this one. */
  readonly group: number;
  /** Frames that one to all hosts counts for: one for each host but this one, and one where there is none. */
  copies = 1;
  /** The VTEPs that it has named, by address: the hub's to change. */
  hosts: ReadonlyMap<string, number> = new Map();
  /** Takes frame i of a burst that another member read, in the middle of that one's breath; it may not keep it. Null: its frames are kept until it polls. */
  sink: ((burst: ReceiveBurst, i: number, now: Micros) => void) | null = null;
  /** Its vRNIC's: there is something to ask it for. */
  stir: (() => void) | null = null;
  errandMicros: Micros = 0;
  readonly #kept = new KeptFrames();
  /** Of its tenant, for the outer header. */
  dscp = 0;
  /** Of a vRNIC: others may ask who has them. */
  addresses: readonly Uint8Array[] = [];

  constructor(hub: VxlanHub, { vni, mac, isSwitch, mtu }: MemberOptions, group: number) {
    this.hub = hub;
    this.vni = vni;
    this.mac = mac;
    this.isSwitch = isSwitch;
    this.mtu = mtu;
    this.group = group;
  }

  get name(): string {
    return `${this.hub.port.name}/${this.vni}`;
  }

  get fileDescriptor(): number {
    return this.hub.port.fileDescriptor;
  }

  get secondDescriptor(): number {
    return this.hub.port.ringDescriptor;
  }

  /** Its VNI and its MAC. */
  owns(view: DataView, at: number, end: number): boolean {
    if (end - at < Vxlan.BYTES + Ethernet.BYTES) return false;
    return Vxlan.vni(view, at) === this.vni && Ethernet.macAt(view, at + Vxlan.BYTES) === this.mac;
  }

  get isWaiting(): boolean {
    return this.#kept.count > 0;
  }

  get isAsked(): boolean {
    return this.isWaiting || this.hub.isReader(this);
  }

  keep(bytes: Uint8Array, from: number, to: number, source: number): void {
    this.stir?.();
    if (!this.#kept.put(bytes, from, to, source)) this.counters.rxDropped++;
  }

  /** Its own frames are in the burst; what it read for others counts as well: they have something to do. */
  receive(burst: ReceiveBurst, now?: Micros): number {
    this.counters.rxCalls++;
    const read = this.isWaiting ? this.#kept.take(burst) : this.hub.poll(this, burst, now);
    for (let i = 0; i < burst.count; i++) this.#count(burst, i);
    return read;
  }

  hand(burst: ReceiveBurst, i: number): void {
    this.#count(burst, i);
    this.sink!(burst, i, this.hub.now);
  }

  transmit(burst: TransmitBurst, now?: Micros): boolean {
    const before = burst.sent;
    const isAll = this.hub.port.transmit(burst, this.dscp, now, this.counters);
    for (let i = before; i < burst.sent; i++) if (burst.destination[i] === this.group) this.#deliver(burst, i);
    return isAll;
  }

  setSleeping(): boolean {
    return !this.isWaiting;
  }

  onReadable(): void {}

  close(): void {
    this.hub.leave(this);
    this.#kept.clear();
  }

  #count(burst: ReceiveBurst, i: number): void {
    const bytes = burst.frameBytes[i]!;
    this.counters.rxFrames += segmentCount(bytes, burst.segmentBytes[i]!, 0);
    this.counters.rxBytes += bytes;
  }

  /** What goes to all hosts goes to the members on this one, too. */
  #deliver(burst: TransmitBurst, i: number): void {
    const at = burst.at[i]!;
    const end = at + burst.frameBytes[i]!;
    const step = burst.segmentBytes[i]! || end - at;
    for (let from = at; from < end; from += step)
      this.hub.deliver(this, burst.bytes, burst.view, from, Math.min(from + step, end));
  }
}
