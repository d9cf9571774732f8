/**
 * pcap, the classic capture file: a header of 24 octets, then records. draft-ietf-opsawg-pcap.
 *
 *     +-------------------+---------+---------+----------+---------+---------------+-----------+
 *     | magic a1b2c3d4 µs | 2       | 4       | 0        | 0       | snapshot      | link type |
 *     |    or a1b23c4d ns | major   | minor   | zone     | sigfigs | length        |           |
 *     +-------------------+---------+---------+----------+---------+---------------+-----------+
 *     | seconds | µs or ns | captured octets | octets on the wire | octets … |  … and so on
 *     +---------+----------+-----------------+--------------------+----------+
 *
 * Everything is in the byte order of the machine that wrote it, which the magic number shows.
 */
import { ByteQueue } from './byte-queue.ts';
import { CaptureError } from './capture-error.ts';
import { type CapturedFrame, type CaptureReader, FRAME_BYTES_MAX, LINK_TYPE_ETHERNET } from './captured-frame.ts';

export const FILE_HEADER_BYTES = 24;
export const RECORD_HEADER_BYTES = 16;
const MAGIC_MICROS = 0xa1b2_c3d4;
const MAGIC_NANOS = 0xa1b2_3c4d;
const VERSION_MAJOR = 2;
const VERSION_MINOR = 4;

/** How a file is written: byte order, and nanoseconds or microseconds. */
export interface PcapFormat {
  readonly littleEndian: boolean;
  readonly nanosecond: boolean;
}
/** What urnic writes: nothing is lost. */
export const DEFAULT_FORMAT: PcapFormat = { littleEndian: true, nanosecond: true };

function formatOf(view: DataView): PcapFormat | undefined {
  for (const littleEndian of [true, false]) {
    const magic = view.getUint32(0, littleEndian);
    if (magic === MAGIC_MICROS || magic === MAGIC_NANOS) return { littleEndian, nanosecond: magic === MAGIC_NANOS };
  }
  return undefined;
}

export class PcapReader implements CaptureReader {
  readonly #queue = new ByteQueue();
  #format: PcapFormat | undefined;
  #linkType = 0;

  push(octets: Uint8Array): void {
    this.#queue.push(octets);
  }

  next(): CapturedFrame | undefined {
    const format = this.#format ?? this.#readHeader();
    if (format === undefined || this.#queue.length < RECORD_HEADER_BYTES) return undefined;
    const { littleEndian, nanosecond } = format;
    const view = this.#queue.peek(RECORD_HEADER_BYTES);
    const bytes = view.getUint32(8, littleEndian);
    if (bytes > FRAME_BYTES_MAX) throw this.#error(`a frame of ${bytes} octets, the limit is ${FRAME_BYTES_MAX}`);
    if (this.#queue.length < RECORD_HEADER_BYTES + bytes) return undefined;
    const frame = {
      seconds: view.getUint32(0, littleEndian),
      nanos: view.getUint32(4, littleEndian) * (nanosecond ? 1 : 1000),
      originalBytes: view.getUint32(12, littleEndian),
      octets: this.#queue.copy(RECORD_HEADER_BYTES, bytes),
      interfaceIndex: 0,
      linkType: this.#linkType,
    };
    this.#queue.drop(RECORD_HEADER_BYTES + bytes);
    return frame;
  }

  end(): void {
    if (this.#format === undefined) throw this.#error('the file ends before its header does');
    if (this.#queue.length > 0)
      throw this.#error(`the file ends within a record, ${this.#queue.length} octets into it`);
  }

  #readHeader(): PcapFormat | undefined {
    if (this.#queue.length < FILE_HEADER_BYTES) return undefined;
    const view = this.#queue.peek(FILE_HEADER_BYTES);
    const format = formatOf(view);
    if (format === undefined) throw this.#error('neither pcap nor pcapng: the magic number is unknown');
    const major = view.getUint16(4, format.littleEndian);
    if (major !== VERSION_MAJOR) throw this.#error(`pcap version ${major} is unknown`);
    // The upper bits of the link type say whether frames end with an FCS.
    this.#linkType = view.getUint32(20, format.littleEndian) & 0xffff;
    this.#format = format;
    this.#queue.drop(FILE_HEADER_BYTES);
    return format;
  }

  #error(problem: string): CaptureError {
    return new CaptureError(this.#queue.offset, problem);
  }
}

/** The header that a pcap file begins with. */
export function fileHeader(format = DEFAULT_FORMAT, linkType = LINK_TYPE_ETHERNET): Uint8Array<ArrayBuffer> {
  const { littleEndian, nanosecond } = format;
  const octets = new Uint8Array(FILE_HEADER_BYTES);
  const view = new DataView(octets.buffer);
  view.setUint32(0, nanosecond ? MAGIC_NANOS : MAGIC_MICROS, littleEndian);
  view.setUint16(4, VERSION_MAJOR, littleEndian);
  view.setUint16(6, VERSION_MINOR, littleEndian);
  view.setUint32(16, FRAME_BYTES_MAX, littleEndian);
  view.setUint32(20, linkType, littleEndian);
  return octets;
}

/** One frame's record, header and octets. Throws RangeError when the frame is longer than FRAME_BYTES_MAX. */
export function record(frame: CapturedFrame, format = DEFAULT_FORMAT): Uint8Array<ArrayBuffer> {
  const { littleEndian, nanosecond } = format;
  const bytes = frame.octets.length;
  if (bytes > FRAME_BYTES_MAX) throw new RangeError(`a frame of ${bytes} octets, the limit is ${FRAME_BYTES_MAX}`);
  const octets = new Uint8Array(RECORD_HEADER_BYTES + bytes);
  const view = new DataView(octets.buffer);
  view.setUint32(0, frame.seconds, littleEndian);
  view.setUint32(4, nanosecond ? frame.nanos : Math.floor(frame.nanos / 1000), littleEndian);
  view.setUint32(8, bytes, littleEndian);
  view.setUint32(12, frame.originalBytes, littleEndian);
  octets.set(frame.octets, RECORD_HEADER_BYTES);
  return octets;
}
