/** RoCE frames for port tests: whole packets with a right ICRC, laid out in a burst as the engine's packet writer does it. */
import { BURST_BYTES, BURST_FRAMES, FRAME_HEADROOM, TransmitBurst } from '../../rnic/burst.ts';
import { PacketWriter } from '../../rnic/packet-writer.ts';
import type { Path } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';

export const UC_SEND_ONLY = 0x24;
export const HEADER_AND_ICRC = Bth.BYTES + 4;

/** Writes packets of `payloadBytes`, numbered by PSN from `first` on, payload octets made of PSN and place. */
export class FrameMaker {
  /** With room before each frame, as workers' have it. */
  readonly burst = new TransmitBurst(BURST_BYTES, BURST_FRAMES, FRAME_HEADROOM);
  readonly #writer = new PacketWriter([this.burst], 0xfff8);

  /** One packet that joins no other: its path is an object of its own. */
  put(path: Path, psn: number, payloadBytes: number, qpn = 0x1234): void {
    if (!this.#writer.begin({ ...path }, Bth.BYTES, payloadBytes)) throw new Error('the burst is full');
    this.#finish(psn, payloadBytes, qpn);
  }

  /** Packets of one flow in a row: they may become super-frames. */
  putRun(path: Path, firstPsn: number, count: number, payloadBytes: number): void {
    for (let i = 0; i < count; i++) {
      if (!this.#writer.begin(path, Bth.BYTES, payloadBytes)) throw new Error('the burst is full');
      this.#finish(firstPsn + i, payloadBytes, 0x1234);
    }
  }

  #finish(psn: number, payloadBytes: number, qpn: number): void {
    const { view, bthAt } = this.#writer;
    view.setUint32(bthAt, (UC_SEND_ONLY << 24) | ((-payloadBytes & 3) << 20) | 0xffff);
    view.setUint32(bthAt + 4, qpn);
    view.setUint32(bthAt + 8, psn);
    this.#writer.putBytes(payloadOf(psn, payloadBytes), 0, payloadBytes);
    this.#writer.end();
  }
}

export const payloadOf = (psn: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (psn * 7 + i) & 0xff);
