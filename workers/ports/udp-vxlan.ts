/**
 * VXLAN by a UDP socket (RFC 7348): a frame is what follows the outer UDP header, VXLAN header first. Equal frames to one VTEP leave in one call (UDP_SEGMENT)
 * and arrive in one (UDP_GRO, udp(7)). Frames name VTEPs by index, and groups of VTEPs, to each of which a copy goes.
 */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import { CE, ecnOf, outerClassOf, setCongested } from '../../vswitch/traffic-class.ts';
import { boxed } from '../../wire/arena.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Gid from '../../wire/gid.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import type { Micros } from '../../wire/types.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { addressOf } from '../linux/arena.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned } from '../linux/descriptors.ts';
import * as Libc from '../linux/libc.ts';
import { MessageBatch } from '../linux/message-batch.ts';
import * as Socket from '../linux/socket.ts';
import type { Port, PortCounters } from '../port.ts';
import { FlowSockets, flowOf } from './flow-sockets.ts';
import { KnownWays, Way } from './known-ways.ts';
import { Next } from './packet-ring.ts';
import { newPortCounters } from './port-counters.ts';
import { segmentCount } from './super-frame.ts';
import { VxlanRing } from './vxlan-ring.ts';

export interface UdpVxlanOptions {
  /** The VTEP's own address, 16 octets; IPv4 as IPv4-mapped. */
  readonly local: Uint8Array;
  /** 4789 by default; 0 takes any. */
  readonly udpPort?: number;
  /** Largest inner IP packet. */
  readonly mtu: number;
  /** A socket that is bound already: one of several that share the port (workers/vtep-group.ts). The port's to close. */
  readonly descriptor?: number;
  /** Small datagrams by this interface come without system calls, where that is allowed. */
  readonly interfaceIndex?: number;
  /** It is an end of a veth pair: all that leaves by it may pass by the kernel's UDP and IP. */
  readonly isVeth?: boolean;
}

const VXLAN_PORT = 4789;
const SEND_BATCH = 64;
const SLOT_BYTES_MIN = 65_536 + 64;
const NAME_BYTES = 28;
/** cmsghdr and an int, up to a multiple of 8. */
const CMSG_BYTES = 24;
const CMSG_DATA = 16;
/** Of the joined or to be joined datagrams' length, and of the traffic class. */
const CONTROL_BYTES = 2 * CMSG_BYTES;
/** A VXLAN header, an Ethernet header, and an IP header's first half. */
const INNER_BYTES_MIN = Vxlan.BYTES + Ethernet.BYTES + 12;
export const VTEP_COUNT_MAX = 65_536;
/** `source` of a datagram whose sender is in no table. */
export const STRANGER = -1;
const NOBODY: readonly Vtep[] = [];
/**
 * A look at the socket is a system call, whether it has something or not, and often all comes by the ring, or is translated. Between two looks passes this share of the time for
 * which it has had nothing, so that what comes then comes not much later.
 */
const PAUSE_SHARE = 1 / 32;
const PAUSE_MICROS_MAX = 50;

interface Vtep {
  readonly index: number;
  readonly address: Uint8Array;
  /** The address, four octets each. */
  readonly words: Int32Array;
  readonly name: Uint8Array;
}

export class UdpVxlanPort implements Port {
  readonly name: string;
  readonly link = 'vxlan';
  readonly mtu: number;
  readonly framing = Framing.HEADER_EACH;
  readonly counters = newPortCounters();
  /** Of whose frames leave. */
  #senders: PortCounters = this.counters;
  /** The UDP port that it is bound to. */
  readonly udpPort: number;
  readonly #isIpv4: boolean;
  readonly #out = new MessageBatch(SEND_BATCH, 0, NAME_BYTES, CONTROL_BYTES);
  /** By index; one VTEP each. */
  readonly #vteps: (readonly Vtep[] | undefined)[] = [];
  readonly #groups: (readonly Vtep[])[] = [];
  /** Of the frame at `burst.sent`: copies that have left already. */
  #copies = 0;
  /** By a hash of the address; equal hashes in a row. */
  readonly #known = new Map<number, Vtep[]>();
  /** Most that comes is from the same one as the last. */
  #lastSource: Vtep | undefined;
  #fd: number;
  readonly #flows: FlowSockets;
  /** Of the messages that are laid out. */
  #outFd = -1;
  #outFlow = 0;
  /** Of the first message. */
  #outVtep = 0;
  /** The first frame might pass by the kernel. */
  #isSuitable = false;
  #in = new MessageBatch(1, 0, NAME_BYTES, CONTROL_BYTES);
  #slotBytes = 0;
  /** Calls in a row that brought something: from the third on many frames are asked for at once, until only one comes. */
  #streak = 0;
  /** Of the message that is looked at. */
  #segmentBytes = 0;
  #isCongested = false;
  #receiving: ReceiveBurst | null = null;
  /** The burst's arena as words. */
  #receivingWords: Int32Array = new Int32Array(0);
  /** Undefined: the socket has them all. */
  readonly #ring: VxlanRing | undefined;
  /** By which frames may leave without it; undefined: by none. */
  readonly #ways: KnownWays | undefined;
  /** When the socket had something, and when it is to be looked at again. */
  #foundAt: Micros = Number.NEGATIVE_INFINITY;
  #lookAt: Micros = Number.NEGATIVE_INFINITY;
  #sending: TransmitBurst | null = null;
  #sendingAddress = 0;
  #dscp = 0;

  /** @throws SystemError: port taken, address not ours. */
  constructor(options: UdpVxlanOptions) {
    this.#isIpv4 = Gid.isMappedIpv4(options.local);
    this.mtu = options.mtu;
    const local = this.#isIpv4 ? options.local.slice(12) : options.local;
    const prepare = (fd: number): void => this.#prepare(fd);
    if (options.descriptor === undefined) {
      this.#fd = Socket.openSocket(this.#isIpv4 ? Linux.AF_INET : Linux.AF_INET6, Linux.SOCK_DGRAM, 0, (fd) => {
        prepare(fd);
        Socket.bindInet(fd, local, options.udpPort ?? VXLAN_PORT);
      });
    } else this.#fd = Socket.adoptSocket(options.descriptor, prepare);
    this.#flows = new FlowSockets(local, Socket.SEND_BUFFER_BYTES, this.#fd);
    this.udpPort = Socket.boundPort(this.#fd);
    this.name = `udp_vxlan:${this.udpPort}`;
    if (options.interfaceIndex === undefined) return;
    const { interfaceIndex } = options;
    this.#ring = VxlanRing.open({ interfaceIndex, local, udpPort: this.udpPort, socket: this.#fd });
    this.#ways = this.#ring && new KnownWays(this.#ring, this.#isIpv4, options.isVeth === true);
  }

  /** The other one to sleep on; -1: none. */
  get ringDescriptor(): number {
    return this.#ring === undefined ? -1 : this.#ring.fileDescriptor;
  }

  /** VNIs whose small datagrams are to come by the ring. */
  setVnis(vnis: readonly number[]): void {
    if (this.#fd >= 0) this.#ring?.setVnis(vnis);
  }

  get fileDescriptor(): number {
    return this.#fd;
  }

  /** Names a VTEP, 16 octets, of this port's family; `undefined` forgets it. @throws RangeError */
  setVtep(index: number, address: Uint8Array | undefined, udpPort = VXLAN_PORT): void {
    if (!(index >= 0 && index < VTEP_COUNT_MAX)) throw new RangeError(`VTEP index ${index}`);
    if (address && Gid.isMappedIpv4(address) !== this.#isIpv4)
      throw new RangeError('a VTEP of the other address family');
    this.#forget(index);
    if (!address) return;
    const plain = this.#isIpv4 ? address.slice(12) : address.slice();
    const name = new Uint8Array(NAME_BYTES);
    const bytes = Socket.writeInetAddress(new DataView(name.buffer), 0, plain, udpPort);
    const vtep = { index, address: plain, words: wordsOf(plain), name: name.slice(0, bytes) };
    this.#vteps[index] = [vtep];
    const hash = hashOf(new DataView(plain.buffer), 0, plain.length);
    this.#known.set(hash, [...(this.#known.get(hash) ?? []), vtep]);
  }

  /** A frame to destination VTEP_COUNT_MAX + `group` goes to each of these VTEPs. */
  setGroup(group: number, indices: readonly number[]): void {
    this.#groups[group] = indices.flatMap((index) => this.#vteps[index] ?? NOBODY);
  }

  /** @param now without it the socket is always looked at. */
  receive(burst: ReceiveBurst, now?: Micros): number {
    burst.count = 0;
    if (this.#fd < 0) return 0;
    if (burst !== this.#receiving) this.#adopt(burst);
    if (this.#ring === undefined) this.#receiveFromSocket(burst, now);
    else this.#receiveFromRing(this.#ring, burst, now);
    return burst.count;
  }

  #receiveFromSocket(burst: ReceiveBurst, now: Micros | undefined): void {
    if (now !== undefined && now < this.#lookAt) return;
    const isMany = this.#streak > 1;
    const count = this.#read(burst, isMany ? Math.min(this.#in.count, burst.limit) : 1);
    this.#streak = count > (isMany ? 1 : 0) ? this.#streak + 1 : 0;
    if (now === undefined) return;
    if (count > 0) this.#foundAt = now;
    this.#lookAt = now + Math.min((now - this.#foundAt) * PAUSE_SHARE, PAUSE_MICROS_MAX);
  }

  /** Small datagrams, as many as there are, or large ones: never both in one burst. */
  #receiveFromRing(ring: VxlanRing, burst: ReceiveBurst, now: Micros | undefined): void {
    let next = ring.next();
    for (; next === Next.LEAVING; next = ring.next()) this.#ways!.learn(this.#receivingWords, burst.view);
    if (next === Next.HERE) this.#takeSmall(ring, burst);
    else if (next !== Next.NONE) ring.passMarks(this.#read(burst, ring.marks(Math.min(this.#in.count, burst.limit))));
    // What came by another interface, or when the ring was full.
    else this.#receiveFromSocket(burst, now);
  }

  #takeSmall(ring: VxlanRing, burst: ReceiveBurst): void {
    let end = 0;
    do {
      const isRight = ring.take(this.#receivingWords, burst.view, end);
      if (isRight) this.#describeSmall(ring, burst);
      else this.counters.rxDropped++;
      end = ring.end;
    } while (burst.count < burst.at.length && ring.next() === Next.HERE);
  }

  #describeSmall(ring: VxlanRing, burst: ReceiveBurst): void {
    this.#isCongested = (ring.trafficClass & CE) === CE;
    this.#segmentBytes = ring.segmentBytes;
    this.#note(burst, ring.at, ring.bytes, this.#sourceOf(burst.view, ring.sourceAt));
  }

  /** From the socket, as many datagrams as that or fewer. */
  #read(burst: ReceiveBurst, most: number): number {
    this.counters.rxCalls++;
    const count = most > 1 ? this.#receiveMany(most) : this.#receiveOne();
    for (let i = 0; i < count; i++) this.#describe(burst, i);
    return Math.max(0, count);
  }

  #receiveMany(most: number): number {
    for (let i = 0; i < most; i++) this.#expect(i);
    return this.#in.receive(this.#fd, most, Linux.MSG_DONTWAIT);
  }

  /** The cheaper call where nothing is expected, or no more than one frame. */
  #receiveOne(): number {
    this.#expect(0);
    return this.#in.receiveOne(this.#fd, Linux.MSG_DONTWAIT) >= 0 ? 1 : 0;
  }

  #expect(i: number): void {
    this.#in.setNameBytes(i, NAME_BYTES);
    this.#in.setControlBytes(i, CONTROL_BYTES);
  }

  /**
   * @param dscp of the outer header; its ECN is the inner one's. @param now undefined: all goes through the kernel. @param senders the counters of who sends, where several share
   * the port.
   */
  transmit(burst: TransmitBurst, dscp = 0, now?: Micros, senders: PortCounters = this.counters): boolean {
    this.#dscp = dscp;
    this.#senders = senders;
    if (burst !== this.#sending) {
      this.#sending = burst;
      this.#sendingAddress = addressOf(burst.bytes);
    }
    while (burst.sent < burst.count) {
      const way = this.#wayOf(burst, now);
      if (way === Way.KNOWN && this.#sendKnown(burst)) continue;
      const mayGoOn = this.#sendByKernel(burst, way === Way.LOOK ? 1 : SEND_BATCH);
      if (way === Way.LOOK) this.#ways!.lookAway();
      if (!mayGoOn) return false;
    }
    return true;
  }

  /** Of the first frame. */
  #wayOf(burst: TransmitBurst, now: Micros | undefined): Way {
    const ways = this.#ways;
    this.#isSuitable = ways !== undefined && now !== undefined && ways.suits(burst);
    if (!this.#isSuitable) return Way.KERNEL;
    const frame = burst.sent;
    const targets = this.#targetsOf(burst.destination[frame]!);
    if (targets.length !== 1) return Way.KERNEL;
    const { index, address } = targets[0]!;
    const at = burst.at[frame]!;
    const bytes = burst.frameBytes[frame]!;
    const width = burst.segmentBytes[frame]! || bytes;
    const flow = flowOf(burst.view, at, at + bytes);
    this.#outFlow = flow;
    const way = ways!.wayOf(flow, index, width, now!);
    if (way === Way.LOOK) ways!.look(flow, index, address, width, this.#flows.portOf(flow), now!);
    return way;
  }

  #sendKnown(burst: TransmitBurst): boolean {
    this.#senders.txCalls++;
    if (!this.#ways!.send(burst, this.#sendingAddress, this.#outFlow, this.#dscp)) return false;
    this.#countSent(burst, burst.sent++);
    return true;
  }

  /** By one flow's socket, so many messages at most. False: the socket is full. */
  #sendByKernel(burst: TransmitBurst, most: number): boolean {
    const asked = this.#fill(burst, most);
    if (asked === 0) return true;
    this.#senders.txCalls++;
    const taken = asked === 1 ? this.#sendOne(burst) : this.#out.send(this.#outFd, asked, Linux.MSG_DONTWAIT);
    for (let i = 0; i < taken; i++) this.#passOver(burst);
    return taken > 0 || !this.#mustWait(burst);
  }

  /** The cheaper call for a frame alone, and the cheapest where the kernel need be told nothing but its octets. 1 when it was taken. */
  #sendOne(burst: TransmitBurst): number {
    const out = this.#out;
    const isBare = out.controlBytes(0) === 0;
    const name = out.memory.address + out.nameAt(0);
    if (isBare && this.#flows.leadsTo(this.#outVtep, this.#outFlow, name, out.nameBytes(0))) {
      const at = this.#sendingAddress + burst.at[burst.sent]!;
      return Libc.send(this.#outFd, boxed(at), burst.frameBytes[burst.sent]!, Linux.MSG_DONTWAIT) >= 0 ? 1 : -1;
    }
    return out.sendOne(this.#outFd, Linux.MSG_DONTWAIT) >= 0 ? 1 : -1;
  }

  onReadable(): void {}

  close(): void {
    if (this.#fd < 0) return;
    this.#flows.close();
    this.#ring?.close();
    closeOwned(this.#fd);
    this.#fd = -1;
    this.#outFd = -1;
    this.#receiving = null;
    this.#sending = null;
  }

  #prepare(fd: number): void {
    Socket.setBuffers(fd, Socket.RECEIVE_BUFFER_BYTES, Socket.SEND_BUFFER_BYTES);
    Socket.requireOption(fd, Linux.IPPROTO_UDP, Linux.UDP_GRO, 1, 'UDP_GRO');
    if (this.#isIpv4) Socket.requireOption(fd, Linux.IPPROTO_IP, Linux.IP_RECVTOS, 1, 'IP_RECVTOS');
    else Socket.requireOption(fd, Linux.IPPROTO_IPV6, Linux.IPV6_RECVTCLASS, 1, 'IPV6_RECVTCLASS');
  }

  #forget(index: number): void {
    const [old] = this.#vteps[index] ?? NOBODY;
    if (!old) return;
    this.#vteps[index] = undefined;
    this.#lastSource = undefined;
    this.#flows.forget(index);
    this.#ways?.forget(index);
    const hash = hashOf(new DataView(old.address.buffer), 0, old.address.length);
    const others = (this.#known.get(hash) ?? []).filter((vtep) => vtep !== old);
    if (others.length === 0) this.#known.delete(hash);
    else this.#known.set(hash, others);
  }

  #adopt(burst: ReceiveBurst): void {
    const count = Math.max(1, Math.min(burst.at.length, Math.floor(burst.bytes.length / SLOT_BYTES_MIN)));
    this.#slotBytes = Math.floor(burst.bytes.length / count) & ~63;
    this.#in = new MessageBatch(count, 0, NAME_BYTES, CONTROL_BYTES);
    const address = addressOf(burst.bytes);
    for (let i = 0; i < count; i++) this.#in.setData(i, address + i * this.#slotBytes, this.#slotBytes);
    this.#receivingWords = new Int32Array(burst.bytes.buffer, burst.bytes.byteOffset, burst.bytes.length >> 2);
    this.#receiving = burst;
  }

  #describe(burst: ReceiveBurst, slot: number): void {
    const bytes = this.#in.byteLength(slot);
    const at = slot * this.#slotBytes;
    const source = this.#sourceOf(this.#in.memory.view, this.#in.nameAt(slot) + (this.#isIpv4 ? 4 : 8));
    this.#readControl(slot);
    this.#note(burst, at, bytes, source);
  }

  #note(burst: ReceiveBurst, at: number, bytes: number, source: number): void {
    const isOne = this.#segmentBytes < bytes && this.#segmentBytes !== 0 && isOnePacket(burst.view, at, bytes);
    const inner = isOne ? this.#segmentBytes : 0;
    if (isOne) this.#segmentBytes = 0;
    const segment = this.#segmentBytes;
    if (this.#isCongested && !this.#markCongested(burst, at, bytes)) {
      this.counters.rxDropped += segmentCount(bytes, segment < bytes ? segment : 0, 0);
      return;
    }
    const i = burst.count++;
    burst.at[i] = at;
    burst.frameBytes[i] = bytes;
    burst.segmentBytes[i] = segment < bytes ? segment : 0;
    burst.source[i] = source;
    burst.innerBytes[i] = inner;
    this.counters.rxBytes += bytes;
    this.counters.rxFrames += segmentCount(bytes, burst.segmentBytes[i]!, 0);
  }

  /** What the kernel says of message i: octets of each of the joined datagrams, 0 when it stands alone (UDP_GRO); the outer traffic class. */
  #readControl(i: number): void {
    const { view } = this.#in.memory;
    this.#segmentBytes = 0;
    this.#isCongested = false;
    const begin = this.#in.controlAt(i);
    const end = begin + this.#in.controlBytes(i);
    for (let at = begin; at + CMSG_DATA < end; at += CMSG_BYTES) {
      // Only the class is not of UDP's level; IPv4 gives an octet of it, IPv6 an int.
      if (view.getInt32(at + 8, true) !== Linux.IPPROTO_UDP)
        this.#isCongested = (view.getUint8(at + CMSG_DATA) & CE) === CE;
      else if (view.getInt32(at + 12, true) === Linux.UDP_GRO) this.#segmentBytes = view.getInt32(at + CMSG_DATA, true);
    }
  }

  /** False: its packets must be dropped. RFC 6040 §4.2. */
  #markCongested({ view }: ReceiveBurst, at: number, bytes: number): boolean {
    const step = this.#segmentBytes === 0 ? bytes : this.#segmentBytes;
    let isUnderstood = true;
    for (let from = at; from + INNER_BYTES_MIN <= at + bytes; from += step)
      if (!setCongested(view, from + Vxlan.BYTES)) isUnderstood = false;
    return isUnderstood;
  }

  /** @param at where the address lies. */
  #sourceOf(view: DataView, at: number): number {
    const last = this.#lastSource;
    if (last !== undefined && isSame(view, at, last.words)) return last.index;
    const candidates = this.#known.get(hashOf(view, at, this.#isIpv4 ? 4 : 16));
    if (candidates === undefined) return STRANGER;
    for (let i = 0; i < candidates.length; i++) {
      if (!isSame(view, at, candidates[i]!.words)) continue;
      this.#lastSource = candidates[i]!;
      return candidates[i]!.index;
    }
    return STRANGER;
  }

  /** Lays out messages up to the first frame of another socket, or for nobody, which is passed over. */
  #fill(burst: TransmitBurst, most: number): number {
    let asked = 0;
    let copies = this.#copies;
    for (let frame = burst.sent; frame < burst.count; frame++) {
      const targets = this.#targetsOf(burst.destination[frame]!);
      if (copies >= targets.length) {
        if (asked === 0) this.#skip(burst);
        return asked;
      }
      const from = burst.at[frame]!;
      const flow = flowOf(burst.view, from, from + burst.frameBytes[frame]!);
      const fd = this.#flows.socketFor(flow);
      if (!this.#isSuitable) this.#ways?.interrupt(flow);
      if (asked === 0) {
        this.#outFd = fd;
        this.#outFlow = flow;
        this.#outVtep = targets[copies]!.index;
      } else if (fd !== this.#outFd) return asked;
      for (; copies < targets.length; copies++) {
        if (asked === most) return asked;
        this.#layOut(burst, frame, asked++, targets[copies]!);
      }
      copies = 0;
    }
    return asked;
  }

  #targetsOf(destination: number): readonly Vtep[] {
    if (destination >= VTEP_COUNT_MAX) return this.#groups[destination - VTEP_COUNT_MAX] ?? NOBODY;
    return this.#vteps[destination] ?? NOBODY;
  }

  /** One copy of the first frame has left. */
  #passOver(burst: TransmitBurst): void {
    this.#countSent(burst, burst.sent);
    if (++this.#copies < this.#targetsOf(burst.destination[burst.sent]!).length) return;
    this.#copies = 0;
    burst.sent++;
  }

  /** The first frame has nobody (left) to go to: an error, but for a group, which may be empty. */
  #skip(burst: TransmitBurst): void {
    if (burst.destination[burst.sent]! < VTEP_COUNT_MAX) this.#senders.txErrors++;
    this.#copies = 0;
    burst.sent++;
  }

  #layOut(burst: TransmitBurst, frame: number, i: number, vtep: Vtep): void {
    const out = this.#out;
    out.setData(i, this.#sendingAddress + burst.at[frame]!, burst.frameBytes[frame]!);
    out.memory.bytes.set(vtep.name, out.nameAt(i));
    out.setNameBytes(i, vtep.name.length);
    const { view } = out.memory;
    let at = out.controlAt(i);
    const segment = burst.segmentBytes[frame]!;
    if (segment !== 0) {
      out.memory.setPointer(at, CMSG_DATA + 2);
      view.setInt32(at + 8, Linux.IPPROTO_UDP, true);
      view.setInt32(at + 12, Linux.UDP_SEGMENT, true);
      view.setUint16(at + CMSG_DATA, segment, true);
      at += CMSG_BYTES;
    }
    const trafficClass = outerClassOf(this.#dscp, ecnOf(burst.view, burst.at[frame]! + Vxlan.BYTES));
    if (trafficClass !== 0) {
      out.memory.setPointer(at, CMSG_DATA + 4);
      view.setInt32(at + 8, this.#isIpv4 ? Linux.IPPROTO_IP : Linux.IPPROTO_IPV6, true);
      view.setInt32(at + 12, this.#isIpv4 ? Linux.IP_TOS : Linux.IPV6_TCLASS, true);
      view.setInt32(at + CMSG_DATA, trafficClass, true);
      at += CMSG_BYTES;
    }
    out.setControlBytes(i, at - out.controlAt(i));
  }

  #countSent(burst: TransmitBurst, frame: number): void {
    const bytes = burst.frameBytes[frame]!;
    this.#senders.txBytes += bytes;
    this.#senders.txFrames += segmentCount(bytes, burst.segmentBytes[frame]!, 0);
  }

  #mustWait(burst: TransmitBurst): boolean {
    const errno = Libc.errno();
    // ICMP's answer to an earlier frame, which a connected socket is told of once: this one has not left yet.
    if (errno === Linux.ECONNREFUSED) return false;
    if (errno === Linux.EAGAIN || errno === Linux.ENOBUFS) {
      this.#senders.txBusy++;
      return true;
    }
    this.#senders.txErrors++;
    if (++this.#copies >= this.#targetsOf(burst.destination[burst.sent]!).length) {
      this.#copies = 0;
      burst.sent++;
    }
    return false;
  }
}

/**
 * Whether what the kernel gave us as joined datagrams is one: a super-frame that the sending host's own VXLAN device encapsulated whole, as it does where nothing on the way takes
 * frames apart (a veth pair). Its inner IP header says how long it is.
 */
function isOnePacket(view: DataView, at: number, bytes: number): boolean {
  if (bytes < INNER_BYTES_MIN) return false;
  const ethernetAt = at + Vxlan.BYTES;
  const ipAt = ethernetAt + Ethernet.BYTES;
  const isIpv6 = view.getUint16(ethernetAt + 12) === Ethernet.ETHER_TYPE_IPV6;
  const ipBytes = isIpv6 ? Ipv6.BYTES + Ipv6.payloadLength(view, ipAt) : Ipv4.totalLength(view, ipAt);
  return ipAt + ipBytes === at + bytes;
}

function hashOf(view: DataView, at: number, bytes: number): number {
  let hash = 0;
  for (let i = 0; i < bytes; i += 4) hash = (Math.imul(hash, 31) + view.getInt32(at + i)) | 0;
  return hash;
}

function isSame(view: DataView, at: number, words: Int32Array): boolean {
  for (let i = 0; i < words.length; i++) if (view.getInt32(at + i * 4) !== words[i]) return false;
  return true;
}

function wordsOf(octets: Uint8Array): Int32Array {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length);
  return Int32Array.from({ length: octets.length / 4 }, (_, i) => view.getInt32(i * 4));
}
