/** The way of a frame from a port into the engine under drill: the product's own, with one frame a burst. */
import { ReceiveBurst } from '../../../rnic/burst.ts';
import type { Rnic } from '../../../rnic/rnic.ts';
import type { Port } from '../../../workers/port.ts';
import { Receiver } from '../../../workers/receive.ts';

const ETHERNET = { link: 'ethernet' } as Port;
const ARENA_BYTES = 16_384;

export class DrillPort {
  readonly #burst = new ReceiveBurst(ARENA_BYTES, 1);
  readonly #receiver: Receiver;
  /** Of a way that datagrams never take. */
  readonly #translated: Receiver;

  constructor(rnic: Rnic) {
    this.#receiver = new Receiver(rnic, null, this.#burst);
    this.#translated = new Receiver(rnic, null, this.#burst, null, true);
  }

  receive(frame: Uint8Array, icrcElided: boolean, now: number): void {
    this.#fill(frame);
    this.#receiver.handleBurst(this.#burst, ETHERNET, 0, icrcElided, now);
  }

  /** By another port than that of the drill's QPs. */
  receiveTranslated(frame: Uint8Array, now: number): void {
    this.#fill(frame);
    this.#translated.handleBurst(this.#burst, ETHERNET, 1, false, now);
  }

  #fill(frame: Uint8Array): void {
    const burst = this.#burst;
    burst.bytes.fill(0xee);
    burst.bytes.set(frame);
    burst.at[0] = 0;
    burst.frameBytes[0] = frame.length;
    burst.segmentBytes[0] = 0;
    burst.count = 1;
  }
}
