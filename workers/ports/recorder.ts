/** Writes frames to a capture file as they would be on the wire: super-frames as their segments, each as whoever looks is to see it. */
import * as Ethernet from '../../wire/ethernet.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import type { CaptureFile } from './capture-file.ts';
import { copyPart, segmentCount } from './super-frame.ts';

export const FRAME_BYTES_MAX = 65_600;

/** What is written of a frame of `length` octets, which lies at the beginning of `octets`; null: nothing. It may change them. */
export type Lens = (octets: Uint8Array, view: DataView, length: number) => Uint8Array | null;

export const asItIs: Lens = (octets, _view, length) => octets.subarray(0, length);

/** A tenant's frame without its VXLAN header. */
export const withoutVxlan: Lens = (octets, _view, length) => octets.subarray(Vxlan.BYTES, length);

/** Memory needs no ICRC; on a wire there would be one. */
export const withIcrc: Lens = (octets, view, length) => {
  const icrcAt = length - Icrc.BYTES;
  Icrc.write(view, icrcAt, Icrc.compute(view, octets, Ethernet.BYTES, icrcAt));
  return octets.subarray(0, length);
};

export class Recorder {
  readonly #file: CaptureFile;
  readonly #lens: Lens;
  readonly #skip: number;
  readonly #octets = new Uint8Array(FRAME_BYTES_MAX);
  readonly #view = new DataView(this.#octets.buffer);

  /** @param file its owner's to close. @param skip octets of a frame, before its headers, that are not looked at. */
  constructor(file: CaptureFile, lens: Lens, skip = 0) {
    this.#file = file;
    this.#lens = lens;
    this.#skip = skip;
  }

  /** @param headerBytes octets that stand once before the segments; 0: none do. */
  record(bytes: Uint8Array, at: number, frameBytes: number, segmentBytes: number, headerBytes: number): void {
    const count = segmentCount(frameBytes, segmentBytes, headerBytes);
    const skip = this.#skip;
    const [from, octets, head] = [at + skip, frameBytes - skip, Math.max(0, headerBytes - skip)];
    for (let i = 0; i < count; i++) {
      const length = copyPart(bytes, from, octets, segmentBytes, head, i, this.#view, 0);
      const seen = this.#lens(this.#octets, this.#view, length);
      if (seen !== null) this.#file.write(seen);
    }
  }

  flush(): void {
    this.#file.flush();
  }
}
