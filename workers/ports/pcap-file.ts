/** A port to files: what it receives is a capture (pcap or pcapng), what it sends is written to another. */
import { readFileSync } from 'node:fs';
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import { readCapture } from '../../wire/capture.ts';
import { type CapturedFrame, LINK_TYPE_ETHERNET } from '../../wire/captured-frame.ts';
import type { Port } from '../port.ts';
import { CaptureFile } from './capture-file.ts';
import { newPortCounters } from './port-counters.ts';
import { copySegment, segmentCount } from './super-frame.ts';

export interface PcapFileOptions {
  /** Ethernet frames of this file are received, in order, as fast as they are read. */
  readonly read?: string;
  /** What is sent goes here (pcapng). */
  readonly write?: string;
  readonly mtu?: number;
}

const MTU = 9000;
const FRAME_BYTES_MAX = 65_600;

export class PcapFilePort implements Port {
  readonly name: string;
  readonly link = 'ethernet';
  readonly mtu: number;
  readonly framing = Framing.HEADER_ONCE;
  readonly fileDescriptor = -1;
  readonly counters = newPortCounters();
  readonly #file: CaptureFile | null;
  readonly #scratch = new Uint8Array(FRAME_BYTES_MAX);
  readonly #scratchView = new DataView(this.#scratch.buffer);
  #frames: CapturedFrame[];
  #next = 0;

  /** @throws the error of open, or CaptureError: the file is no capture. */
  constructor(options: PcapFileOptions) {
    this.name = `pcap:${options.read ?? options.write ?? ''}`;
    this.mtu = options.mtu ?? MTU;
    const frames = options.read === undefined ? [] : readCapture(readFileSync(options.read));
    this.#frames = frames.filter(({ linkType, octets, originalBytes }) => {
      const isWhole = linkType === LINK_TYPE_ETHERNET && octets.length === originalBytes;
      if (!isWhole) this.counters.rxDropped++;
      return isWhole;
    });
    this.#file = options.write === undefined ? null : new CaptureFile({ file: options.write }, 'urnic');
  }

  receive(burst: ReceiveBurst): number {
    burst.count = 0;
    let end = 0;
    for (; this.#next < this.#frames.length && burst.count < burst.at.length; this.#next++) {
      const { octets } = this.#frames[this.#next]!;
      if (end + octets.length > burst.bytes.length) break;
      const i = burst.count++;
      burst.bytes.set(octets, end);
      burst.at[i] = end;
      burst.frameBytes[i] = octets.length;
      burst.segmentBytes[i] = 0;
      burst.source[i] = 0;
      end += (octets.length + 15) & ~15;
      this.counters.rxFrames++;
      this.counters.rxBytes += octets.length;
    }
    this.counters.rxCalls++;
    return burst.count;
  }

  transmit(burst: TransmitBurst): boolean {
    this.counters.txCalls++;
    for (; burst.sent < burst.count; burst.sent++) {
      const i = burst.sent;
      const count = segmentCount(burst.frameBytes[i]!, burst.segmentBytes[i]!, burst.headerBytes[i]!);
      for (let segment = 0; segment < count; segment++)
        this.#write(copySegment(burst, i, segment, this.#scratchView, 0));
    }
    return true;
  }

  onReadable(): void {}

  /** A file never calls: no sleep while frames are left. */
  setSleeping(asleep: boolean): boolean {
    if (asleep) this.#file?.flush();
    return this.#next === this.#frames.length;
  }

  close(): void {
    this.#frames = [];
    this.#next = 0;
    this.#file?.close();
  }

  #write(bytes: number): void {
    this.counters.txFrames++;
    this.counters.txBytes += bytes;
    this.#file?.write(this.#scratch.subarray(0, bytes));
  }
}
