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

  constructor(rnic: Rnic) {
    this.#receiver = new Receiver(rnic, null, this.#burst);
  }

  receive(frame: Uint8Array, icrcElided: boolean, now: number): void {
    const burst = this.#burst;
    burst.bytes.fill(0xee);
    burst.bytes.set(frame);
    burst.at[0] = 0;
    burst.frameBytes[0] = frame.length;
    burst.segmentBytes[0] = 0;
    burst.count = 1;
    this.#receiver.handleBurst(burst, ETHERNET, 0, icrcElided, now);
  }
}
