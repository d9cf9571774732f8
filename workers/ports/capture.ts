/** A port with a tap: a copy of each frame that it sends or is asked for goes to a capture. */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import type { Framing } from '../../rnic/path.ts';
import type { Micros } from '../../wire/types.ts';
import type { Port, PortCounters } from '../port.ts';
import type { Recorder } from './recorder.ts';
import { sharedHeaderBytes } from './super-frame.ts';

export class CapturePort implements Port {
  readonly name: string;
  readonly link: Port['link'];
  readonly mtu: number;
  /** The port as it is without a capture. */
  readonly inner: Port;
  readonly #recorder: Recorder;

  constructor(inner: Port, recorder: Recorder) {
    this.inner = inner;
    this.#recorder = recorder;
    this.name = inner.name;
    this.link = inner.link;
    this.mtu = inner.mtu;
  }

  get framing(): Framing {
    return this.inner.framing;
  }

  get fileDescriptor(): number {
    return this.inner.fileDescriptor;
  }

  get secondDescriptor(): number {
    return this.inner.secondDescriptor ?? -1;
  }

  get isAsked(): boolean {
    return this.inner.isAsked ?? true;
  }

  get counters(): PortCounters {
    return this.inner.counters;
  }

  receive(burst: ReceiveBurst, now?: Micros): number {
    const count = this.inner.receive(burst, now);
    for (let i = 0; i < burst.count; i++) {
      const [at, segmentBytes] = [burst.at[i]!, burst.segmentBytes[i]!];
      const headerBytes = segmentBytes === 0 || this.link !== 'ethernet' ? 0 : sharedHeaderBytes(burst.view, at);
      this.#recorder.record(burst.bytes, at, burst.frameBytes[i]!, segmentBytes, headerBytes);
    }
    return count;
  }

  transmit(burst: TransmitBurst, now?: Micros): boolean {
    const first = burst.sent;
    const done = this.inner.transmit(burst, now);
    for (let i = first; i < burst.sent; i++) {
      const [at, bytes] = [burst.at[i]!, burst.frameBytes[i]!];
      this.#recorder.record(burst.bytes, at, bytes, burst.segmentBytes[i]!, burst.headerBytes[i]!);
    }
    return done;
  }

  onReadable(wake: () => void): void {
    this.inner.onReadable(wake);
  }

  setAddresses(addresses: readonly Uint8Array[]): void {
    this.inner.setAddresses?.(addresses);
  }

  /** Whoever reads the file sees everything up to here. */
  setSleeping(asleep: boolean): boolean {
    if (asleep) this.#recorder.flush();
    return this.inner.setSleeping?.(asleep) ?? true;
  }

  close(): void {
    this.inner.close();
  }
}
