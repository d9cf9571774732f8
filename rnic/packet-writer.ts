/** Lays packets out in the transmit bursts as they leave: headers from the path, payload copied once, ICRC last; joins equal-sized neighbours into super-frames. */
import * as Bth from '../wire/bth.ts';
import { copy } from '../wire/copy.ts';
import { crc32, registerArena } from '../wire/crc32.ts';
import * as Icrc from '../wire/icrc.ts';
import * as Ipv4 from '../wire/ipv4.ts';
import * as Ipv6 from '../wire/ipv6.ts';
import * as Udp from '../wire/udp.ts';
import { SUPER_FRAME_BYTES, SUPER_FRAME_SEGMENTS, type TransmitBurst } from './burst.ts';
import type { Memory } from './memory/memory.ts';
import { Framing, type Path } from './path.ts';
import { writeSpan } from './span.ts';

/** Less than two super-frames, and more than one and a half: a turn goes on to the end of its frame, and a breath costs little beside two. */
export const TURN_BYTES = 120_000;

/** What the writer remembers of a port: the frame that the next packet may join. */
class PortState {
  burst: TransmitBurst;
  /** Path of the frame that is open, null when none is. */
  path: Path | null = null;
  frame = -1;
  generation = -1;
  /** Octets from BTH to ICRC of every segment but the last. */
  segmentBytes = 0;
  segments = 0;
  /** IPv4 identification of the next packet. */
  nextId: number;
  /** The ICRC's state behind the UDP header (wire/icrc.ts), of packets of `stateBytes` on `statePath`. */
  headerState = 0;
  statePath: Path | null = null;
  stateBytes = 0;
  /** Whether its packets count against the writer's allowance. */
  readonly isMetered: boolean;
  /** Sum of the words of the frame's IPv4 header that do not change, for its checksum. */
  ipSum = 0;

  constructor(burst: TransmitBurst, firstId: number, isMetered: boolean) {
    this.burst = burst;
    this.isMetered = isMetered;
    this.nextId = firstId & 0xffff;
  }

  /** True when a packet of `packetBytes` (BTH to ICRC) may stand behind the last one in the same super-frame. */
  joins(path: Path, packetBytes: number): boolean {
    const { burst, frame } = this;
    if (this.path !== path || path.framing === Framing.SINGLE) return false;
    if (this.generation !== burst.generation || frame !== burst.count - 1 || frame < burst.sent) return false;
    if (packetBytes > this.segmentBytes || this.segments >= SUPER_FRAME_SEGMENTS) return false;
    return burst.frameBytes[frame]! + path.template.length + packetBytes <= SUPER_FRAME_BYTES;
  }
}

/**
 * One packet at a time: `begin`, write the BTH (its pad count too) and extension headers at `bthAt` of `view`, put the payload, `end`. What was begun and not
 * ended leaves no trace. One writer serves all ports of a worker; the worker sends the bursts and resets them.
 */
export class PacketWriter {
  /** Over the arena of the packet that was begun. */
  view: DataView;
  bytes: Uint8Array;
  /** Where the BTH of the packet that was begun goes. */
  bthAt = 0;
  /** A packet was refused for want of room, or there were enough. Whoever polls clears it. */
  isFull = false;
  /** Octets, link header to ICRC, that metered ports may take; the last packet may take more. Whoever polls sets it. */
  allowance = Number.POSITIVE_INFINITY;
  /** Octets that they took. Whoever polls clears it. */
  meteredBytes = 0;
  /** A packet was refused for want of allowance; answers and other ports may go on. Whoever polls clears it. */
  isPaced = false;
  /** What a QP sends at most before the next has its turn. */
  turnBytes = TURN_BYTES;
  /** What all of them send before whoever polls has others to look after. */
  pollBytes = Number.POSITIVE_INFINITY;
  /** What the QP whose turn it is may send yet, about: no more than that is read ahead. Whoever polls the QP sets it. */
  turnLeft = 0;
  /** Octets that were laid out, BTH to ICRC. Whoever polls clears it. */
  laidOutBytes = 0;
  readonly #ports: PortState[];
  #port: PortState;
  #path: Path | null = null;
  #joins = false;
  #packetBytes = 0;
  #span = 1;
  #putAt = 0;

  /** @param bursts one for each port: `Path.port` is the index. @param unmetered the port whose packets need no allowance. */
  constructor(bursts: readonly TransmitBurst[], firstIpId = 0, unmetered = -1) {
    this.#ports = bursts.map((burst, index) => new PortState(burst, firstIpId, index !== unmetered));
    const first = this.#ports[0];
    if (first === undefined) throw new RangeError('a packet writer needs a port');
    this.#port = first;
    this.view = first.burst.view;
    this.bytes = first.burst.bytes;
    for (const burst of bursts) registerArena(burst.bytes);
  }

  /** What goes to this port is laid out in that burst from now on. */
  lend(port: number, burst: TransmitBurst): void {
    const state = this.#ports[port]!;
    if (state.burst === burst) return;
    state.burst = burst;
    state.path = null;
    registerArena(burst.bytes);
  }

  /** Another packet as large as the first of the last frame may stand in it. */
  get isOpen(): boolean {
    const port = this.#port;
    return this.#path !== null && port.joins(this.#path, port.segmentBytes);
  }

  /** One packet is all that is laid out for the port of the last one, and the next one would join it in a super-frame. */
  get isLone(): boolean {
    const { burst } = this.#port;
    return (
      burst.count === 1 &&
      burst.sent === 0 &&
      burst.segmentBytes[0] === 0 &&
      this.#path !== null &&
      this.#path.framing !== Framing.SINGLE
    );
  }

  /**
   * Begins a packet of `headerBytes` (BTH and extension headers) and `payloadBytes`; pad and ICRC are added. False when the burst of the path's port has no
   * room for it: the caller stops, and comes back when the burst has been sent. So for want of allowance, but for short answers (`isAnswer`): they count, and do not
   * wait, or the peer would repeat what it sent.
   * @param span packets that this one stands for (span.ts).
   */
  begin(path: Path, headerBytes: number, payloadBytes: number, isAnswer = false, span = 1): boolean {
    const port = this.#ports[path.port]!;
    const { burst } = port;
    if (this.meteredBytes >= this.allowance && port.isMetered && !isAnswer) {
      this.isPaced = true;
      return false;
    }
    const packetBytes = headerBytes + payloadBytes + (-payloadBytes & 3) + Icrc.BYTES;
    const joins = port.joins(path, packetBytes);
    if (!joins && burst.count === burst.at.length) return this.#refuse();
    const prefixBytes = joins && path.framing === Framing.HEADER_ONCE ? 0 : path.template.length;
    const start = joins ? burst.end : burst.end + burst.headroom;
    if (start + prefixBytes + packetBytes > burst.bytes.length) return this.#refuse();
    if (prefixBytes !== 0) {
      burst.bytes.set(path.template, start);
      burst.view.setUint16(start + path.udpAt, path.sourcePort);
    }
    this.#port = port;
    this.#path = path;
    this.#joins = joins;
    this.#packetBytes = packetBytes;
    this.#span = span;
    this.view = burst.view;
    this.bytes = burst.bytes;
    this.bthAt = start + prefixBytes;
    this.#putAt = this.bthAt + headerBytes;
    return true;
  }

  /** Copies payload from a region, after what was put before. False when the memory is gone. @param ahead octets behind these that the message's next packets take. */
  putPayload(memory: Memory, offset: number, length: number, ahead: number): boolean {
    const at = this.#putAt;
    this.#putAt = at + length;
    return memory.read(offset, this.bytes, at, length, this.#useful(ahead, length));
  }

  /** As `putPayload`, of a work request. */
  putPosted(memory: Memory, offset: number, length: number, ahead: number): boolean {
    const at = this.#putAt;
    this.#putAt = at + length;
    return memory.readPosted(offset, this.bytes, at, length, this.#useful(ahead, length));
  }

  /** Of octets behind a packet's, those that this turn is likely to come to. */
  #useful(ahead: number, length: number): number {
    return Math.max(0, Math.min(ahead, this.turnLeft - length, this.allowance - this.meteredBytes - length));
  }

  /** Copies payload from octets (inline data). */
  putBytes(source: Uint8Array, at: number, length: number): void {
    const { bytes } = this;
    const to = this.#putAt;
    copy(source, at, bytes, to, length);
    this.#putAt = to + length;
  }

  /** Pads, writes lengths, IPv4 identification and ICRC, closes the packet. Returns its octets from BTH to ICRC. */
  end(): number {
    const port = this.#port;
    const path = this.#path!;
    const { burst } = port;
    const packetBytes = this.#packetBytes;
    const icrcAt = this.bthAt + packetBytes - Icrc.BYTES;
    for (let at = this.#putAt; at < icrcAt; at++) this.view.setUint8(at, 0);
    if (this.#joins) this.#join(port, path);
    else this.#open(port, path);
    const frameAt = burst.at[port.frame]!;
    const ownHeader = path.framing === Framing.HEADER_EACH;
    const headerAt = ownHeader ? this.bthAt - path.template.length : frameAt;
    this.#writeIcrc(port, path, headerAt, icrcAt);
    burst.end = icrcAt + Icrc.BYTES;
    burst.frameBytes[port.frame] = burst.end - frameAt;
    this.#writeLengths(port, path, headerAt, burst.end - headerAt - path.udpAt);
    port.nextId = (port.nextId + this.#span) & 0xffff;
    this.laidOutBytes += packetBytes;
    if (port.isMetered) this.meteredBytes += bytesOnWire(path, packetBytes, this.#span);
    if (packetBytes < port.segmentBytes) port.path = null;
    return packetBytes;
  }

  #refuse(): false {
    this.isFull = true;
    return false;
  }

  #open(port: PortState, path: Path): void {
    const { burst } = port;
    const frame = burst.count++;
    const at = this.bthAt - path.template.length;
    burst.at[frame] = at;
    burst.segmentBytes[frame] = 0;
    burst.headerBytes[frame] = path.framing === Framing.HEADER_ONCE ? path.template.length : 0;
    burst.destination[frame] = path.destination;
    port.path = path;
    port.frame = frame;
    port.generation = burst.generation;
    port.segmentBytes = this.#packetBytes;
    port.segments = 1;
    if (!path.isIpv6) port.ipSum = sumOfFixedWords(burst.view, at + path.ipAt);
  }

  #join(port: PortState, path: Path): void {
    const each = path.framing === Framing.HEADER_EACH ? path.template.length : 0;
    port.burst.segmentBytes[port.frame] = each + port.segmentBytes;
    port.segments++;
  }

  /** The kernel numbers the segments of a super-frame upwards from the identification in its one header; so does `nextId`. */
  #writeIcrc(port: PortState, path: Path, headerAt: number, icrcAt: number): void {
    const { view } = this;
    if (path.icrcElided) {
      writeSpan(view, icrcAt, this.#span);
      return;
    }
    if (port.statePath !== path || port.stateBytes !== this.#packetBytes) this.#enterHeader(port, path, headerAt);
    const state = path.isIpv6 ? port.headerState : port.headerState ^ Icrc.identificationState(port.nextId);
    const header = Icrc.bthCrc(state, view, this.bthAt);
    Icrc.write(view, icrcAt, crc32(this.bytes, this.bthAt + Bth.BYTES, icrcAt, header));
  }

  #enterHeader(port: PortState, path: Path, headerAt: number): void {
    const udpBytes = Udp.BYTES + this.#packetBytes;
    const ipBytes = path.isIpv6 ? udpBytes : Ipv4.BYTES + udpBytes;
    const ipAt = headerAt + path.ipAt;
    const udpAt = headerAt + path.udpAt;
    port.headerState = Icrc.udpState(this.view, ipAt, path.isIpv6, udpAt, ipBytes, udpBytes);
    port.statePath = path;
    port.stateBytes = this.#packetBytes;
  }

  /** `udpBytes`: of the whole frame where its headers stand once, else of this packet. */
  #writeLengths(port: PortState, path: Path, headerAt: number, udpBytes: number): void {
    const { view } = this;
    const ipAt = headerAt + path.ipAt;
    view.setUint16(headerAt + path.udpAt + 4, udpBytes);
    if (path.isIpv6) {
      view.setUint16(ipAt + 4, udpBytes + path.udpAt - path.ipAt - Ipv6.BYTES);
      return;
    }
    const totalBytes = udpBytes + path.udpAt - path.ipAt;
    const once = this.#joins && path.framing === Framing.HEADER_ONCE;
    const id = once ? view.getUint16(ipAt + 4) : port.nextId;
    let sum = port.ipSum + totalBytes + id;
    sum = (sum & 0xffff) + (sum >>> 16);
    sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(ipAt + 2, totalBytes);
    view.setUint16(ipAt + 4, id);
    view.setUint16(ipAt + 10, ~sum & 0xffff);
  }
}

/** Of all copies, from the link's header to the ICRC; of a packet that stands for several, what they would come to. */
function bytesOnWire(path: Path, packetBytes: number, span: number): number {
  const headerBytes = path.template.length - path.ethernetAt;
  return (packetBytes + headerBytes * span + (Bth.BYTES + Icrc.BYTES) * (span - 1)) * (path.copies ?? 1);
}

/** Words of an IPv4 header without length, identification and checksum. */
function sumOfFixedWords(view: DataView, at: number): number {
  let sum = view.getUint16(at) + view.getUint16(at + 6) + view.getUint16(at + 8);
  for (let i = 12; i < Ipv4.BYTES; i += 2) sum += view.getUint16(at + i);
  return sum;
}
