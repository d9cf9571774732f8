/** The out-of-order packets that one QP holds: slots of the vRNIC's pool, by PSN. */
import * as PsnMath from '../wire/psn.ts';
import type { Psn } from '../wire/types.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketPool } from './packet-pool.ts';
import { spanOf } from './span.ts';

const EMPTY = -1;

export class EarlyPackets {
  /** Packets held. */
  count = 0;
  /** Pool slot and PSN by PSN modulo the ring's length, a power of two above the window. */
  readonly #slots: Int32Array;
  readonly #psns: Int32Array;
  readonly #window: number;

  /** @param window how far ahead of the expected PSN a packet may be. */
  constructor(window: number) {
    let length = 2;
    while (length <= window) length *= 2;
    this.#slots = new Int32Array(length).fill(EMPTY);
    this.#psns = new Int32Array(length).fill(EMPTY);
    this.#window = window;
  }

  /** Keeps a packet that is `ahead` of the expected PSN. False when it is too far ahead, stands for several, or the pool is full; true also when it was here already. */
  hold(pool: PacketPool, packet: ReceivedPacket, expected: Psn, ahead: number): boolean {
    if (ahead > this.#window || spanOf(packet) > 1) return false;
    const psn = (expected + ahead) & 0xff_ffff;
    const index = psn & (this.#slots.length - 1);
    if (this.#slots[index] !== EMPTY) return true;
    const slot = pool.hold(packet);
    if (slot === EMPTY) return false;
    this.#slots[index] = slot;
    this.#psns[index] = psn;
    this.count++;
    return true;
  }

  /** Takes out the slot of a PSN, -1 when it is not held. The caller releases it. */
  take(psn: Psn): number {
    const index = psn & (this.#slots.length - 1);
    if (this.#slots[index] === EMPTY || this.#psns[index] !== psn) return EMPTY;
    const slot = this.#slots[index]!;
    this.#slots[index] = EMPTY;
    this.count--;
    return slot;
  }

  /** Forgets what lies behind the expected PSN: a READ or a packet sent again took its place in the sequence. */
  releasePassed(pool: PacketPool, expected: Psn): void {
    for (let i = 0; this.count > 0 && i < this.#slots.length; i++) {
      if (this.#slots[i] === EMPTY || PsnMath.difference(this.#psns[i] as Psn, expected) > 0) continue;
      pool.release(this.#slots[i]!);
      this.#slots[i] = EMPTY;
      this.count--;
    }
  }

  releaseAll(pool: PacketPool): void {
    for (let i = 0; this.count > 0 && i < this.#slots.length; i++) {
      if (this.#slots[i] === EMPTY) continue;
      pool.release(this.#slots[i]!);
      this.#slots[i] = EMPTY;
      this.count--;
    }
  }
}
