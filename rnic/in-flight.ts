/**
 * What all QPs of a vRNIC have in flight together. Each has its window, but their packets meet in one socket buffer at a peer: thousands of windows would fill it
 * many times over. Who finds no room waits in line.
 */
import type { Micros } from '../wire/types.ts';

/** A receiver in software holds 16 MiB, counted with the kernel's own share of each packet. */
const MOST_BYTES = 6 << 20;
/** On a short path: as much as the caches of a core hold, so that what was sent is still there when it is read and when it is answered. */
const LEAST_BYTES = 1 << 20;
/** What a path takes in a microsecond, at most: 100 Gb/s. */
const BYTES_PER_MICRO = 12_500;
/** A round trip that begins while no more than this part of the room is taken tells how long the path is, and not how long packets wait. */
const LONE_SHARE = 8;
/** A longer round trip counts for this part; a shorter one at once. */
const GROWTH_SHARE = 32;
/** The kernel's share of a packet, about. */
const PACKET_BYTES = 1024;
/** So many go on in one turn: what they send may fill the room again. */
const RELEASE_COUNT = 16;

/** A sender in line. */
export interface RoomWaiter {
  /** It is its turn again: there is room. */
  handleRoom(): void;
}

export class InFlight {
  readonly #waiting: RoomWaiter[] = [];
  #head = 0;
  #bytes = 0;
  #mostBytes = LEAST_BYTES;

  get hasRoom(): boolean {
    return this.#bytes < this.#mostBytes;
  }

  /** Next to nothing is under way: a packet that leaves now measures the path. */
  get isLow(): boolean {
    return this.#bytes * LONE_SHARE < this.#mostBytes;
  }

  /** A packet that left while `isLow` was answered after so long; 0: nothing was measured. */
  measured(roundTrip: Micros): void {
    if (roundTrip === 0) return;
    const bytes = Math.max(LEAST_BYTES, Math.min(roundTrip * BYTES_PER_MICRO, MOST_BYTES));
    const change = bytes - this.#mostBytes;
    this.#mostBytes += change < 0 ? change : Math.ceil(change / GROWTH_SHARE);
  }

  /** There is room, and nobody waits for it. */
  get isOpen(): boolean {
    return this.#head === this.#waiting.length && this.hasRoom;
  }

  /** Some wait, and need not. */
  get mayRelease(): boolean {
    return this.#head < this.#waiting.length && this.hasRoom;
  }

  /** What `bytes` of payload in so many packets come to. */
  weigh(bytes: number, packets: number): number {
    return bytes + packets * PACKET_BYTES;
  }

  /** A QP has more in flight, or less. */
  change(weight: number): void {
    this.#bytes += weight;
  }

  /** To be called once by each until `handleRoom`. `isFirst`: its turn had come, and others have filled the room meanwhile. */
  wait(sender: RoomWaiter, isFirst = false): void {
    if (isFirst && this.#head > 0) this.#waiting[--this.#head] = sender;
    else this.#waiting.push(sender);
  }

  /** Lets the next few go on, when there is room. */
  release(): void {
    for (let i = 0; i < RELEASE_COUNT && this.mayRelease; i++) this.#waiting[this.#head++]!.handleRoom();
    if (this.#head < RELEASE_COUNT || this.#head * 2 < this.#waiting.length) return;
    this.#waiting.copyWithin(0, this.#head);
    this.#waiting.length -= this.#head;
    this.#head = 0;
  }
}

/** What one sender has in flight, as the vRNIC knows it, and its place in line. */
export class InFlightShare {
  #weight = 0;
  #isWaiting = false;
  /** It has waited, and may go before those who came later. */
  #isItsTurn = false;

  /** So much is in flight now. */
  set(inFlight: InFlight, bytes: number, packets: number): void {
    const weight = inFlight.weigh(bytes, packets);
    if (weight === this.#weight) return;
    inFlight.change(weight - this.#weight);
    this.#weight = weight;
  }

  /** False when it has to wait, and it is in line then. Nobody goes before those in line but who has been there, or sends again what the peer waits for. */
  mayGo(inFlight: InFlight, sender: RoomWaiter, isResending: boolean): boolean {
    if (this.#isItsTurn || isResending ? inFlight.hasRoom : inFlight.isOpen) return true;
    if (!this.#isWaiting) inFlight.wait(sender, this.#isItsTurn);
    this.#isWaiting = true;
    return false;
  }

  /** Its turn has come. */
  leaveLine(): void {
    this.#isWaiting = false;
    this.#isItsTurn = true;
  }

  /** It has had its turn. */
  endTurn(): void {
    this.#isItsTurn = false;
  }
}
