/** Deadlines of a vRNIC's QPs: a hashed wheel, looked at by the loop. Arming stores a deadline; a timer that moved later is put where it belongs only when its slot comes round. */
import type { Micros } from '../wire/types.ts';

/** Whoever has a deadline. Send and receive machines each embed one. */
export interface Timer {
  /** When it should fire; Infinity = not armed. Written by arm and disarm only. */
  deadline: Micros;
  /** Slot of the wheel that holds it, -1 = none. The wheel's own. */
  slot: number;
  /** Called once when the deadline has passed; the timer is disarmed by then. */
  handleTimeout(now: Micros): void;
}

const SLOT_MICROS = 64;
const SLOTS = 4096;

const slotOf = (deadline: Micros): number => Math.floor(deadline / SLOT_MICROS) & (SLOTS - 1);

export class Timers {
  readonly #wheel: Timer[][] = Array.from({ length: SLOTS }, () => []);
  /** One bit for each slot that holds something: most are empty. */
  readonly #occupied = new Int32Array(SLOTS / 32);
  #tick = 0;
  #held = 0;

  constructor(now: Micros = 0) {
    this.#tick = Math.floor(now / SLOT_MICROS);
  }

  arm(timer: Timer, deadline: Micros): void {
    const earlier = deadline < timer.deadline;
    timer.deadline = deadline;
    if (timer.slot === -1) this.#insert(timer);
    else if (earlier) this.#moveEarlier(timer);
  }

  disarm(timer: Timer): void {
    timer.deadline = Number.POSITIVE_INFINITY;
  }

  /** Fires what is due. */
  handleTimeout(now: Micros): void {
    const last = Math.floor(now / SLOT_MICROS);
    if (this.#held === 0) {
      this.#tick = Math.max(this.#tick, last);
      return;
    }
    const first = Math.max(this.#tick, last - SLOTS + 1);
    // What is put back or armed meanwhile belongs to the time from now on.
    this.#tick = Math.max(this.#tick, last);
    for (let tick = first; tick <= last; tick++) this.#turn(tick & (SLOTS - 1), now);
  }

  /** The earliest moment at which something may be due; Infinity when nothing is armed. */
  nextDeadline(): Micros {
    if (this.#held === 0) return Number.POSITIVE_INFINITY;
    let earliest = Number.POSITIVE_INFINITY;
    for (let step = this.#occupiedFrom(0); step < SLOTS; step = this.#occupiedFrom(step + 1)) {
      const slot = this.#wheel[(this.#tick + step) & (SLOTS - 1)]!;
      for (let i = 0; i < slot.length; i++) earliest = Math.min(earliest, slot[i]!.deadline);
      // Whatever lies in a later slot is due later: a timer that moved stays in an earlier one.
      if (Math.floor(earliest / SLOT_MICROS) <= this.#tick + step) break;
    }
    return earliest;
  }

  /** The first step from this one on whose slot holds something; SLOTS or more when none does. */
  #occupiedFrom(from: number): number {
    let step = from;
    while (step < SLOTS) {
      const slot = (this.#tick + step) & (SLOTS - 1);
      const bits = this.#occupied[slot >> 5]! >>> (slot & 31);
      if (bits !== 0) return step + 31 - Math.clz32(bits & -bits);
      step += 32 - (slot & 31);
    }
    return step;
  }

  /** Forgets a timer whose owner is going away. */
  remove(timer: Timer): void {
    timer.deadline = Number.POSITIVE_INFINITY;
    if (timer.slot === -1) return;
    const slot = this.#wheel[timer.slot]!;
    const index = slot.indexOf(timer);
    slot[index] = slot[slot.length - 1]!;
    slot.pop();
    this.#note(timer.slot);
    timer.slot = -1;
    this.#held--;
  }

  /** A slot holds more, or less, than it did. */
  #note(slot: number): void {
    const bit = 1 << (slot & 31);
    if (this.#wheel[slot]!.length === 0) this.#occupied[slot >> 5]! &= ~bit;
    else this.#occupied[slot >> 5]! |= bit;
  }

  #insert(timer: Timer): void {
    const tick = Math.min(Math.max(Math.floor(timer.deadline / SLOT_MICROS), this.#tick), this.#tick + SLOTS - 1);
    timer.slot = tick & (SLOTS - 1);
    this.#wheel[timer.slot]!.push(timer);
    this.#note(timer.slot);
    this.#held++;
  }

  #moveEarlier(timer: Timer): void {
    const deadline = timer.deadline;
    this.remove(timer);
    timer.deadline = deadline;
    this.#insert(timer);
  }

  #turn(index: number, now: Micros): void {
    const slot = this.#wheel[index]!;
    for (let i = slot.length - 1; i >= 0; i--) {
      const timer = slot[i];
      // A timer that fired took others out of this slot.
      if (timer === undefined) continue;
      // It is where it belongs, later in this tick. Anywhere else it would be passed over until the wheel has come round.
      if (timer.deadline > now && timer.deadline < now + SLOT_MICROS && slotOf(timer.deadline) === index) continue;
      slot[i] = slot[slot.length - 1]!;
      slot.pop();
      this.#note(index);
      timer.slot = -1;
      this.#held--;
      if (timer.deadline <= now) {
        timer.deadline = Number.POSITIVE_INFINITY;
        timer.handleTimeout(now);
      } else if (timer.deadline !== Number.POSITIVE_INFINITY) this.#insert(timer);
    }
  }
}
