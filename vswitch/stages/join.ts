/**
 * Segments of one TCP flow that come one behind the other, joined again to the super-frame that their sender cut: who receives them goes through its stack once. What the kernel
 * does for a network card (GRO), for frames that come out of a tunnel in user space. In place: each payload moves down to the one before it.
 */
import * as Checksum from '../../wire/checksum.ts';
import { copy } from '../../wire/copy.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Tcp from '../../wire/tcp.ts';

/** A joined packet stays under what an IP length can say. */
const JOINED_BYTES_MAX = 65_000;

/** One run of segments; one object is used for all. */
export class SegmentJoiner {
  /** Where the run's frame begins and ends. */
  at = 0;
  end = 0;
  /** Segments that it stands for; 0: there is no run. */
  count = 0;
  /** Octets of payload of all but the last. */
  segmentBytes = 0;
  /** Ethernet, IP and TCP. */
  headerBytes = 0;
  /** Where TCP begins, from the frame's begin. */
  layer4 = 0;
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Of the segment looked at last: its payload's octets, −1 where it is none to join; and its TCP. */
  #payload = -1;
  #layer4 = 0;
  #header = 0;
  #isChecked = false;
  /** The run's last segment said that nothing follows soon, or was shorter. */
  #isComplete = false;

  /** A new run begins with this frame, Ethernet header first, whatever it is. */
  begin(view: DataView, at: number, end: number): void {
    this.#view = view;
    this.#look(at, end);
    this.at = at;
    this.end = end;
    this.count = 1;
    this.segmentBytes = this.#payload;
    this.headerBytes = this.#header;
    this.layer4 = this.#layer4;
    this.#isChecked = false;
    this.#isComplete = this.#payload <= 0 || (view.getUint8(at + this.#layer4 + Tcp.FLAGS) & Tcp.PSH) !== 0;
  }

  /** Whether a frame that lies behind the run continues it; then it is part of it. */
  add(bytes: Uint8Array, at: number, end: number): boolean {
    if (this.count === 0 || this.#isComplete || at < this.end) return false;
    this.#look(at, end);
    const payload = this.#payload;
    if (payload <= 0 || payload > this.segmentBytes || this.end - this.at + payload > JOINED_BYTES_MAX) return false;
    if (!this.#continues(at) || !this.#isRight(at, end)) return false;
    const flagsAt = at + this.layer4 + Tcp.FLAGS;
    this.#isComplete = payload < this.segmentBytes || (this.#view.getUint8(flagsAt) & Tcp.PSH) !== 0;
    if ((this.#view.getUint8(flagsAt) & Tcp.PSH) !== 0) this.#push();
    copy(bytes, at + this.headerBytes, bytes, this.end, payload);
    this.end += payload;
    this.count++;
    return true;
  }

  /** The run's lengths, and of its checksum the pseudo-header's sum: the rest is the receiver's network card's. Before it is given away. */
  finish(): void {
    if (this.count < 2) return;
    const view = this.#view;
    const ipAt = this.at + Ethernet.BYTES;
    const tcpAt = this.at + this.layer4;
    if (this.#isIpv6) view.setUint16(ipAt + 4, this.end - ipAt - Ipv6.BYTES);
    else {
      view.setUint16(ipAt + 2, this.end - ipAt);
      view.setUint16(ipAt + 10, Ipv4.computeChecksum(view, ipAt));
    }
    view.setUint16(tcpAt + Tcp.CHECKSUM, Checksum.fold(this.#pseudoSum(this.at, this.end)));
  }

  /** There is no run any more. */
  reset(): void {
    this.count = 0;
  }

  get #isIpv6(): boolean {
    return this.layer4 !== Ethernet.BYTES + Ipv4.BYTES;
  }

  #push(): void {
    const flagsAt = this.at + this.layer4 + Tcp.FLAGS;
    this.#view.setUint8(flagsAt, this.#view.getUint8(flagsAt) | Tcp.PSH);
  }

  /** What it is, by its headers. */
  #look(at: number, end: number): void {
    this.#payload = -1;
    this.#layer4 = layer4Of(this.#view, at, end);
    const tcpAt = at + this.#layer4;
    if (this.#layer4 === 0 || end - tcpAt < Tcp.BYTES) return;
    const flags = this.#view.getUint8(tcpAt + Tcp.FLAGS);
    // What opens or ends a connection, is urgent or answers a congested hop stays by itself.
    if ((flags & ~(Tcp.PSH | Tcp.ECE)) !== Tcp.ACK) return;
    this.#header = this.#layer4 + Tcp.headerBytes(this.#view, tcpAt);
    if (this.#header < this.#layer4 + Tcp.BYTES) return;
    this.#payload = end - at - this.#header;
  }

  /** The same flow, the next octets, and headers that say nothing new. */
  #continues(at: number): boolean {
    const view = this.#view;
    if (this.#layer4 !== this.layer4 || this.#header !== this.headerBytes) return false;
    const [first, next] = [this.at + this.layer4, at + this.layer4];
    const expected = (view.getUint32(first + Tcp.SEQUENCE) + this.end - this.at - this.headerBytes) >>> 0;
    if (view.getUint32(next + Tcp.SEQUENCE) !== expected) return false;
    const flags = view.getUint8(first + Tcp.FLAGS) ^ view.getUint8(next + Tcp.FLAGS);
    if ((flags & ~Tcp.PSH) !== 0) return false;
    return (
      isSame(view, this.at, at, Ethernet.BYTES) &&
      this.#isSameIp(at + Ethernet.BYTES) &&
      isSame(view, first, next, Tcp.SEQUENCE) &&
      isSame(view, first + Tcp.ACKNOWLEDGEMENT, next + Tcp.ACKNOWLEDGEMENT, Tcp.FLAGS - Tcp.ACKNOWLEDGEMENT) &&
      view.getUint16(first + Tcp.WINDOW) === view.getUint16(next + Tcp.WINDOW) &&
      isSame(view, first + Tcp.CHECKSUM + 2, next + Tcp.CHECKSUM + 2, this.headerBytes - this.layer4 - Tcp.CHECKSUM - 2)
    );
  }

  /** But for lengths, the identification and the checksum. */
  #isSameIp(ipAt: number): boolean {
    const view = this.#view;
    const first = this.at + Ethernet.BYTES;
    if (this.#isIpv6) return isSame(view, first, ipAt, 4) && isSame(view, first + 6, ipAt + 6, Ipv6.BYTES - 6);
    return (
      isSame(view, first, ipAt, 2) &&
      isSame(view, first + 6, ipAt + 6, 4) &&
      isSame(view, first + Ipv4.SOURCE_AT, ipAt + Ipv4.SOURCE_AT, Ipv4.BYTES - Ipv4.SOURCE_AT)
    );
  }

  /** Nobody looks at the checksums of a joined packet's segments any more: here is where they count. */
  #isRight(at: number, end: number): boolean {
    if (!this.#isChecked) {
      this.#isChecked = this.#hasRightSum(this.at, this.end);
      if (!this.#isChecked) this.#isComplete = true;
    }
    return this.#isChecked && this.#hasRightSum(at, end);
  }

  #hasRightSum(at: number, end: number): boolean {
    return Checksum.fold(Checksum.sum(this.#view, at + this.layer4, end, this.#pseudoSum(at, end))) === 0xffff;
  }

  #pseudoSum(at: number, end: number): number {
    const addressesAt = at + Ethernet.BYTES + (this.#isIpv6 ? Ipv6.SOURCE_AT : Ipv4.SOURCE_AT);
    const addressesEnd = at + this.layer4;
    return Checksum.sum(this.#view, addressesAt, addressesEnd, Tcp.PROTOCOL + end - at - this.layer4);
  }
}

/** Where TCP begins, from the frame's begin; 0: it is no TCP, has options or extension headers, is a fragment, or its length is not the frame's. */
function layer4Of(view: DataView, at: number, end: number): number {
  const ipAt = at + Ethernet.BYTES;
  if (end - ipAt < Ipv4.BYTES) return 0;
  const type = view.getUint16(at + 12);
  if (type === Ethernet.ETHER_TYPE_IPV4) {
    const isPlain = view.getUint8(ipAt) === 0x45 && !Ipv4.isFragment(view, ipAt);
    const isTcp = isPlain && Ipv4.protocol(view, ipAt) === Tcp.PROTOCOL && Ipv4.totalLength(view, ipAt) === end - ipAt;
    return isTcp ? Ethernet.BYTES + Ipv4.BYTES : 0;
  }
  if (type !== Ethernet.ETHER_TYPE_IPV6 || end - ipAt < Ipv6.BYTES) return 0;
  const isTcp =
    Ipv6.nextHeader(view, ipAt) === Tcp.PROTOCOL && Ipv6.payloadLength(view, ipAt) === end - ipAt - Ipv6.BYTES;
  return isTcp ? Ethernet.BYTES + Ipv6.BYTES : 0;
}

function isSame(view: DataView, one: number, other: number, octets: number): boolean {
  for (let i = 0; i < octets; i++) if (view.getUint8(one + i) !== view.getUint8(other + i)) return false;
  return true;
}
