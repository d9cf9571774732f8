/** Writes frames to a capture file as they would be on the wire: super-frames as their segments, each as whoever looks is to see it. */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import type { CaptureFile } from './capture-file.ts';
import { eachPacket } from './spans.ts';
import { copyPart, segmentCount, sharedHeaderBytes } from './super-frame.ts';

export const FRAME_BYTES_MAX = 65_600;

/** Writes what is to be seen of a frame of `length` octets, which lies at the beginning of `octets`. It may change them. */
export type Lens = (octets: Uint8Array, view: DataView, length: number, write: (frame: Uint8Array) => void) => void;

export const asItIs: Lens = (octets, _view, length, write) => write(octets.subarray(0, length));

/** A tenant's frame without its VXLAN header. */
export const withoutVxlan: Lens = (octets, _view, length, write) => write(octets.subarray(Vxlan.BYTES, length));

/** By memory packets have no ICRC, and one may stand for several. */
export const fromMemory: Lens = eachPacket;

/** Every segment has all its headers. */
export const EACH = -1;

export class Recorder {
  readonly #file: CaptureFile;
  readonly #lens: Lens;
  readonly #headAt: number;
  readonly #octets = new Uint8Array(FRAME_BYTES_MAX);
  readonly #view = new DataView(this.#octets.buffer);
  readonly #write = (frame: Uint8Array): void => this.#file.write(frame);

  /** @param file its owner's to close. @param headAt where the headers begin that segments have in common, octets before them are not looked at; EACH: each has its own. */
  constructor(file: CaptureFile, lens: Lens, headAt = 0) {
    this.#file = file;
    this.#lens = lens;
    this.#headAt = headAt;
  }

  /** Frame i. */
  record({ bytes, view, at, frameBytes, segmentBytes }: TransmitBurst | ReceiveBurst, i: number): void {
    const skip = Math.max(0, this.#headAt);
    const from = at[i]! + skip;
    const octets = frameBytes[i]! - skip;
    const segment = segmentBytes[i]!;
    const headerBytes = segment === 0 || this.#headAt === EACH ? 0 : sharedHeaderBytes(view, from);
    const count = segmentCount(octets, segment, headerBytes);
    for (let part = 0; part < count; part++) {
      const length = copyPart(bytes, from, octets, segment, headerBytes, part, this.#view, 0);
      this.#lens(this.#octets, this.#view, length, this.#write);
    }
  }

  flush(): void {
    this.#file.flush();
  }
}
