/** Two simulated hosts and the wire between them, in virtual time. */
import type { Micros } from '../../../wire/types.ts';
import type { TracedFrame } from '../../referee/pcap-frames.ts';
import type { SimHost } from './host.ts';
import type { Wire } from './wire.ts';

export class World {
  now: Micros = 0;
  readonly a: SimHost;
  readonly b: SimHost;
  readonly wire: Wire;
  /** Every frame as it was sent, for the referee; null when nobody asks. */
  readonly trace: TracedFrame[] | null;

  constructor(a: SimHost, b: SimHost, wire: Wire, traced: boolean) {
    this.a = a;
    this.b = b;
    this.wire = wire;
    this.trace = traced ? [] : null;
  }

  /** Lets both hosts do what they can now. */
  settle(): void {
    this.a.turn(this.now, (frame) => this.#send(this.b, frame));
    this.b.turn(this.now, (frame) => this.#send(this.a, frame));
  }

  /** Goes to the next moment at which something happens, at most to `until`. */
  step(until: Micros): void {
    this.settle();
    const next = Math.min(this.wire.nextArrival(), this.a.nextDeadline(), this.b.nextDeadline(), until);
    this.now = Math.max(this.now, next);
    this.wire.deliver(this.now);
    this.settle();
  }

  /** Runs until `done`, which is asked at least every `everyMicros`, says so. False when `until` came first. */
  run(until: Micros, done: () => boolean, everyMicros: Micros): boolean {
    while (!done()) {
      if (this.now >= until) return false;
      this.step(Math.min(until, this.now + everyMicros));
    }
    return true;
  }

  #send(to: SimHost, frame: Uint8Array<ArrayBuffer>): void {
    to.onWire(frame, (seen) => this.trace?.push({ timeMicros: this.now, octets: Buffer.from(seen) }));
    this.wire.send(to, frame, this.now);
  }
}
