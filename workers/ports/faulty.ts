/** A port with a bad cable: loses, repeats, spoils, delays and reorders the frames that another port sends and receives, from a seed. */
import type { ReceiveBurst } from '../../rnic/burst.ts';
import { TransmitBurst } from '../../rnic/burst.ts';
import type { Framing } from '../../rnic/path.ts';
import type { Port, PortCounters } from '../port.ts';
import { copySegment, segmentCount } from './super-frame.ts';

/** Each a probability from 0 to 1, asked once for each frame on the wire (a super-frame counts as its segments). */
export interface FaultOptions {
  readonly seed: number;
  readonly loss?: number;
  readonly duplication?: number;
  /** One bit of the frame is turned over, behind the Ethernet header. */
  readonly corruption?: number;
  /** The frame is held back and leaves after `delayFrames` later ones, or when nothing else is sent. */
  readonly reordering?: number;
  readonly delayFrames?: number;
}

export interface FaultCounters {
  lost: number;
  duplicated: number;
  corrupted: number;
  reordered: number;
}

const SLOT_BYTES = 16_384;
const HELD_COUNT_MAX = 32;
const ETHERNET_BYTES = 14;
const DELAY_FRAMES = 3;

/** mulberry32: small, seeded, good enough to break things with. */
export function newRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

export class FaultyPort implements Port {
  readonly name: string;
  readonly link: Port['link'];
  readonly mtu: number;
  readonly framing: Framing;
  readonly faults: FaultCounters = { lost: 0, duplicated: 0, corrupted: 0, reordered: 0 };
  readonly #inner: Port;
  readonly #options: FaultOptions;
  readonly #random: () => number;
  /** What is on its way to the inner port: single frames. */
  readonly #out = new TransmitBurst();
  readonly #held = new DataView(new ArrayBuffer(HELD_COUNT_MAX * SLOT_BYTES));
  readonly #heldBytes = new Int32Array(HELD_COUNT_MAX);
  readonly #heldDestination = new Int32Array(HELD_COUNT_MAX);
  /** Frames that still go before it; -1 = free slot. */
  readonly #heldFor = new Int32Array(HELD_COUNT_MAX).fill(-1);
  #segment = 0;

  constructor(inner: Port, options: FaultOptions) {
    this.#inner = inner;
    this.#options = options;
    this.#random = newRandom(options.seed);
    this.name = `faulty:${inner.name}`;
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
    this.#releaseHeld(true);
    this.#flush();
    return this.#inner.receive(burst);
  }

  transmit(burst: TransmitBurst): boolean {
    while (burst.sent < burst.count) {
      const i = burst.sent;
      const count = segmentCount(burst.frameBytes[i]!, burst.segmentBytes[i]!, burst.headerBytes[i]!);
      for (; this.#segment < count; this.#segment++) {
        if (!this.#hasRoom() && !this.#flush()) return false;
        this.#sendSegment(burst, i, this.#segment);
      }
      this.#segment = 0;
      burst.sent++;
    }
    return this.#flush();
  }

  onReadable(wake: () => void): void {
    this.#inner.onReadable(wake);
  }

  setAddresses(addresses: readonly Uint8Array[]): void {
    this.#inner.setAddresses?.(addresses);
  }

  setSleeping(asleep: boolean): boolean {
    return this.#inner.setSleeping?.(asleep) ?? true;
  }

  close(): void {
    this.#inner.close();
  }

  /** For one frame and its copy. */
  #hasRoom(): boolean {
    return (
      this.#out.count + 2 + HELD_COUNT_MAX <= this.#out.at.length &&
      this.#out.end + (2 + HELD_COUNT_MAX) * SLOT_BYTES <= this.#out.bytes.length
    );
  }

  #flush(): boolean {
    const done = this.#inner.transmit(this.#out);
    if (done) this.#out.reset();
    return done;
  }

  #happens(probability: number | undefined): boolean {
    return probability !== undefined && probability > 0 && this.#random() < probability;
  }

  #sendSegment(burst: TransmitBurst, frame: number, segment: number): void {
    this.#releaseHeld(false);
    if (this.#happens(this.#options.loss)) {
      this.faults.lost++;
      return;
    }
    if (this.#happens(this.#options.reordering) && this.#hold(burst, frame, segment)) return;
    const at = this.#out.end;
    this.#append(copySegment(burst, frame, segment, this.#out.view, at), burst.destination[frame]!);
    if (this.#happens(this.#options.corruption)) this.#spoil(at, this.#out.frameBytes[this.#out.count - 1]!);
    if (!this.#happens(this.#options.duplication)) return;
    this.faults.duplicated++;
    const bytes = this.#out.frameBytes[this.#out.count - 1]!;
    this.#out.bytes.copyWithin(this.#out.end, at, at + bytes);
    this.#append(bytes, burst.destination[frame]!);
  }

  #append(bytes: number, destination: number): void {
    const out = this.#out;
    const i = out.count++;
    out.at[i] = out.end;
    out.frameBytes[i] = bytes;
    out.segmentBytes[i] = 0;
    out.headerBytes[i] = 0;
    out.destination[i] = destination;
    out.end += (bytes + 15) & ~15;
  }

  #spoil(at: number, bytes: number): void {
    const place = at + ETHERNET_BYTES + Math.floor(this.#random() * (bytes - ETHERNET_BYTES));
    this.#out.bytes[place]! ^= 1 << Math.floor(this.#random() * 8);
    this.faults.corrupted++;
  }

  #hold(burst: TransmitBurst, frame: number, segment: number): boolean {
    const slot = this.#heldFor.indexOf(-1);
    if (slot < 0 || this.mtu + ETHERNET_BYTES > SLOT_BYTES) return false;
    this.#heldDestination[slot] = burst.destination[frame]!;
    this.#heldBytes[slot] = copySegment(burst, frame, segment, this.#held, slot * SLOT_BYTES);
    this.#heldFor[slot] = this.#options.delayFrames ?? DELAY_FRAMES;
    this.faults.reordered++;
    return true;
  }

  /** Lets go of what has waited long enough, or of everything. */
  #releaseHeld(all: boolean): void {
    for (let slot = 0; slot < HELD_COUNT_MAX; slot++) {
      const waits = this.#heldFor[slot]!;
      if (waits < 0) continue;
      this.#heldFor[slot] = waits - 1;
      if (!all && waits > 0) continue;
      if (!this.#hasSlot()) return;
      this.#heldFor[slot] = -1;
      const bytes = this.#heldBytes[slot]!;
      this.#out.bytes.set(new Uint8Array(this.#held.buffer, slot * SLOT_BYTES, bytes), this.#out.end);
      this.#append(bytes, this.#heldDestination[slot]!);
    }
  }

  #hasSlot(): boolean {
    return this.#out.count < this.#out.at.length && this.#out.end + SLOT_BYTES <= this.#out.bytes.length;
  }
}
