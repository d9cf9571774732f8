/**
 * Small VXLAN datagrams by a ring in shared memory (packet-ring.ts), beside the UDP socket that owns the port: who polls finds one without a system call, and before the kernel's
 * IP and UDP have looked at it. The ring is of one interface. Large datagrams stay the UDP socket's; a slot marks the place of each, so that one order holds for both.
 */
import * as Checksum from '../../wire/checksum.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import * as Bpf from '../linux/bpf.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned } from '../linux/descriptors.ts';
import * as Socket from '../linux/socket.ts';
import { ringFilter, socketFilter } from '../linux/vxlan-filter.ts';
import { Next, PacketRing } from './packet-ring.ts';

export interface VxlanRingOptions {
  readonly interfaceIndex: number;
  /** 4 octets, or 16. */
  readonly local: Uint8Array;
  readonly udpPort: number;
  /** The UDP socket. */
  readonly socket: number;
}

/** Filters look at one after the other: with more tenants than this the UDP socket takes all. */
const VNIS_MAX = 32;
export const VIRTIO_BYTES = 10;
/** A mark whose datagram has not come after so many looks: it was dropped on its way. */
const PATIENCE = 64;

export class VxlanRing {
  readonly fileDescriptor: number;
  readonly #ring: PacketRing;
  readonly #options: VxlanRingOptions;
  readonly #ipBytes: number;
  #isBound = false;
  #looks = 0;
  /** Of the datagram that was copied last: where it begins, behind the UDP header; its octets; of each of several that were joined, or 0; its outer traffic class. */
  at = 0;
  bytes = 0;
  segmentBytes = 0;
  trafficClass = 0;
  /** Its first octet behind what was copied, on a word's boundary. */
  end = 0;
  /** Where the outer source address lies. */
  sourceAt = 0;

  /** Undefined where the kernel, or the lack of CAP_NET_RAW, does not allow it. */
  static open(options: VxlanRingOptions): VxlanRing | undefined {
    try {
      return new VxlanRing(options);
    } catch {
      return undefined; // all comes by the UDP socket
    }
  }

  /** @throws SystemError */
  private constructor(options: VxlanRingOptions) {
    this.#options = options;
    this.#ipBytes = options.local.length === 4 ? Ipv4.BYTES : Ipv6.BYTES;
    this.fileDescriptor = Socket.openSocket(Linux.AF_PACKET, Linux.SOCK_RAW, 0, (fd) => {
      new Bpf.Filter().drop().attach(fd);
      Socket.requireOption(fd, Linux.SOL_PACKET, Linux.PACKET_IGNORE_OUTGOING, 1, 'PACKET_IGNORE_OUTGOING');
      Socket.requireOption(fd, Linux.SOL_PACKET, Linux.PACKET_VNET_HDR, 1, 'PACKET_VNET_HDR');
      Socket.setBuffers(fd, 0, Socket.SEND_BUFFER_BYTES);
      if (!PacketRing.request(fd, false)) throw new Error('no receive ring');
    });
    try {
      this.#ring = new PacketRing(this.fileDescriptor);
    } catch (error) {
      closeOwned(this.fileDescriptor);
      throw error;
    }
  }

  /**
   * Takes small datagrams of these VNIs from now on. One that is on its way meanwhile is taken twice, if its VNI is new, or by nobody, if it goes. Before the first one the
   * socket is not on the interface: the kernel would ask its filter about every packet.
   */
  setVnis(vnis: readonly number[]): void {
    if (!this.#isBound && (vnis.length === 0 || !this.#bind())) return;
    const wanted = { ...this.#options, vnis: vnis.length > VNIS_MAX ? [] : vnis };
    ringFilter(wanted).attach(this.fileDescriptor);
    socketFilter(wanted).attach(this.#options.socket);
  }

  /** HERE: a small datagram. CUT: the next one is the UDP socket's. LEAVING: the headers of one that leaves. */
  next(): Next {
    return this.#ring.next();
  }

  /** So many in a row are the UDP socket's, as far as `most`. */
  marks(most: number): number {
    return this.#ring.run(Next.CUT, most);
  }

  /** So many of the marked ones were read. Where none has come the mark waits for it, but not for ever. */
  passMarks(read: number): void {
    if (read === 0 && ++this.#looks < PATIENCE) return;
    this.#looks = 0;
    this.#ring.release(Math.max(1, read));
  }

  /** Copies the small datagram to `words` from octet `from` on. False: it is none that the kernel would have let pass; `view` is over the same octets. */
  take(words: Int32Array, view: DataView, from: number): boolean {
    const frameBytes = this.#ring.frameBytes;
    const frameAt = this.#ring.copy(VIRTIO_BYTES, words, from);
    this.#ring.release(1);
    this.end = (frameAt + frameBytes + 3) & ~3;
    return this.#read(view, frameAt - VIRTIO_BYTES, frameAt + Ethernet.BYTES, frameAt + frameBytes);
  }

  /** The headers of what this host sends are put into the ring, too, from now on, or no more. */
  watchLeaving(isWatching: boolean): void {
    Socket.setOption(this.fileDescriptor, Linux.SOL_PACKET, Linux.PACKET_IGNORE_OUTGOING, isWatching ? 0 : 1);
  }

  /** Copies the beginning of a datagram that leaves to `words`. Where its Ethernet header begins. */
  takeLeaving(words: Int32Array): number {
    const frameAt = this.#ring.copy(VIRTIO_BYTES, words, 0);
    this.#ring.release(1);
    return frameAt;
  }

  close(): void {
    this.#ring.close();
    closeOwned(this.fileDescriptor);
  }

  /** False: the interface has gone; all comes by the UDP socket. */
  #bind(): boolean {
    try {
      Socket.bindPacket(this.fileDescriptor, this.#options.interfaceIndex);
      this.#isBound = true;
    } catch {}
    return this.#isBound;
  }

  #read(view: DataView, virtioAt: number, ipAt: number, frameEnd: number): boolean {
    const isIpv4 = this.#ipBytes === Ipv4.BYTES;
    const udpAt = ipAt + this.#ipBytes;
    const end = isIpv4 ? ipAt + Ipv4.totalLength(view, ipAt) : udpAt + Ipv6.payloadLength(view, ipAt);
    if (end > frameEnd || end - udpAt < Udp.BYTES + Vxlan.BYTES) return false;
    if (isIpv4 && !Ipv4.verifyChecksum(view, ipAt)) return false;
    const isJoined = view.getUint8(virtioAt + 1) === Linux.VIRTIO_NET_HDR_GSO_UDP_L4;
    const length = isJoined ? end - udpAt : Udp.length(view, udpAt);
    if (length > end - udpAt || length < Udp.BYTES + Vxlan.BYTES) return false;
    this.sourceAt = ipAt + (isIpv4 ? Ipv4.SOURCE_AT : Ipv6.SOURCE_AT);
    const flags = view.getUint8(virtioAt);
    const isSummed = (flags & (Linux.VIRTIO_NET_HDR_F_NEEDS_CSUM | Linux.VIRTIO_NET_HDR_F_DATA_VALID)) !== 0;
    if (!isSummed && !isJoined && !this.#sums(view, udpAt, length, isIpv4)) return false;
    this.trafficClass = isIpv4 ? Ipv4.typeOfService(view, ipAt) : Ipv6.trafficClass(view, ipAt);
    this.at = udpAt + Udp.BYTES;
    this.bytes = length - Udp.BYTES;
    this.segmentBytes = isJoined ? view.getUint16(virtioAt + 4, true) : 0;
    return true;
  }

  /** The interface has not looked at the UDP checksum. IPv6 has one always (RFC 8200 §8.1); for the kernel's UDP sockets, too, unless they say otherwise. */
  #sums(view: DataView, udpAt: number, length: number, isIpv4: boolean): boolean {
    if (view.getUint16(udpAt + 6) === 0) return isIpv4;
    const addresses = Checksum.sum(view, this.sourceAt, isIpv4 ? this.sourceAt + 8 : this.sourceAt + 32, 0);
    return Checksum.fold(Checksum.sum(view, udpAt, udpAt + length, addresses + Ipv4.PROTOCOL_UDP + length)) === 0xffff;
  }
}
