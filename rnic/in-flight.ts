/**
 * What all QPs of a vRNIC have in flight together. Each has its window, but their packets meet in one socket buffer at a peer: thousands of windows would fill it
 * many times over. Who finds no room waits in line.
 */

/** A receiver in software holds 16 MiB, counted with the kernel's own share of each packet. */
const MOST_BYTES = 6 << 20;
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

  get hasRoom(): boolean {
    return this.#bytes < MOST_BYTES;
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

  /** To be called once by each until `handleRoom`. */
  wait(sender: RoomWaiter): void {
    this.#waiting.push(sender);
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

  /** So much is in flight now. */
  set(inFlight: InFlight, bytes: number, packets: number): void {
    const weight = inFlight.weigh(bytes, packets);
    if (weight === this.#weight) return;
    inFlight.change(weight - this.#weight);
    this.#weight = weight;
  }

  /** The peer's buffer is full of other QPs' packets: in line, once. */
  wait(inFlight: InFlight, sender: RoomWaiter): void {
    if (!this.#isWaiting) inFlight.wait(sender);
    this.#isWaiting = true;
  }

  /** Its turn has come. */
  leaveLine(): void {
    this.#isWaiting = false;
  }
}
