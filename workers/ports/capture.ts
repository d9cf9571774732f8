/** A port with a tap: a copy of each frame that it sends or is asked for goes to a capture. */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import type { Framing } from '../../rnic/path.ts';
import type { Micros } from '../../wire/types.ts';
import type { Port, PortCounters } from '../port.ts';
import type { Recorder } from './recorder.ts';

export class CapturePort implements Port {
  readonly name: string;
  readonly link: Port['link'];
  readonly mtu: number;
  readonly #inner: Port;
  readonly #recorder: Recorder;

  constructor(inner: Port, recorder: Recorder) {
    this.#inner = inner;
    this.#recorder = recorder;
    this.name = inner.name;
    this.link = inner.link;
    this.mtu = inner.mtu;
  }

  get framing(): Framing {
    return this.#inner.framing;
  }

  get fileDescriptor(): number {
    return this.#inner.fileDescriptor;
  }

  get secondDescriptor(): number {
    return this.#inner.secondDescriptor ?? -1;
  }

  get isAsked(): boolean {
    return this.#inner.isAsked ?? true;
  }

  get counters(): PortCounters {
    return this.#inner.counters;
  }

  receive(burst: ReceiveBurst, now?: Micros): number {
    const count = this.#inner.receive(burst, now);
    for (let i = 0; i < burst.count; i++) this.#recorder.record(burst, i);
    return count;
  }

  transmit(burst: TransmitBurst, now?: Micros): boolean {
    const first = burst.sent;
    const done = this.#inner.transmit(burst, now);
    for (let i = first; i < burst.sent; i++) this.#recorder.record(burst, i);
    return done;
  }

  onReadable(wake: () => void): void {
    this.#inner.onReadable(wake);
  }

  setAddresses(addresses: readonly Uint8Array[]): void {
    this.#inner.setAddresses?.(addresses);
  }

  /** Whoever reads the file sees everything up to here. */
  setSleeping(asleep: boolean): boolean {
    if (asleep) this.#recorder.flush();
    return this.#inner.setSleeping?.(asleep) ?? true;
  }

  close(): void {
    this.#inner.close();
  }
}
