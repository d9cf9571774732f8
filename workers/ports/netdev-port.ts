/**
 * The side of a switch port that a tenant's machine is on: every untagged frame of an interface (a virtual machine's tap, a container's veth) by an AF_PACKET socket, with what
 * the sender left to its network card (packet(7), PACKET_VNET_HDR).
 */
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Cut } from '../../vswitch/stages/offload.ts';
import * as Tcp from '../../wire/tcp.ts';
import { addressOf } from '../linux/arena.ts';
import { Filter, JUMP_EQUAL, LOAD_BYTE, VLAN_TAG_PRESENT } from '../linux/bpf.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned } from '../linux/descriptors.ts';
import { MessageBatch } from '../linux/message-batch.ts';
import { readNetdev } from '../linux/netdev.ts';
import * as Socket from '../linux/socket.ts';
import type { PortCounters } from '../port.ts';
import { newPortCounters } from './port-counters.ts';

const VIRTIO_BYTES = 10;
const SLOT_BYTES = 65_536 + 64;
const BATCH = 64;
const BUFFER_BYTES = 8 << 20;
const NO_CHECKSUM = -1;
/** Ethernet, and IPv4 without options. */
const TCP_OVER_IPV4_AT = 34;

/** Frames for the machine, as they lie in one arena. */
export class NetdevFrames {
  readonly at: Int32Array;
  readonly octets: Int32Array;
  /** Of a joined TCP packet: octets of a segment's payload, of its headers, and where TCP begins, from the frame's begin. 0: it is a frame as it stands. */
  readonly segmentBytes: Int32Array;
  readonly headerBytes: Int32Array;
  readonly layer4: Int32Array;
  count = 0;

  constructor(most: number) {
    const column = (): Int32Array => new Int32Array(most);
    this.at = column();
    this.octets = column();
    this.segmentBytes = column();
    this.headerBytes = column();
    this.layer4 = column();
  }

  put(at: number, octets: number, segmentBytes = 0, headerBytes = 0, layer4 = 0): void {
    const i = this.count++;
    this.at[i] = at;
    this.octets[i] = octets;
    this.segmentBytes[i] = segmentBytes;
    this.headerBytes[i] = headerBytes;
    this.layer4[i] = layer4;
  }
}

/** Frames with what is left to do to them (vswitch/stages/offload.ts). */
export class NetdevBurst extends ReceiveBurst {
  /** Where the checksum begins, from the frame's begin, and its field, from there; −1: there is none to complete. */
  readonly checksumStart = new Int32Array(this.at.length);
  readonly checksumOffset = new Int32Array(this.at.length);
  readonly cut = new Int32Array(this.at.length);
}

export class NetdevPort {
  readonly name: string;
  /** Of the interface, as the kernel numbers them: another one of the same name has another. */
  readonly index: number;
  readonly #counters = newPortCounters();
  readonly #out = new MessageBatch(BATCH, VIRTIO_BYTES, 0, 0);
  #fd: number;
  #in = new MessageBatch(1, VIRTIO_BYTES, 0, 0);
  #receiving: NetdevBurst | null = null;

  /** @throws Error: no such interface; SystemError: no CAP_NET_RAW. */
  constructor(netdev: string) {
    const { index } = readNetdev(netdev);
    this.index = index;
    this.name = `netdev:${netdev}`;
    this.#fd = Socket.openSocket(Linux.AF_PACKET, Linux.SOCK_RAW, 0, (fd) => {
      new Filter().op(LOAD_BYTE, VLAN_TAG_PRESENT).require(JUMP_EQUAL, 0).accept().attach(fd);
      Socket.requireOption(fd, Linux.SOL_PACKET, Linux.PACKET_IGNORE_OUTGOING, 1, 'PACKET_IGNORE_OUTGOING');
      Socket.requireOption(fd, Linux.SOL_PACKET, Linux.PACKET_VNET_HDR, 1, 'PACKET_VNET_HDR');
      Socket.setBuffers(fd, BUFFER_BYTES, BUFFER_BYTES);
      Socket.joinPackets(fd, index, Linux.PACKET_MR_PROMISC);
      Socket.bindPacket(fd, index);
    });
  }

  get fileDescriptor(): number {
    return this.#fd;
  }

  get counters(): PortCounters {
    if (this.#fd >= 0) this.#counters.rxDropped += Socket.packetDrops(this.#fd);
    return this.#counters;
  }

  /** Frames that the machine sent, so many at most. Never blocks. */
  receive(burst: NetdevBurst, most = BATCH): number {
    burst.count = 0;
    if (this.#fd < 0) return 0;
    if (burst !== this.#receiving) this.#adopt(burst);
    this.#counters.rxCalls++;
    const count = this.#in.receive(this.#fd, Math.min(most, this.#in.count), Linux.MSG_DONTWAIT);
    for (let i = 0; i < count; i++) this.#describe(burst, i);
    return burst.count;
  }

  /** Frames for the machine, from an arena: how many it took, in order. */
  send(arena: number, frames: NetdevFrames): number {
    const { at, octets, count } = frames;
    let sent = 0;
    while (sent < count) {
      const asked = Math.min(BATCH, count - sent);
      for (let i = 0; i < asked; i++) {
        this.#out.setData(i, arena + at[sent + i]!, octets[sent + i]!);
        this.#say(i, frames, sent + i);
      }
      this.#counters.txCalls++;
      const taken = this.#out.send(this.#fd, asked, Linux.MSG_DONTWAIT);
      if (taken <= 0) return sent;
      for (let i = 0; i < taken; i++) this.#counters.txBytes += octets[sent + i]!;
      this.#counters.txFrames += taken;
      sent += taken;
    }
    return sent;
  }

  close(): void {
    if (this.#fd < 0) return;
    closeOwned(this.#fd);
    this.#fd = -1;
    this.#receiving = null;
  }

  /** The virtio header of message i: nothing is left to do, or the packet is to be cut where its receiver needs that. */
  #say(i: number, { segmentBytes, headerBytes, layer4 }: NetdevFrames, frame: number): void {
    const { view } = this.#out.memory;
    const head = this.#out.headAt(i);
    const isJoined = segmentBytes[frame] !== 0;
    const type = layer4[frame] === TCP_OVER_IPV4_AT ? Linux.VIRTIO_NET_HDR_GSO_TCPV4 : Linux.VIRTIO_NET_HDR_GSO_TCPV6;
    view.setUint8(head, isJoined ? Linux.VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
    view.setUint8(head + 1, isJoined ? type : Linux.VIRTIO_NET_HDR_GSO_NONE);
    view.setUint16(head + 2, headerBytes[frame]!, true);
    view.setUint16(head + 4, segmentBytes[frame]!, true);
    view.setUint16(head + 6, layer4[frame]!, true);
    view.setUint16(head + 8, isJoined ? Tcp.CHECKSUM : 0, true);
  }

  #adopt(burst: NetdevBurst): void {
    const count = Math.min(BATCH, burst.at.length, Math.floor(burst.bytes.length / SLOT_BYTES));
    this.#in = new MessageBatch(count, VIRTIO_BYTES, 0, 0);
    const address = addressOf(burst.bytes);
    for (let i = 0; i < count; i++) this.#in.setData(i, address + i * SLOT_BYTES, SLOT_BYTES);
    this.#receiving = burst;
  }

  #describe(burst: NetdevBurst, slot: number): void {
    const { view } = this.#in.memory;
    const head = this.#in.headAt(slot);
    const bytes = this.#in.byteLength(slot) - VIRTIO_BYTES;
    if (bytes < 0) return;
    const i = burst.count++;
    const needsSum = (view.getUint8(head) & Linux.VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
    burst.at[i] = slot * SLOT_BYTES;
    burst.frameBytes[i] = bytes;
    burst.cut[i] = cutOf(view.getUint8(head + 1) & ~Linux.VIRTIO_NET_HDR_GSO_ECN);
    burst.segmentBytes[i] = burst.cut[i] === Cut.NONE ? 0 : view.getUint16(head + 4, true);
    burst.checksumStart[i] = needsSum ? view.getUint16(head + 6, true) : NO_CHECKSUM;
    burst.checksumOffset[i] = needsSum ? view.getUint16(head + 8, true) : 0;
    this.#counters.rxFrames++;
    this.#counters.rxBytes += bytes;
  }
}

function cutOf(type: number): Cut {
  switch (type) {
    case Linux.VIRTIO_NET_HDR_GSO_NONE:
      return Cut.NONE;
    case Linux.VIRTIO_NET_HDR_GSO_TCPV4:
    case Linux.VIRTIO_NET_HDR_GSO_TCPV6:
      return Cut.TCP;
    case Linux.VIRTIO_NET_HDR_GSO_UDP_L4:
      return Cut.UDP;
    default:
      return Cut.UNKNOWN;
  }
}
