/**
 * Frames of a network interface by an AF_PACKET socket with virtio headers: up to 64 KiB of equal packets in one frame, both ways (packet(7), PACKET_VNET_HDR).
 *
 *     virtio_net_hdr:  0 flags │ 1 gso_type │ 2 hdr_len │ 4 gso_size │ 6 csum_start │ 8 csum_offset      (10 octets, little endian)
 */
import { release } from 'node:os';
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import { boxed } from '../../wire/arena.ts';
import * as Checksum from '../../wire/checksum.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import type { Micros } from '../../wire/types.ts';
import { addressOf } from '../linux/arena.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned } from '../linux/descriptors.ts';
import * as Libc from '../linux/libc.ts';
import { MessageBatch } from '../linux/message-batch.ts';
import { type Netdev, readNetdev } from '../linux/netdev.ts';
import { type QpnRange, type RoceFilter, roceFilter } from '../linux/roce-filter.ts';
import * as Socket from '../linux/socket.ts';
import type { Port, PortCounters } from '../port.ts';
import { Next, PacketRing } from './packet-ring.ts';
import { newPortCounters } from './port-counters.ts';
import { segmentCount, sharedHeaderBytes } from './super-frame.ts';
import { guardUdpPort, releaseGuards } from './udp-guard.ts';

export interface AfPacketOptions extends RoceFilter {
  readonly netdev: string;
  /** Asks the interface for frames to other MACs: for a vRNIC whose MAC is not the interface's. */
  readonly promiscuous?: boolean;
  /** False: sends single frames only, as on a kernel without UDP segmentation. */
  readonly superFrames?: boolean;
  readonly receiveBufferBytes?: number;
}

const VIRTIO_BYTES = 10;
const SEND_BATCH = 64;
/** An IP packet of 64 KiB and its Ethernet header. */
const SLOT_BYTES_MIN = 65_536 + 64;
const UDP_CHECKSUM_OFFSET = 6;
const IPPROTO_UDP = 17;
/** So many frames are sent in pages after the kernel had no memory for one in one piece. */
const PAGED_FRAMES = 1024;

/** Linux took VIRTIO_NET_HDR_GSO_UDP_L4 from packet sockets in 6.2. */
function kernelTakesSuperFrames(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 2);
}

export class AfPacketPort implements Port {
  readonly name: string;
  readonly link = 'ethernet';
  readonly mtu: number;
  readonly framing: Framing;
  readonly netdev: Netdev;
  #options: AfPacketOptions;
  readonly #headBytes: number;
  readonly #counters = newPortCounters();
  /** Of whose frames leave. */
  #senders: PortCounters = this.#counters;
  readonly #out: MessageBatch;
  #fd: number;
  #guards: number[] = [];
  #in: MessageBatch;
  #slotBytes = 0;
  #receiving: ReceiveBurst | null = null;
  #receivingAddress = 0;
  /** The burst's arena as words. */
  #receivingWords: Int32Array = new Int32Array(0);
  /** Null where the kernel has none: then every frame costs its part of a system call. */
  #ring: PacketRing | null = null;
  /** Without a ring: calls in a row that brought something: from the third on many frames are asked for at once, until only one comes. */
  #streak = 0;
  #sending: TransmitBurst | null = null;
  #sendingAddress = 0;
  /** Super-frames to be sent in pages before one in one piece is tried again. */
  #pagedFrames = 0;

  /** @throws Error: no such interface; SystemError: no CAP_NET_RAW, … */
  constructor(options: AfPacketOptions) {
    this.#options = options;
    this.netdev = readNetdev(options.netdev);
    this.name = `af_packet:${options.netdev}`;
    this.mtu = this.netdev.mtu;
    let hasVirtio = false;
    this.#fd = Socket.openSocket(Linux.AF_PACKET, Linux.SOCK_RAW, 0, (fd) => {
      hasVirtio = this.#prepare(fd, options);
    });
    this.#headBytes = hasVirtio ? VIRTIO_BYTES : 0;
    const sendsSuper = hasVirtio && options.superFrames !== false && kernelTakesSuperFrames();
    this.framing = sendsSuper ? Framing.HEADER_ONCE : Framing.SINGLE;
    this.#out = new MessageBatch(SEND_BATCH, this.#headBytes, 0, 0);
    this.#in = new MessageBatch(1, this.#headBytes, 0, 0);
    this.#guard(options.addresses);
  }

  get fileDescriptor(): number {
    return this.#fd;
  }

  get counters(): PortCounters {
    if (this.#fd >= 0) this.#counters.rxDropped += Socket.packetDrops(this.#fd);
    return this.#counters;
  }

  /** Takes these QPNs from now on. */
  setQpns(qpns: readonly QpnRange[]): void {
    this.#options = { ...this.#options, qpns };
    roceFilter(this.#options).attach(this.#fd);
  }

  setAddresses(addresses: readonly Uint8Array[]): void {
    this.#options = { ...this.#options, addresses };
    roceFilter(this.#options).attach(this.#fd);
    releaseGuards(this.#guards);
    this.#guard(addresses);
  }

  receive(burst: ReceiveBurst): number {
    burst.count = 0;
    if (this.#fd < 0) return 0;
    if (burst !== this.#receiving) this.#adopt(burst);
    if (this.#ring !== null) this.#receiveFromRing(this.#ring, burst);
    else {
      const isMany = this.#streak > 1;
      if (isMany) this.#receiveMany(burst, Math.min(this.#in.count, burst.limit));
      else this.#receiveOne(burst);
      const isMore = burst.count > (isMany ? 1 : 0);
      this.#streak = isMore ? this.#streak + 1 : 0;
    }
    return burst.count;
  }

  /** Small frames, as many as there are, or large ones: never both in one burst. */
  #receiveFromRing(ring: PacketRing, burst: ReceiveBurst): void {
    let next = ring.next();
    if (next === Next.QUEUED) {
      this.#receiveQueued(ring, burst);
      return;
    }
    for (let end = 0; next !== Next.NONE && next !== Next.QUEUED && burst.count < burst.at.length; next = ring.next()) {
      if (next === Next.HERE) {
        const bytes = ring.frameBytes;
        const at = ring.copy(this.#headBytes, this.#receivingWords, end);
        this.#describe(burst, burst.count, at, bytes, burst.view, at - this.#headBytes);
        end = (at + bytes + 3) & ~3;
      } else this.#counters.rxDropped++;
      ring.release(1);
    }
  }

  #receiveQueued(ring: PacketRing, burst: ReceiveBurst): void {
    const count = ring.run(Next.QUEUED, Math.min(this.#in.count, burst.limit));
    if (count > 1) this.#receiveMany(burst, count);
    else this.#receiveOne(burst);
    // An error of the interface (it went down) is told once, in place of a frame.
    ring.release(burst.count);
  }

  #receiveMany(burst: ReceiveBurst, most: number): void {
    this.#counters.rxCalls++;
    const count = this.#in.receive(this.#fd, most, Linux.MSG_DONTWAIT);
    const { view } = this.#in.memory;
    for (let i = 0; i < count; i++) {
      this.#describe(burst, i, i * this.#slotBytes, this.#in.byteLength(i) - this.#headBytes, view, this.#in.headAt(i));
    }
  }

  /** The cheaper call where nothing is expected, or no more than one frame; virtio header and frame lie together. */
  #receiveOne(burst: ReceiveBurst): void {
    this.#counters.rxCalls++;
    const bytes = Libc.recv(this.#fd, boxed(this.#receivingAddress), this.#slotBytes, Linux.MSG_DONTWAIT);
    if (bytes >= this.#headBytes) this.#describe(burst, 0, this.#headBytes, bytes - this.#headBytes, burst.view, 0);
  }

  /** @param senders the counters of who sends, where several share the port. */
  transmit(burst: TransmitBurst, _now?: Micros, senders: PortCounters = this.#counters): boolean {
    this.#senders = senders;
    if (burst !== this.#sending) {
      this.#sending = burst;
      this.#sendingAddress = addressOf(burst.bytes);
    }
    if (burst.count - burst.sent === 1 && burst.headroom >= this.#headBytes) return this.#transmitOne(burst);
    while (burst.sent < burst.count) {
      const asked = Math.min(SEND_BATCH, burst.count - burst.sent);
      for (let i = 0; i < asked; i++) this.#layOut(burst, burst.sent + i, i);
      senders.txCalls++;
      const taken = this.#out.send(this.#fd, asked, Linux.MSG_DONTWAIT);
      for (let i = 0; i < taken; i++) this.#countSent(burst, burst.sent + i);
      if (taken > 0) burst.sent += taken;
      else if (this.#mustWait(burst)) return false;
    }
    return true;
  }

  /** The cheaper call for a frame alone: virtio header and frame lie together. */
  #transmitOne(burst: TransmitBurst): boolean {
    const frame = burst.sent;
    const at = burst.at[frame]! - this.#headBytes;
    if (this.#headBytes > 0) this.#writeHead(burst, frame, burst.view, at);
    burst.headedBy = this;
    this.#senders.txCalls++;
    const bytes = this.#headBytes + burst.frameBytes[frame]!;
    const taken = Libc.send(this.#fd, boxed(this.#sendingAddress + at), bytes, Linux.MSG_DONTWAIT);
    if (taken < 0) return !this.#mustWait(burst);
    this.#countSent(burst, frame);
    burst.sent++;
    return true;
  }

  onReadable(): void {}

  close(): void {
    if (this.#fd < 0) return;
    this.#counters.rxDropped += Socket.packetDrops(this.#fd);
    this.#ring?.close();
    this.#ring = null;
    closeOwned(this.#fd);
    this.#fd = -1;
    releaseGuards(this.#guards);
    this.#guards = [];
    this.#receiving = null;
    this.#sending = null;
  }

  /** Everything before bind: no frame may come in unfiltered. */
  #prepare(fd: number, options: AfPacketOptions): boolean {
    roceFilter(options).attach(fd);
    Socket.requireOption(fd, Linux.SOL_PACKET, Linux.PACKET_IGNORE_OUTGOING, 1, 'PACKET_IGNORE_OUTGOING');
    Socket.setBuffers(fd, options.receiveBufferBytes ?? Socket.RECEIVE_BUFFER_BYTES, Socket.SEND_BUFFER_BYTES);
    const hasVirtio = Socket.setOption(fd, Linux.SOL_PACKET, Linux.PACKET_VNET_HDR, 1);
    Socket.joinPackets(fd, this.netdev.index, Linux.PACKET_MR_ALLMULTI);
    if (options.promiscuous) Socket.joinPackets(fd, this.netdev.index, Linux.PACKET_MR_PROMISC);
    const hasRing = PacketRing.request(fd);
    Socket.bindPacket(fd, this.netdev.index);
    if (hasRing) this.#ring = new PacketRing(fd);
    return hasVirtio;
  }

  #guard(addresses: readonly Uint8Array[]): void {
    this.#guards = addresses.map((address) => guardUdpPort(address, this.netdev.index));
  }

  /** One slot of 64 KiB for each message: what arrives may be a super-frame. */
  #adopt(burst: ReceiveBurst): void {
    const count = Math.max(1, Math.min(burst.at.length, Math.floor(burst.bytes.length / SLOT_BYTES_MIN)));
    this.#slotBytes = Math.floor(burst.bytes.length / count) & ~63;
    this.#in = new MessageBatch(count, this.#headBytes, 0, 0);
    const address = addressOf(burst.bytes);
    this.#receivingAddress = address;
    this.#receivingWords = new Int32Array(burst.bytes.buffer, burst.bytes.byteOffset, burst.bytes.length >> 2);
    for (let i = 0; i < count; i++) this.#in.setData(i, address + i * this.#slotBytes, this.#slotBytes);
    this.#receiving = burst;
  }

  /** @param view holds the frame's virtio header at `head`. */
  #describe(burst: ReceiveBurst, i: number, at: number, bytes: number, view: DataView, head: number): void {
    const isSuper = this.#headBytes > 0 && view.getUint8(head + 1) === Linux.VIRTIO_NET_HDR_GSO_UDP_L4;
    const segment = isSuper ? view.getUint16(head + 4, true) : 0;
    burst.at[i] = at;
    burst.frameBytes[i] = bytes;
    burst.segmentBytes[i] = segment;
    burst.source[i] = 0;
    burst.count = i + 1;
    this.#counters.rxBytes += bytes;
    this.#counters.rxFrames += segment === 0 ? 1 : segmentCount(bytes, segment, sharedHeaderBytes(burst.view, at));
  }

  #layOut(burst: TransmitBurst, frame: number, i: number): void {
    this.#out.setData(i, this.#sendingAddress + burst.at[frame]!, burst.frameBytes[frame]!);
    if (this.#headBytes > 0) this.#writeHead(burst, frame, this.#out.memory.view, this.#out.headAt(i));
  }

  /** The virtio header of a frame, at `head` of `view`. */
  #writeHead(burst: TransmitBurst, frame: number, view: DataView, head: number): void {
    view.setUint32(head, 0);
    view.setUint32(head + 4, 0);
    view.setUint16(head + 8, 0);
    if (burst.segmentBytes[frame] !== 0) this.#layOutSuperFrame(burst, frame, view, head);
  }

  /**
   * The kernel takes memory for the "header" in one piece, the rest in pages of 32 KiB and less. Over a veth pair the pages are worse: the reader's core frees them and
   * keeps hundreds of MiB for itself (mm/page_alloc.c, per-CPU lists), so that the sender's copies go to memory that is in no cache, or that a hypervisor has to find.
   * Pieces of 64 KiB are kept by no core, and the next frame has the one that was read last. So all of the frame is said to be header, while there are such pieces.
   */
  #layOutSuperFrame(burst: TransmitBurst, frame: number, view: DataView, head: number): void {
    const at = burst.at[frame]!;
    const headerBytes = burst.headerBytes[frame]!;
    view.setUint8(head, Linux.VIRTIO_NET_HDR_F_NEEDS_CSUM);
    view.setUint8(head + 1, Linux.VIRTIO_NET_HDR_GSO_UDP_L4);
    view.setUint16(head + 2, this.#isPaged() ? headerBytes : burst.frameBytes[frame]!, true);
    view.setUint16(head + 4, burst.segmentBytes[frame]!, true);
    view.setUint16(head + 6, headerBytes - 8, true);
    view.setUint16(head + 8, UDP_CHECKSUM_OFFSET, true);
    finishSharedHeader(burst.view, at, headerBytes, burst.frameBytes[frame]!);
  }

  #isPaged(): boolean {
    if (!this.netdev.isVeth) return true;
    if (this.#pagedFrames === 0) return false;
    this.#pagedFrames--;
    return true;
  }

  #countSent(burst: TransmitBurst, frame: number): void {
    const bytes = burst.frameBytes[frame]!;
    this.#senders.txBytes += bytes;
    this.#senders.txFrames += segmentCount(bytes, burst.segmentBytes[frame]!, burst.headerBytes[frame]!);
  }

  /** The first frame was refused. A full buffer or queue: later. Anything else: that frame is lost, as on a wire that is cut. */
  #mustWait(burst: TransmitBurst): boolean {
    const errno = Libc.errno();
    if (errno === Linux.EAGAIN || errno === Linux.ENOBUFS) {
      this.#senders.txBusy++;
      if (errno === Linux.ENOBUFS && this.#pagedFrames === 0) this.#pagedFrames = PAGED_FRAMES;
      return true;
    }
    this.#senders.txErrors++;
    burst.sent++;
    return false;
  }
}

/** The kernel finishes each segment's UDP checksum from the pseudo-header's sum, which it expects in the checksum field; lengths stand there already. */
function finishSharedHeader(view: DataView, at: number, headerBytes: number, frameBytes: number): void {
  const udpAt = at + headerBytes - 8;
  const ipAt = at + Ethernet.headerBytes(view, at);
  const udpBytes = frameBytes - headerBytes + 8;
  const addressesAt = view.getUint8(ipAt) >> 4 === 6 ? ipAt + 8 : ipAt + 12;
  const sum = Checksum.sum(view, addressesAt, udpAt, IPPROTO_UDP + udpBytes);
  view.setUint16(udpAt + 6, ~Checksum.finish(sum) & 0xffff);
}
