/**
 * pcapng: a capture file of blocks. draft-ietf-opsawg-pcapng.
 *
 *     +------------+--------------+------------------------------+--------------+
 *     | block type | total length | body, padded to four octets  | total length |  … and so on
 *     +------------+--------------+------------------------------+--------------+
 *
 * A Section Header opens the file and gives the byte order; Interface Descriptions give link type and resolution of time;
 * Enhanced and Simple Packets hold frames; every other block is passed over.
 */
import { ByteQueue } from './byte-queue.ts';
import { CaptureError } from './capture-error.ts';
import { type CapturedFrame, type CaptureReader, FRAME_BYTES_MAX, LINK_TYPE_ETHERNET } from './captured-frame.ts';

const SECTION_HEADER = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;
/** Type and total length before the body, total length again behind it. */
const BLOCK_OVERHEAD_BYTES = 12;
const BLOCK_BYTES_MAX = 1 << 24;
const INTERFACE_COUNT_MAX = 65_536;
const OPTION_END = 0;
const OPTION_IF_NAME = 2;
const OPTION_IF_TSRESOL = 9;
const OPTION_IF_TSOFFSET = 14;
/** Octets of an Enhanced Packet's body before the frame. */
const ENHANCED_BYTES = 20;
const NANOS = 1_000_000_000n;

interface Interface {
  readonly linkType: number;
  readonly snapBytes: number;
  readonly unitsPerSecond: bigint;
  readonly offsetSeconds: number;
}

/** if_tsresol: a power of ten, or of two when the first bit is set. */
const unitsPerSecondOf = (resolution: number): bigint =>
  (resolution & 0x80) !== 0 ? 2n ** BigInt(resolution & 0x7f) : 10n ** BigInt(resolution);

/** Seconds and nanoseconds of a 64-bit count of units. */
function timeOf(hi: number, lo: number, { unitsPerSecond, offsetSeconds }: Interface): [number, number] {
  const units = BigInt(hi) * 0x1_0000_0000n + BigInt(lo);
  const nanos = ((units % unitsPerSecond) * NANOS) / unitsPerSecond;
  return [Number(units / unitsPerSecond) + offsetSeconds, Number(nanos)];
}

const padded = (bytes: number): number => (bytes + 3) & ~3;

export class PcapNgReader implements CaptureReader {
  readonly #queue = new ByteQueue();
  #littleEndian = true;
  #inSection = false;
  #interfaces: Interface[] = [];

  push(octets: Uint8Array): void {
    this.#queue.push(octets);
  }

  next(): CapturedFrame | undefined {
    for (let bytes = this.#blockBytes(); bytes > 0; bytes = this.#blockBytes()) {
      const frame = this.#readBlock(this.#queue.peek(bytes));
      this.#queue.drop(bytes);
      if (frame !== undefined) return frame;
    }
    return undefined;
  }

  end(): void {
    if (!this.#inSection) throw this.#error('the file ends before its section header does');
    if (this.#queue.length > 0) throw this.#error(`the file ends within a block, ${this.#queue.length} octets into it`);
  }

  /** Octets of the next block, 0 while it is not all there. */
  #blockBytes(): number {
    if (this.#queue.length < BLOCK_OVERHEAD_BYTES) return 0;
    const head = this.#queue.peek(BLOCK_OVERHEAD_BYTES);
    if (head.getUint32(0) === SECTION_HEADER) this.#readByteOrder(head.getUint32(8));
    else if (!this.#inSection) throw this.#error('no section header at the start');
    const bytes = head.getUint32(4, this.#littleEndian);
    if (bytes < BLOCK_OVERHEAD_BYTES || bytes % 4 !== 0) throw this.#error(`a block of ${bytes} octets`);
    if (bytes > BLOCK_BYTES_MAX) throw this.#error(`a block of ${bytes} octets, the limit is ${BLOCK_BYTES_MAX}`);
    if (this.#queue.length < bytes) return 0;
    const again = this.#queue.peek(bytes).getUint32(bytes - 4, this.#littleEndian);
    if (again !== bytes) throw this.#error(`a block's two lengths differ, ${bytes} and ${again}`);
    return bytes;
  }

  #readByteOrder(magic: number): void {
    const swapped = magic === 0x4d3c_2b1a;
    if (!swapped && magic !== BYTE_ORDER_MAGIC) throw this.#error('the byte-order magic is unknown');
    this.#littleEndian = swapped;
    this.#inSection = true;
  }

  #readBlock(block: DataView): CapturedFrame | undefined {
    switch (block.getUint32(0, this.#littleEndian)) {
      case SECTION_HEADER:
        this.#interfaces = [];
        return undefined;
      case INTERFACE_DESCRIPTION:
        this.#readInterface(block);
        return undefined;
      case ENHANCED_PACKET:
        return this.#readEnhanced(block);
      case SIMPLE_PACKET:
        return this.#readSimple(block);
      default:
        return undefined;
    }
  }

  #readInterface(block: DataView): void {
    this.#need(block, 8, 'interface description');
    if (this.#interfaces.length >= INTERFACE_COUNT_MAX) throw this.#error(`over ${INTERFACE_COUNT_MAX} interfaces`);
    let unitsPerSecond = 1_000_000n;
    let offsetSeconds = 0;
    for (let at = 16; at + 4 <= block.byteLength - 4; ) {
      const code = block.getUint16(at, this.#littleEndian);
      const bytes = block.getUint16(at + 2, this.#littleEndian);
      if (code === OPTION_END) break;
      if (at + 4 + padded(bytes) > block.byteLength - 4) throw this.#error('an option longer than its block');
      if (code === OPTION_IF_TSRESOL && bytes === 1) unitsPerSecond = unitsPerSecondOf(block.getUint8(at + 4));
      if (code === OPTION_IF_TSOFFSET && bytes === 8)
        offsetSeconds = Number(block.getBigInt64(at + 4, this.#littleEndian));
      at += 4 + padded(bytes);
    }
    const linkType = block.getUint16(8, this.#littleEndian);
    const snapBytes = block.getUint32(12, this.#littleEndian);
    this.#interfaces.push({ linkType, snapBytes, unitsPerSecond, offsetSeconds });
  }

  #readEnhanced(block: DataView): CapturedFrame {
    this.#need(block, ENHANCED_BYTES, 'enhanced packet');
    const u32 = (at: number): number => block.getUint32(at, this.#littleEndian);
    const interfaceIndex = u32(8);
    const source = this.#interfaces[interfaceIndex];
    if (source === undefined) throw this.#error(`a packet of interface ${interfaceIndex}, which was not described`);
    const [seconds, nanos] = timeOf(u32(12), u32(16), source);
    const octets = this.#copyFrame(block, ENHANCED_BYTES, u32(20));
    return { seconds, nanos, originalBytes: u32(24), octets, interfaceIndex, linkType: source.linkType };
  }

  /** A Simple Packet has no time, and as many octets as there were, up to its interface's snapshot length. */
  #readSimple(block: DataView): CapturedFrame {
    this.#need(block, 4, 'simple packet');
    const source = this.#interfaces[0];
    if (source === undefined) throw this.#error('a simple packet before any interface was described');
    const originalBytes = block.getUint32(8, this.#littleEndian);
    const snapBytes = source.snapBytes === 0 ? originalBytes : Math.min(source.snapBytes, originalBytes);
    const octets = this.#copyFrame(block, 4, snapBytes);
    return { seconds: 0, nanos: 0, originalBytes, octets, interfaceIndex: 0, linkType: source.linkType };
  }

  #copyFrame(block: DataView, skip: number, bytes: number): Uint8Array {
    if (bytes > FRAME_BYTES_MAX) throw this.#error(`a frame of ${bytes} octets, the limit is ${FRAME_BYTES_MAX}`);
    this.#need(block, skip + bytes, 'packet');
    return this.#queue.copy(8 + skip, bytes);
  }

  #need(block: DataView, bodyBytes: number, what: string): void {
    const has = block.byteLength - BLOCK_OVERHEAD_BYTES;
    if (has < bodyBytes) throw this.#error(`a block of ${has} octets is too short for its ${what} of ${bodyBytes}`);
  }

  #error(problem: string): CaptureError {
    return new CaptureError(this.#queue.offset, problem);
  }
}

function block(type: number, body: Uint8Array, littleEndian: boolean): Uint8Array<ArrayBuffer> {
  const bytes = BLOCK_OVERHEAD_BYTES + padded(body.length);
  const octets = new Uint8Array(bytes);
  const view = new DataView(octets.buffer);
  view.setUint32(0, type, littleEndian);
  view.setUint32(4, bytes, littleEndian);
  octets.set(body, 8);
  view.setUint32(bytes - 4, bytes, littleEndian);
  return octets;
}

/** The block that a section, and so the file, begins with. */
export function sectionHeader(littleEndian = true): Uint8Array<ArrayBuffer> {
  const body = new DataView(new ArrayBuffer(16));
  body.setUint32(0, BYTE_ORDER_MAGIC, littleEndian);
  body.setUint16(4, 1, littleEndian);
  // The length of the section: not known.
  body.setUint32(8, 0xffff_ffff);
  body.setUint32(12, 0xffff_ffff);
  return block(SECTION_HEADER, new Uint8Array(body.buffer), littleEndian);
}

const RESOLUTION_NANOS = 9;
const RESOLUTION_MICROS = 6;
const NAME_BYTES_MAX = 1024;

/** What `interfaceDescription` says of an interface. */
export interface InterfaceOptions {
  readonly name: string;
  readonly linkType?: number;
  readonly nanosecond?: boolean;
}

/** Describes the next interface of the section; packets name it by its count from 0. Throws RangeError on a name over 1,024 octets. */
export function interfaceDescription(options: InterfaceOptions, littleEndian = true): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(options.name);
  if (name.length > NAME_BYTES_MAX) throw new RangeError(`an interface name of ${name.length} octets`);
  const body = new Uint8Array(8 + 4 + padded(name.length) + 8 + 4);
  const view = new DataView(body.buffer);
  view.setUint16(0, options.linkType ?? LINK_TYPE_ETHERNET, littleEndian);
  view.setUint32(4, FRAME_BYTES_MAX, littleEndian);
  view.setUint16(8, OPTION_IF_NAME, littleEndian);
  view.setUint16(10, name.length, littleEndian);
  body.set(name, 12);
  const at = 12 + padded(name.length);
  view.setUint16(at, OPTION_IF_TSRESOL, littleEndian);
  view.setUint16(at + 2, 1, littleEndian);
  view.setUint8(at + 4, (options.nanosecond ?? true) ? RESOLUTION_NANOS : RESOLUTION_MICROS);
  return block(INTERFACE_DESCRIPTION, body, littleEndian);
}

/** One frame's Enhanced Packet, of an interface described with the same `nanosecond`. Throws RangeError over FRAME_BYTES_MAX. */
export function enhancedPacket(frame: CapturedFrame, nanosecond = true, littleEndian = true): Uint8Array<ArrayBuffer> {
  const bytes = frame.octets.length;
  if (bytes > FRAME_BYTES_MAX) throw new RangeError(`a frame of ${bytes} octets, the limit is ${FRAME_BYTES_MAX}`);
  const body = new Uint8Array(ENHANCED_BYTES + bytes);
  const view = new DataView(body.buffer);
  const nanos = BigInt(frame.seconds) * NANOS + BigInt(frame.nanos);
  const units = nanosecond ? nanos : nanos / 1000n;
  view.setUint32(0, frame.interfaceIndex, littleEndian);
  view.setUint32(4, Number(units >> 32n), littleEndian);
  view.setUint32(8, Number(units & 0xffff_ffffn), littleEndian);
  view.setUint32(12, bytes, littleEndian);
  view.setUint32(16, frame.originalBytes, littleEndian);
  body.set(frame.octets, ENHANCED_BYTES);
  return block(ENHANCED_PACKET, body, littleEndian);
}
