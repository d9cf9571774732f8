/** A port with a tap: a copy of each frame, in both directions, goes to a capture file as it would be on the wire (super-frames as their segments). */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import type { Framing } from '../../rnic/path.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import type { Port, PortCounters } from '../port.ts';
import type { CaptureFile } from './capture-file.ts';
import { copyPart, segmentCount, sharedHeaderBytes } from './super-frame.ts';

const FRAME_BYTES_MAX = 65_600;

export class CapturePort implements Port {
  readonly name: string;
  readonly link: Port['link'];
  readonly mtu: number;
  readonly framing: Framing;
  readonly #inner: Port;
  readonly #file: CaptureFile;
  readonly #scratch = new Uint8Array(FRAME_BYTES_MAX);
  readonly #scratchView = new DataView(this.#scratch.buffer);

  constructor(inner: Port, file: CaptureFile) {
    this.#inner = inner;
    this.#file = file;
    this.name = inner.name;
    this.link = inner.link;
    this.mtu = inner.mtu;
    this.framing = inner.framing;
  }

  get fileDescriptor(): number {
    return this.#inner.fileDescriptor;
  }

  get counters(): PortCounters {
    return this.#inner.counters;
  }

  receive(burst: ReceiveBurst): number {
    const count = this.#inner.receive(burst);
    for (let i = 0; i < burst.count; i++) {
      const [at, segmentBytes] = [burst.at[i]!, burst.segmentBytes[i]!];
      const headerBytes = segmentBytes === 0 || this.link !== 'ethernet' ? 0 : sharedHeaderBytes(burst.view, at);
      this.#write(burst.bytes, at, burst.frameBytes[i]!, segmentBytes, headerBytes);
    }
    return count;
  }

  transmit(burst: TransmitBurst): boolean {
    const first = burst.sent;
    const done = this.#inner.transmit(burst);
    for (let i = first; i < burst.sent; i++) {
      this.#write(burst.bytes, burst.at[i]!, burst.frameBytes[i]!, burst.segmentBytes[i]!, burst.headerBytes[i]!);
    }
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
    if (asleep) this.#file.flush();
    return this.#inner.setSleeping?.(asleep) ?? true;
  }

  /** Ends the capture; returns the port as it was. */
  end(): Port {
    this.#file.close();
    return this.#inner;
  }

  close(): void {
    this.#file.close();
    this.#inner.close();
  }

  #write(bytes: Uint8Array, at: number, frameBytes: number, segmentBytes: number, headerBytes: number): void {
    const count = segmentCount(frameBytes, segmentBytes, headerBytes);
    for (let i = 0; i < count; i++) {
      const length = copyPart(bytes, at, frameBytes, segmentBytes, headerBytes, i, this.#scratchView, 0);
      // A tenant's frames, as the tenant sees them.
      this.#file.write(this.#scratch.subarray(this.link === 'vxlan' ? Vxlan.BYTES : 0, length));
    }
  }
}
