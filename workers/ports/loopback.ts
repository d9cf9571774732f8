/** What a vRNIC sends to itself: no wire, no system call, no copy. Who receives reads the burst in place, as soon as it is laid out. */
import type { TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import type { Port } from '../port.ts';
import { newPortCounters } from './port-counters.ts';
import { segmentCount } from './super-frame.ts';

/** Takes all frames of a burst; it may not keep them. */
export type BurstSink = (burst: TransmitBurst) => void;

export class LoopbackPort implements Port {
  readonly name = 'loopback';
  readonly link = 'ethernet';
  readonly framing = Framing.HEADER_ONCE;
  readonly fileDescriptor = -1;
  readonly isAsked = false;
  readonly counters = newPortCounters();
  readonly mtu: number;
  readonly #sink: BurstSink;

  constructor(mtu: number, sink: BurstSink) {
    this.mtu = mtu;
    this.#sink = sink;
  }

  /** Frames come by the sink. */
  receive(): number {
    return 0;
  }

  transmit(burst: TransmitBurst): boolean {
    const { counters } = this;
    counters.txCalls++;
    counters.rxCalls++;
    for (let i = burst.sent; i < burst.count; i++) {
      const bytes = burst.frameBytes[i]!;
      const frames = segmentCount(bytes, burst.segmentBytes[i]!, burst.headerBytes[i]!);
      counters.txBytes += bytes;
      counters.rxBytes += bytes;
      counters.txFrames += frames;
      counters.rxFrames += frames;
    }
    this.#sink(burst);
    burst.sent = burst.count;
    return true;
  }

  onReadable(): void {}

  close(): void {}
}
