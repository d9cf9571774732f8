/** Frames that came by callback and wait to be read: a bounded queue of copies, for ports whose package hands frames over one by one. */
import type { ReceiveBurst } from '../../rnic/burst.ts';
import type { PortCounters } from '../port.ts';

const QUEUE_COUNT_MAX = 4096;

export class CallbackQueue {
  readonly #counters: PortCounters;
  #frames: Uint8Array[] = [];

  constructor(counters: PortCounters) {
    this.#counters = counters;
  }

  /** Takes a copy; counted as dropped when the queue is full. */
  push(frame: Uint8Array): void {
    if (this.#frames.length === QUEUE_COUNT_MAX) this.#counters.rxDropped++;
    else this.#frames.push(new Uint8Array(frame)); // a Buffer's own slice would be no copy
  }

  receive(burst: ReceiveBurst): number {
    burst.count = 0;
    let end = 0;
    let taken = 0;
    for (; taken < this.#frames.length && burst.count < burst.limit; taken++) {
      const frame = this.#frames[taken]!;
      if (end + frame.length > burst.bytes.length) break;
      const i = burst.count++;
      burst.bytes.set(frame, end);
      burst.at[i] = end;
      burst.frameBytes[i] = frame.length;
      burst.segmentBytes[i] = 0;
      burst.source[i] = 0;
      end += (frame.length + 15) & ~15;
      this.#counters.rxBytes += frame.length;
    }
    this.#counters.rxCalls++;
    this.#counters.rxFrames += taken;
    this.#frames = taken === this.#frames.length ? [] : this.#frames.slice(taken);
    return burst.count;
  }
}
