/**
 * Frames between two workers of this host: a ring each way in shared memory, read in place. Each frame is copied once, by who sends it.
 *
 *     record VTEPS    16 octets: the VTEP whose members the next frames are for    16 octets: the VTEP that they come from
 *     record LOCAL    what one vRNIC hands another (local-hub.ts)
 *     record VXLAN    what one worker's socket or switch had for a member in another (vxlan-hub.ts)
 */
import { ReceiveBurst, type TransmitBurst } from '../../rnic/burst.ts';
import { addressOfArena, registerArena } from '../../wire/arena.ts';
import type { Micros } from '../../wire/types.ts';
import { Bell, newBellMemory } from '../bell.ts';
import { Arena, addressOf } from '../linux/arena.ts';
import { FrameRing } from '../ports/frame-ring.ts';

/** One side, as plain values: may be posted to the worker that will own it. The descriptor is the worker's to close. */
export interface LinkEnd {
  /** The other worker's number. */
  readonly worker: number;
  readonly outgoing: SharedArrayBuffer;
  readonly incoming: SharedArrayBuffer;
  /** Its own duplicate of the eventfd that the other sleeps on. */
  readonly wakeFd: number;
}

export const FrameKind = { VTEPS: 0, LOCAL: 1, VXLAN: 2 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** Frames in shared memory as both kinds of receivers want them: one at a time, index 0. */
export interface LinkedFrame<V> {
  readonly kind: FrameKind;
  readonly vtep: V;
  readonly source: Uint8Array;
  readonly burst: ReceiveBurst;
  readonly headerBytes: number;
}

export const LINK_BYTES = 1 << 21;
const ADDRESS_BYTES = 16;
/** Frames of one breath: the others of the worker get their turn. */
const FRAMES_A_BREATH = 256;
/** A worker that has read nothing for so long is taken for stuck: what is for it is lost, and its peers go on. */
const PATIENCE_MICROS: Micros = 200_000;

/** @template V what this worker has of a VTEP. */
export class WorkerLink<V> {
  readonly worker: number;
  readonly #vtepAt: (address: Uint8Array) => V;
  readonly #outgoing: FrameRing;
  readonly #incoming: FrameRing;
  readonly #peer: Bell;
  readonly #vteps = new Arena(2 * ADDRESS_BYTES);
  #hasNews = false;
  /** Whom the other side believes the next frame to be for and from. */
  #vtep: Uint8Array | null = null;
  #source: Uint8Array | null = null;
  /** Since when there has been no room; 0: there is. */
  #fullSince: Micros = 0;
  readonly #frame: { -readonly [K in keyof LinkedFrame<V>]: LinkedFrame<V>[K] };

  constructor({ worker, outgoing, incoming, wakeFd }: LinkEnd, vtepAt: (address: Uint8Array) => V) {
    this.worker = worker;
    this.#vtepAt = vtepAt;
    this.#outgoing = new FrameRing(outgoing, 'writer');
    this.#incoming = new FrameRing(incoming, 'reader');
    this.#peer = new Bell(newBellMemory(), wakeFd);
    const bytes = new Uint8Array(incoming);
    registerArena(bytes);
    const burst = { ...new ReceiveBurst(0, 1), bytes, view: new DataView(incoming), count: 1 };
    const nobody = new Uint8Array(ADDRESS_BYTES);
    this.#frame = { kind: FrameKind.VTEPS, vtep: vtepAt(nobody), source: nobody, burst, headerBytes: 0 };
  }

  /** Whether frames are lost rather than waited for. */
  isStuck(now: Micros): boolean {
    return this.#fullSince !== 0 && now - this.#fullSince > PATIENCE_MICROS;
  }

  /** Frame i of a burst to the members of `vtep` in the other worker. False: no room; ask again later. */
  sendBurst(kind: FrameKind, vtep: Uint8Array, burst: TransmitBurst, i: number, now: Micros): boolean {
    const { bytes, at, frameBytes, segmentBytes, headerBytes } = burst;
    return this.send(kind, vtep, vtep, bytes, at[i]!, frameBytes[i]!, segmentBytes[i]!, headerBytes[i]!, now);
  }

  /** @param bytes in shared memory. @param vtep and `source`, always the same object for one VTEP. */
  send(
    kind: FrameKind,
    vtep: Uint8Array,
    source: Uint8Array,
    bytes: Uint8Array,
    at: number,
    frameBytes: number,
    segmentBytes: number,
    headerBytes: number,
    now: Micros,
  ): boolean {
    const from = arenaAt(bytes) + at;
    const isSent =
      this.#introduce(vtep, source) && this.#outgoing.push(from, frameBytes, segmentBytes, headerBytes, kind);
    if (isSent) this.#fullSince = 0;
    else if (this.#fullSince === 0) this.#fullSince = now;
    this.#hasNews = true;
    return isSent;
  }

  /** What was sent can be read from now on. */
  publish(): void {
    if (!this.#hasNews) return;
    this.#hasNews = false;
    if (this.#outgoing.publish()) this.#peer.wake();
  }

  /** What the other worker has sent, one frame after the other; `take` may not keep it. How many. */
  receive(take: (frame: LinkedFrame<V>) => void): number {
    const ring = this.#incoming;
    let count = 0;
    for (let bytes = ring.peek(); bytes >= 0 && count < FRAMES_A_BREATH; bytes = ring.peek()) {
      count++;
      const kind = ring.tag() as FrameKind;
      const at = ring.frameAt();
      if (kind === FrameKind.VTEPS) this.#meet(at);
      else {
        this.#point(kind, at, bytes);
        take(this.#frame);
      }
      ring.pass(bytes);
    }
    if (count > 0) ring.releaseTaken();
    return count;
  }

  setSleeping(asleep: boolean): boolean {
    return this.#incoming.setSleeping(asleep);
  }

  close(): void {
    this.#peer.close();
  }

  #introduce(vtep: Uint8Array, source: Uint8Array): boolean {
    if (vtep === this.#vtep && source === this.#source) return true;
    this.#vteps.bytes.set(vtep, 0);
    this.#vteps.bytes.set(source, ADDRESS_BYTES);
    if (!this.#outgoing.push(this.#vteps.address, 2 * ADDRESS_BYTES, 0, 0, FrameKind.VTEPS)) return false;
    this.#vtep = vtep;
    this.#source = source;
    return true;
  }

  #meet(at: number): void {
    const { bytes } = this.#frame.burst;
    this.#frame.vtep = this.#vtepAt(bytes.slice(at, at + ADDRESS_BYTES));
    this.#frame.source = bytes.slice(at + ADDRESS_BYTES, at + 2 * ADDRESS_BYTES);
  }

  #point(kind: FrameKind, at: number, bytes: number): void {
    const frame = this.#frame;
    frame.kind = kind;
    frame.headerBytes = this.#incoming.headerBytes();
    frame.burst.at[0] = at;
    frame.burst.frameBytes[0] = bytes;
    frame.burst.segmentBytes[0] = this.#incoming.segmentBytes();
  }
}

function arenaAt(bytes: Uint8Array): number {
  const known = addressOfArena(bytes);
  if (known !== undefined) return known;
  registerArena(bytes);
  return addressOf(bytes);
}
