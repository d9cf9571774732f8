/**
 * Who has this address: asks and answers ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861) for one vRNIC. Sans-IO: frames in, frames out, time is an argument.
 */
import { TransmitBurst } from '../rnic/burst.ts';
import * as Arp from '../wire/arp.ts';
import * as Ethernet from '../wire/ethernet.ts';
import * as Gid from '../wire/gid.ts';
import * as Nd from '../wire/icmpv6-nd.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import type { Micros } from '../wire/types.ts';
import { gidText } from './linux/netdev.ts';

/** RFC 4861 §10 has 3 tries, one second apart; a data centre answers faster, and the caller waits. */
const TRIES = 4;
const RETRY_MICROS = 500_000;
/** How long an answer is believed, and a failure remembered. */
const REACHABLE_MICROS = 60_000_000;
const FAILED_MICROS = 1_000_000;
const ENTRY_COUNT_MAX = 4096;
const FRAME_BYTES = 128;
const FRAME_COUNT_MAX = 128;
const ND_BYTES = Ethernet.BYTES + Ipv6.BYTES + Nd.BYTES + Nd.OPTION_BYTES;
/** RFC 4861 §7.1: proof that no router forwarded it. */
const ND_HOP_LIMIT = 255;

export const Resolution = { PENDING: 0, REACHABLE: 1, FAILED: 2 } as const;
export type Resolution = (typeof Resolution)[keyof typeof Resolution];

interface Neighbour {
  readonly gid: Uint8Array;
  source: Uint8Array;
  state: Resolution;
  readonly mac: Uint8Array;
  /** PENDING: next try. Otherwise: when it is forgotten. */
  deadline: Micros;
  tries: number;
}

export interface NeighboursOptions {
  /** 6 octets. */
  readonly mac: Uint8Array;
  /** Ours, 16 octets each. */
  readonly addresses: readonly Uint8Array[];
  /** False when the kernel holds the same addresses on this interface: it answers for them. */
  readonly answers: boolean;
}

const keyOf = (gid: Uint8Array): string => Buffer.from(gid).toString('latin1');

/** Neighbours, and the port of a vRNIC that asks for them. */
export interface NeighbourLink {
  readonly neighbours: Neighbours;
  readonly port: number;
  /** The last change of theirs that waiting commands were told of. */
  changes: number;
}

export class Neighbours {
  /** Frames to send; the worker flushes and resets it. */
  readonly burst = new TransmitBurst(FRAME_BYTES * FRAME_COUNT_MAX, FRAME_COUNT_MAX);
  /** Counts what was learned or given up: while it stands still, nobody who waits need look again. */
  changes = 0;
  /** Told when a known neighbour has a new MAC. */
  onMove: ((gid: Uint8Array, mac: Uint8Array) => void) | null = null;
  readonly #macHi: number;
  readonly #macLo: number;
  readonly #answers: boolean;
  #addresses: readonly Uint8Array[];
  readonly #table = new Map<string, Neighbour>();
  /** Of all that are searched for: asked in each breath, reckoned after each change. */
  #nextTry: Micros = Number.POSITIVE_INFINITY;
  #mayHaveChanged = false;
  readonly #scratch = new Uint8Array(48);
  readonly #scratchView = new DataView(this.#scratch.buffer);

  constructor(options: NeighboursOptions) {
    const view = new DataView(options.mac.buffer, options.mac.byteOffset, 6);
    this.#macHi = view.getUint16(0);
    this.#macLo = view.getUint32(2);
    this.#answers = options.answers;
    this.#addresses = options.addresses;
  }

  setAddresses(addresses: readonly Uint8Array[]): void {
    this.#addresses = addresses;
  }

  get count(): number {
    return this.#table.size;
  }

  /** Starts or continues the search for an address on this link. @param source the address that we ask from. */
  resolve(gid: Uint8Array, source: Uint8Array, now: Micros): Resolution {
    this.#mayHaveChanged = true;
    const known = this.#table.get(keyOf(gid));
    if (known && (known.state === Resolution.PENDING || known.deadline > now)) return known.state;
    if (!known && !this.#makeRoom()) return Resolution.FAILED;
    const mac = known ? known.mac : new Uint8Array(6);
    const entry = { gid: gid.slice(), source: source.slice(), state: Resolution.PENDING, mac, deadline: 0, tries: 0 };
    this.#table.set(keyOf(gid), entry);
    this.#ask(entry, now);
    return Resolution.PENDING;
  }

  /** The MAC of a REACHABLE neighbour. */
  macOf(gid: Uint8Array): Uint8Array | undefined {
    const known = this.#table.get(keyOf(gid));
    return known?.state === Resolution.REACHABLE ? known.mac : undefined;
  }

  /** What to tell whoever waited in vain. */
  failureText(gid: Uint8Array): string {
    return `no answer from ${gidText(gid)}: ${Gid.isMappedIpv4(gid) ? 'ARP' : 'neighbour discovery'} asked ${TRIES} times`;
  }

  /** An Ethernet frame that may be ARP or neighbour discovery. Anything malformed is passed over. */
  handleFrame(view: DataView, at: number, end: number, now: Micros): void {
    this.#mayHaveChanged = true;
    const bodyAt = at + Ethernet.BYTES;
    const type = view.getUint16(at + 12);
    if (type === Ethernet.ETHER_TYPE_ARP && Arp.fits(end, bodyAt)) this.#handleArp(view, bodyAt, now);
    else if (type === Ethernet.ETHER_TYPE_IPV6 && end - bodyAt >= Ipv6.BYTES + Nd.BYTES)
      this.#handleNd(view, bodyAt, end, now);
  }

  handleTimeout(now: Micros): void {
    this.#mayHaveChanged = true;
    for (const [key, entry] of this.#table) {
      if (entry.deadline > now) continue;
      if (entry.state !== Resolution.PENDING) this.#table.delete(key);
      else if (entry.tries >= TRIES) this.#fail(entry, now);
      else this.#ask(entry, now);
    }
  }

  /** Next try of a search; forgetting can wait for the next resolve. */
  pollTimeout(): Micros {
    if (this.#mayHaveChanged) {
      this.#nextTry = Number.POSITIVE_INFINITY;
      for (const { state, deadline } of this.#table.values()) {
        if (state === Resolution.PENDING && deadline < this.#nextTry) this.#nextTry = deadline;
      }
      this.#mayHaveChanged = false;
    }
    return this.#nextTry;
  }

  #fail(entry: Neighbour, now: Micros): void {
    this.changes++;
    entry.state = Resolution.FAILED;
    entry.deadline = now + FAILED_MICROS;
  }

  /** Forgets the oldest entry that nobody waits for. */
  #makeRoom(): boolean {
    if (this.#table.size < ENTRY_COUNT_MAX) return true;
    for (const [key, entry] of this.#table) {
      if (entry.state !== Resolution.PENDING) return this.#table.delete(key);
    }
    return false;
  }

  #ask(entry: Neighbour, now: Micros): void {
    entry.tries++;
    entry.deadline = now + RETRY_MICROS;
    if (Gid.isMappedIpv4(entry.gid)) this.#askArp(entry);
    else this.#askNd(entry);
  }

  #learn(gid: Uint8Array, view: DataView, macAt: number, now: Micros, isNew: boolean): void {
    const known = this.#table.get(keyOf(gid));
    if ((!known && !(isNew && this.#makeRoom())) || (view.getUint8(macAt) & 1) !== 0) return;
    const mac = new Uint8Array(view.buffer, view.byteOffset + macAt, 6).slice();
    const entry = known ?? { gid: gid.slice(), source: gid, state: Resolution.PENDING, mac, deadline: 0, tries: 0 };
    const hasMoved = entry.state === Resolution.REACHABLE && mac.some((octet, i) => octet !== entry.mac[i]);
    this.changes++;
    entry.mac.set(mac);
    entry.state = Resolution.REACHABLE;
    entry.deadline = now + REACHABLE_MICROS;
    this.#table.set(keyOf(gid), entry);
    if (hasMoved) this.onMove?.(entry.gid, entry.mac);
  }

  #isOurs(gid: Uint8Array): boolean {
    return this.#addresses.some((address) => Gid.isSame(address, gid));
  }

  #handleArp(view: DataView, at: number, now: Micros): void {
    if (!Arp.isIpv4OverEthernet(view, at)) return;
    const target = mappedGid(Arp.targetIp(view, at));
    const isForUs = this.#isOurs(target);
    this.#learn(mappedGid(Arp.senderIp(view, at)), view, at + 8, now, isForUs);
    if (!isForUs || !this.#answers || Arp.operation(view, at) !== Arp.REQUEST) return;
    const frame = this.#begin(
      Ethernet.BYTES + Arp.BYTES,
      Arp.senderMacHi(view, at),
      Arp.senderMacLo(view, at),
      Ethernet.ETHER_TYPE_ARP,
    );
    if (frame < 0) return;
    const senderIp = Arp.senderIp(view, at);
    const [hi, lo] = [Arp.senderMacHi(view, at), Arp.senderMacLo(view, at)];
    Arp.write(this.burst.view, frame, Arp.REPLY, this.#macHi, this.#macLo, Arp.targetIp(view, at), hi, lo, senderIp);
  }

  #handleNd(view: DataView, ipAt: number, end: number, now: Micros): void {
    const at = ipAt + Ipv6.BYTES;
    const bodyEnd = at + Ipv6.payloadLength(view, ipAt);
    const type = Nd.type(view, at);
    const isWhole = Ipv6.nextHeader(view, ipAt) === Ipv6.NEXT_HEADER_ICMPV6 && bodyEnd <= end && Nd.fits(bodyEnd, at);
    if (!isWhole || !Nd.isNeighborDiscovery(type) || Ipv6.hopLimit(view, ipAt) !== ND_HOP_LIMIT) return;
    if (Nd.code(view, at) !== 0 || !Nd.verifyChecksum(view, ipAt, at, bodyEnd)) return;
    if (type === Nd.NEIGHBOR_ADVERTISEMENT) this.#handleAdvertisement(view, at, bodyEnd, now);
    else this.#handleSolicitation(view, ipAt, at, bodyEnd, now);
  }

  #handleAdvertisement(view: DataView, at: number, end: number, now: Micros): void {
    const macAt = Nd.findMac(view, at, end, Nd.OPTION_TARGET_MAC);
    if (macAt >= 0) this.#learn(octets(view, at + Nd.TARGET_AT), view, macAt, now, false);
  }

  #handleSolicitation(view: DataView, ipAt: number, at: number, end: number, now: Micros): void {
    const target = octets(view, at + Nd.TARGET_AT);
    const macAt = Nd.findMac(view, at, end, Nd.OPTION_SOURCE_MAC);
    if (!this.#isOurs(target)) return;
    const source = octets(view, ipAt + Ipv6.SOURCE_AT);
    const isProbe = Gid.isZero(source); // duplicate address detection: answered to all nodes
    if (macAt >= 0 && !isProbe) this.#learn(source, view, macAt, now, true);
    if (!this.#answers) return;
    const [hi, lo] = macAt >= 0 && !isProbe ? [view.getUint16(macAt), view.getUint32(macAt + 2)] : [0x3333, 1];
    const flags = Nd.OVERRIDE | (isProbe ? 0 : Nd.SOLICITED);
    this.#writeNd(Nd.NEIGHBOR_ADVERTISEMENT, flags, target, isProbe ? ALL_NODES : source, target, hi, lo);
  }

  #askArp(entry: Neighbour): void {
    const at = this.#begin(Ethernet.BYTES + Arp.BYTES, 0xffff, 0xffff_ffff, Ethernet.ETHER_TYPE_ARP);
    if (at < 0) return;
    const [ours, theirs] = [ipv4Of(entry.source), ipv4Of(entry.gid)];
    Arp.write(this.burst.view, at, Arp.REQUEST, this.#macHi, this.#macLo, ours, 0, 0, theirs);
  }

  #askNd(entry: Neighbour): void {
    const group = solicitedNode(entry.gid);
    const low = new DataView(group.buffer).getUint32(12);
    this.#writeNd(Nd.NEIGHBOR_SOLICITATION, 0, entry.source, group, entry.gid, 0x3333, low);
  }

  #writeNd(
    type: number,
    flags: number,
    source: Uint8Array,
    to: Uint8Array,
    target: Uint8Array,
    hi: number,
    lo: number,
  ): void {
    const ipAt = this.#begin(ND_BYTES, hi, lo, Ethernet.ETHER_TYPE_IPV6);
    if (ipAt < 0) return;
    this.#scratch.set(source, 0);
    this.#scratch.set(to, 16);
    this.#scratch.set(target, 32);
    const { view } = this.burst;
    const bodyBytes = Nd.BYTES + Nd.OPTION_BYTES;
    Ipv6.write(view, ipAt, 0, 0, bodyBytes, Ipv6.NEXT_HEADER_ICMPV6, ND_HOP_LIMIT, this.#scratchView, 0, 16);
    Nd.write(view, ipAt, ipAt + Ipv6.BYTES, type, flags, this.#scratchView, 32, this.#macHi, this.#macLo);
  }

  /** Opens a frame in the burst; -1 when it is full (the question is asked again, the asker repeats). Returns where the payload goes. */
  #begin(bytes: number, hi: number, lo: number, etherType: number): number {
    const { burst } = this;
    if (burst.count === FRAME_COUNT_MAX) return -1;
    const at = burst.count * FRAME_BYTES;
    const i = burst.count++;
    burst.end = at + FRAME_BYTES;
    burst.at[i] = at;
    burst.frameBytes[i] = bytes;
    burst.segmentBytes[i] = 0;
    burst.headerBytes[i] = 0;
    burst.destination[i] = 0;
    Ethernet.write(burst.view, at, hi, lo, this.#macHi, this.#macLo, etherType);
    return at + Ethernet.BYTES;
  }
}

/** ff02::1 */
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

/** RFC 4291 §2.7.1: ff02::1:ff00:0/104 and the last three octets. */
const solicitedNode = (gid: Uint8Array): Uint8Array =>
  Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, gid[13]!, gid[14]!, gid[15]!);

const octets = (view: DataView, at: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, 16).slice();

function mappedGid(address: number): Uint8Array {
  const gid = new Uint8Array(16);
  gid[10] = 0xff;
  gid[11] = 0xff;
  new DataView(gid.buffer).setUint32(12, address);
  return gid;
}

const ipv4Of = (gid: Uint8Array): number => new DataView(gid.buffer, gid.byteOffset, 16).getUint32(12);

/** The Ethernet address of a multicast GID: RFC 1112 §6.4 (01:00:5e and 23 bits), RFC 2464 §7 (33:33 and 32 bits). Undefined for a unicast one. */
export function multicastMac(gid: Uint8Array): Uint8Array | undefined {
  if (Gid.isMappedIpv4(gid)) {
    return (gid[12]! & 0xf0) === 0xe0 ? Uint8Array.of(1, 0, 0x5e, gid[13]! & 0x7f, gid[14]!, gid[15]!) : undefined;
  }
  return gid[0] === 0xff ? Uint8Array.of(0x33, 0x33, gid[12]!, gid[13]!, gid[14]!, gid[15]!) : undefined;
}
