/**
 * The RoCEv2 of a host's own address on one interface, shared by the vRNICs of one worker whose connections are translated: one packet socket, which takes the QPNs of all of
 * them. A QPN says whose a packet is. Who polls takes its own in place, and hands those of others to their sinks.
 */
import { moveFrame, type ReceiveBurst, type TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import type { Micros } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import { ifNameToIndex } from '../linux/libc.ts';
import { gidText } from '../linux/netdev.ts';
import type { QpnRange } from '../linux/roce-filter.ts';
import type { Port, PortCounters } from '../port.ts';
import { AfPacketPort } from '../ports/af-packet.ts';
import { newPortCounters } from '../ports/port-counters.ts';
import { segmentCount, sharedHeaderBytes } from '../ports/super-frame.ts';
import { SocketTurn } from './socket-turn.ts';

/** Takes frame i of a burst; it may not keep it. */
export type HostSink = (burst: ReceiveBurst, i: number, now: Micros) => void;

export interface HostMemberOptions {
  readonly netdev: string;
  readonly mtu: number;
  /** The host's own address, 16 octets. */
  readonly local: Uint8Array;
  /** Of this vRNIC alone. */
  readonly qpns: QpnRange;
}

/** By interface and address. One thread's alone. */
const hubs = new Map<string, HostHub>();
/** No RoCE: for all. */
const EVERYBODY = -1;

class HostHub {
  readonly port: AfPacketPort;
  readonly #members: HostMember[] = [];
  readonly #onEmpty: () => void;
  readonly #turn = new SocketTurn<HostMember>();

  /** @throws what opening throws. */
  constructor(first: HostMember, { netdev, local, qpns }: HostMemberOptions, onEmpty: () => void) {
    this.port = new AfPacketPort({ netdev, addresses: [local], qpns: [qpns], connectedOnly: true });
    this.#members.push(first);
    this.#onEmpty = onEmpty;
  }

  join(member: HostMember): void {
    this.#members.push(member);
    this.#filter();
  }

  leave(member: HostMember): void {
    this.#members.splice(this.#members.indexOf(member), 1);
    this.#turn.leave(member, this.#members);
    if (this.#members.length > 0) return this.#filter();
    this.port.close();
    this.#onEmpty();
  }

  /** How many frames were read, for whomever. */
  poll(member: HostMember, burst: ReceiveBurst): number {
    if (!this.#turn.mayRead(member, this.#members.length > 1)) return 0;
    const read = this.port.receive(burst);
    this.#turn.hasRead(member, read);
    if (this.#members.length === 1) return read;
    let own = 0;
    for (let i = 0; i < read; i++) if (this.#hand(burst, i, member)) moveFrame(burst, i, own++);
    this.#turn.hasHanded(member, read - own, read);
    burst.count = own;
    return read;
  }

  /** Others may pass over the socket until this one goes. */
  isReader(member: HostMember): boolean {
    return this.#turn.isReader(member);
  }

  /** To others than the reader. True: it is the reader's, too. */
  #hand(burst: ReceiveBurst, i: number, reader: HostMember): boolean {
    const at = burst.at[i]!;
    const qpn = destQpOf(burst.view, at, at + burst.frameBytes[i]!);
    if (qpn !== EVERYBODY && reader.owns(qpn)) return true;
    for (let j = 0; j < this.#members.length; j++) {
      const member = this.#members[j]!;
      if (member === reader || (qpn !== EVERYBODY && !member.owns(qpn))) continue;
      member.take(burst, i, reader.now);
      if (qpn !== EVERYBODY) return false;
    }
    return qpn === EVERYBODY;
  }

  #filter(): void {
    this.port.setQpns(this.#members.map(({ qpns }) => qpns));
  }
}

/** A vRNIC's share. It joins when it is opened: most vRNICs never translate, and a packet socket costs every packet of its interface. */
export class HostMember implements Port {
  readonly name: string;
  readonly link = 'ethernet';
  readonly mtu: number;
  readonly qpns: QpnRange;
  /** Its vRNIC; null until there is one. */
  sink: HostSink | null = null;
  /** Its vRNIC's: there is something to ask it for. */
  stir: (() => void) | null = null;
  errandMicros: Micros = 0;
  /** The time of the breath that reads. */
  now: Micros = 0;
  readonly #options: HostMemberOptions;
  readonly #counters = newPortCounters();
  #hub: HostHub | null = null;
  #isClosed = false;

  constructor(options: HostMemberOptions) {
    this.#options = options;
    this.name = `af_packet:${options.netdev}`;
    this.mtu = options.mtu;
    this.qpns = options.qpns;
  }

  /** Idempotent. @throws what opening throws: no CAP_NET_RAW, interface gone. */
  open(): void {
    if (this.#hub !== null || this.#isClosed) return;
    const { netdev, local } = this.#options;
    const key = `${netdev} ${ifNameToIndex(netdev)} ${gidText(local)}`;
    const known = hubs.get(key);
    if (known) known.join(this);
    this.#hub = known ?? new HostHub(this, this.#options, () => hubs.delete(key));
    hubs.set(key, this.#hub);
  }

  /** It is open on an interface that has gone, and another one has its name. */
  get isStale(): boolean {
    if (this.#hub === null) return false;
    const index = ifNameToIndex(this.#options.netdev);
    return index !== 0 && index !== this.#hub.port.netdev.index;
  }

  /** Of the open port. */
  get framing(): Framing {
    return this.#hub?.port.framing ?? Framing.SINGLE;
  }

  get fileDescriptor(): number {
    return this.#hub?.port.fileDescriptor ?? -1;
  }

  /** Frames that the kernel dropped were anybody's of the socket. */
  get counters(): PortCounters {
    if (this.#hub !== null) this.#counters.rxDropped = this.#hub.port.counters.rxDropped;
    return this.#counters;
  }

  get isAsked(): boolean {
    return this.#hub?.isReader(this) ?? false;
  }

  owns(qpn: number): boolean {
    return qpn >= this.qpns.base && qpn < this.qpns.base + this.qpns.count;
  }

  take(burst: ReceiveBurst, i: number, now: Micros): void {
    this.#count(burst, i);
    this.sink?.(burst, i, now);
  }

  #count(burst: ReceiveBurst, i: number): void {
    const bytes = burst.frameBytes[i]!;
    const segment = burst.segmentBytes[i]!;
    const frames = segment === 0 ? 1 : segmentCount(bytes, segment, sharedHeaderBytes(burst.view, burst.at[i]!));
    this.#counters.rxFrames += frames;
    this.#counters.rxBytes += bytes;
  }

  /** Its own frames are in the burst; what it read for others counts as well: they have something to do. */
  receive(burst: ReceiveBurst): number {
    burst.count = 0;
    const read = this.#hub === null ? 0 : this.#hub.poll(this, burst);
    for (let i = 0; i < burst.count; i++) this.#count(burst, i);
    return read;
  }

  /** Frames have paths, and paths are made once it is open. */
  transmit(burst: TransmitBurst): boolean {
    return this.#hub === null || this.#hub.port.transmit(burst, undefined, this.#counters);
  }

  onReadable(): void {}

  close(): void {
    this.#isClosed = true;
    this.#hub?.leave(this);
    this.#hub = null;
  }
}

/** The socket's filter has looked already: what is no RoCE here is ARP or neighbour discovery. */
function destQpOf(view: DataView, at: number, end: number): number {
  const ipAt = at + Ethernet.BYTES;
  if (end < ipAt + Ipv4.BYTES) return EVERYBODY;
  const isIpv6 = view.getUint16(at + 12) === Ethernet.ETHER_TYPE_IPV6;
  if (!isIpv6 && view.getUint16(at + 12) !== Ethernet.ETHER_TYPE_IPV4) return EVERYBODY;
  if ((isIpv6 ? Ipv6.nextHeader(view, ipAt) : Ipv4.protocol(view, ipAt)) !== Ipv4.PROTOCOL_UDP) return EVERYBODY;
  const bthAt = ipAt + (isIpv6 ? Ipv6.BYTES : (view.getUint8(ipAt) & 15) * 4) + Udp.BYTES;
  return end < bthAt + Bth.BYTES ? EVERYBODY : Bth.destQp(view, bthAt);
}
