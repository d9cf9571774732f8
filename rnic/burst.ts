/** What goes to a port in one go: an arena of frames, laid out as they leave, and where each begins. Written by the engine (or the switch), taken by a port. */

export const BURST_BYTES = 1 << 20;
export const BURST_FRAMES = 256;
/** A super-frame, with all its headers, stays under the 64 KiB that an IP packet and one GSO send can hold. */
export const SUPER_FRAME_BYTES = 65_000;
/** The kernel's UDP_MAX_SEGMENTS is 64 before 6.9, 128 after. */
export const SUPER_FRAME_SEGMENTS = 64;

/** Room before a frame for what its port puts there: a virtio header, and what goes before a VXLAN header. */
export const FRAME_HEADROOM = 72;

/** Frames in an arena, one behind the other. */
class Burst {
  /** Over a SharedArrayBuffer, so that native code sees it at one address for ever. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Octet at which frame i begins, and its octets, headers and ICRC included. */
  readonly at: Int32Array;
  readonly frameBytes: Int32Array;
  /** 0 for a single frame. Otherwise octets of one segment: of what follows the shared headers (HEADER_ONCE), or of a whole segment (HEADER_EACH). */
  readonly segmentBytes: Int32Array;
  count = 0;

  constructor(arenaBytes: number, frames: number) {
    const memory = new SharedArrayBuffer(arenaBytes);
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
    this.at = new Int32Array(frames);
    this.frameBytes = new Int32Array(frames);
    this.segmentBytes = new Int32Array(frames);
  }
}

export class TransmitBurst extends Burst {
  /** HEADER_ONCE: octets of the shared headers. */
  readonly headerBytes: Int32Array;
  /** `Path.destination` of frame i. */
  readonly destination: Int32Array;
  /** First free octet of the arena. */
  end = 0;
  /** First frame that the port has not taken yet. */
  sent = 0;
  /** Counts the resets: whoever remembers a frame sees by it that the frame has gone. */
  generation = 0;
  /** Octets before each frame that are its port's to use: 0 or FRAME_HEADROOM. */
  readonly headroom: number;
  /** Which port's headers stand in the room before the first frame. */
  headedBy: unknown = null;

  constructor(arenaBytes = BURST_BYTES, frames = BURST_FRAMES, headroom = 0) {
    super(arenaBytes, frames);
    this.headroom = headroom;
    this.headerBytes = new Int32Array(frames);
    this.destination = new Int32Array(frames);
  }

  reset(): void {
    this.count = 0;
    this.end = 0;
    this.sent = 0;
    this.generation++;
  }
}

/** What a port read in one go. */
export class ReceiveBurst extends Burst {
  /** The outer sender of frame i (a VTEP index) where there is one. */
  readonly source: Int32Array;
  /** VXLAN, of a single datagram: octets of each of the RoCE packets that follow its inner headers, which stand once; 0 where it has one packet. */
  readonly innerBytes: Int32Array;
  /** So many frames are enough, where they may be large. */
  limit: number;

  constructor(arenaBytes = BURST_BYTES, frames = BURST_FRAMES) {
    super(arenaBytes, frames);
    this.source = new Int32Array(frames);
    this.innerBytes = new Int32Array(frames);
    this.limit = frames;
  }
}

/** Frame `from` of a burst becomes frame `to`, where it lies. */
export function moveFrame(burst: ReceiveBurst, from: number, to: number): void {
  if (from === to) return;
  const { at, frameBytes, segmentBytes, source, innerBytes } = burst;
  at[to] = at[from]!;
  frameBytes[to] = frameBytes[from]!;
  segmentBytes[to] = segmentBytes[from]!;
  source[to] = source[from]!;
  innerBytes[to] = innerBytes[from]!;
}
