/**
 * Datagrams of one QP that found no receive WQE, kept in their order for a while. A NIC works beside the cores, and a program that posts its receives again as they are
 * used is in time for it; here both take turns on the cores, and a whole burst may have come before it is the program's turn. mlx5 can do so, too (delay drop).
 */
import type { Micros } from '../wire/types.ts';
import { Counter, type Counters } from './counters.ts';
import type { ReceivedPacket } from './packet.ts';
import { PacketPool } from './packet-pool.ts';
import type { Timer, Timers } from './timers.ts';

/** Of all QPs of a vRNIC: 2 MiB, as much as a NIC has for what arrives. */
const DATAGRAMS_MAX = 512;
/** Nobody says that a receive was posted: it is looked for after so long, then after twice as long each time, up to a bound. */
const FIRST_LOOK: Micros = 100;
const LONGEST_PAUSE: Micros = 2000;
/** So many looks in vain, some 50 ms. Looks, for the program stood still as long as this thread did. */
const LOOKS_MAX = 29;
const NONE = -1;

/** Where the datagrams of all QPs of a vRNIC wait. */
export class WaitingRoom {
  readonly pool = new PacketPool(DATAGRAMS_MAX);
  /** By the pool's slot: the slot behind it in its QP's line. */
  readonly next = new Int32Array(DATAGRAMS_MAX);
}

export class WaitingDatagrams implements Timer {
  deadline: Micros = Number.POSITIVE_INFINITY;
  slot = -1;
  #first = NONE;
  #last = NONE;
  #pause = FIRST_LOOK;
  /** Since the last one that was delivered. */
  #looks = 0;
  readonly #room: WaitingRoom;
  readonly #timers: Timers;
  readonly #counters: Counters;
  readonly #place: (packet: ReceivedPacket) => boolean;

  /** @param place gives a datagram to its QP; false when there is no receive WQE yet. */
  constructor(room: WaitingRoom, timers: Timers, counters: Counters, place: (packet: ReceivedPacket) => boolean) {
    this.#room = room;
    this.#timers = timers;
    this.#counters = counters;
    this.#place = place;
  }

  /** Keeps a datagram behind those that it has. False when there is no room. */
  hold(packet: ReceivedPacket, now: Micros): boolean {
    const { pool, next } = this.#room;
    const held = pool.hold(packet);
    if (held === NONE) return false;
    next[held] = NONE;
    if (this.#first === NONE) this.#first = held;
    else next[this.#last] = held;
    this.#last = held;
    this.#counters.add(Counter.receive_awaited);
    if (this.#first === held) this.#beginToLook(now);
    return true;
  }

  /** As many as find a receive WQE, in their order. True when none is left. */
  deliver(now: Micros): boolean {
    const before = this.#first;
    while (this.#first !== NONE && this.#place(this.#room.pool.open(this.#first))) this.#forgetFirst();
    if (this.#first !== NONE && this.#first !== before) this.#beginToLook(now);
    return this.#first === NONE;
  }

  handleTimeout(now: Micros): void {
    this.#looks++;
    if (this.deliver(now) || this.#looks === 0) return;
    for (; this.#looks === LOOKS_MAX && this.#first !== NONE; this.#forgetFirst())
      this.#counters.add(Counter.out_of_buffer);
    if (this.#first !== NONE) this.#lookAfter(Math.min(this.#pause * 2, LONGEST_PAUSE), now);
  }

  /** The QP takes nothing any more. */
  clear(): void {
    while (this.#first !== NONE) this.#forgetFirst();
    this.#timers.remove(this);
  }

  #beginToLook(now: Micros): void {
    this.#looks = 0;
    this.#lookAfter(FIRST_LOOK, now);
  }

  #lookAfter(pause: Micros, now: Micros): void {
    this.#pause = pause;
    this.#timers.arm(this, now + pause);
  }

  /** Placing it may have ended the QP, and then nobody waits. */
  #forgetFirst(): void {
    if (this.#first === NONE) return;
    this.#room.pool.release(this.#first);
    this.#first = this.#room.next[this.#first]!;
  }
}
