/** A virtual wire: frames take time on it, and some are lost, doubled, overtaken or spoilt. Time is virtual, chance comes from a seed. */
import type { Micros } from '../../../wire/types.ts';
import type { Random } from './random.ts';

/** Probabilities are per frame. */
export interface Faults {
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly corrupt: number;
  readonly delayMicros: Micros;
  /** An overtaken frame is late by up to this. */
  readonly lateMicros: Micros;
  readonly bytesPerMicro: number;
  /** Frames that wait for the wire at most; more are dropped. */
  readonly queueFrames: number;
}

export const NO_FAULTS: Faults = {
  loss: 0,
  duplicate: 0,
  reorder: 0,
  corrupt: 0,
  delayMicros: 5,
  lateMicros: 0,
  bytesPerMicro: 5000,
  queueFrames: 4096,
};

export interface Receiver {
  receive(frame: Uint8Array<ArrayBuffer>, now: Micros): void;
}

interface Flight {
  readonly at: Micros;
  readonly order: number;
  readonly to: Receiver;
  readonly frame: Uint8Array<ArrayBuffer>;
}

const isBefore = (a: Flight, b: Flight): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

export class Wire {
  faults: Faults;
  /** While true nothing arrives. */
  isCut = false;
  sent = 0;
  sentBytes = 0;
  lost = 0;
  duplicated = 0;
  reordered = 0;
  corrupted = 0;
  readonly #random: Random;
  /** A binary heap by time of arrival. */
  readonly #flights: Flight[] = [];
  /** When each receiver's direction is free again. */
  readonly #freeAt = new Map<Receiver, Micros>();
  #order = 0;

  constructor(random: Random, faults: Faults) {
    this.#random = random;
    this.faults = faults;
  }

  send(to: Receiver, frame: Uint8Array<ArrayBuffer>, now: Micros): void {
    const { faults } = this;
    this.sent++;
    this.sentBytes += frame.length;
    const free = Math.max(this.#freeAt.get(to) ?? 0, now);
    if ((free - now) * faults.bytesPerMicro > faults.queueFrames * 1500) {
      this.lost++;
      return;
    }
    const out = free + frame.length / faults.bytesPerMicro;
    this.#freeAt.set(to, out);
    const copies = this.#random.chance(faults.duplicate) ? 2 : 1;
    if (copies === 2) this.duplicated++;
    for (let i = 0; i < copies; i++) this.#fly(to, frame, out + faults.delayMicros);
  }

  nextArrival(): Micros {
    return this.#flights[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Delivers what has arrived. */
  deliver(now: Micros): void {
    while (this.nextArrival() <= now) {
      const flight = this.#pop();
      flight.to.receive(flight.frame, now);
    }
  }

  #fly(to: Receiver, frame: Uint8Array<ArrayBuffer>, due: Micros): void {
    const { faults } = this;
    if (this.isCut || this.#random.chance(faults.loss)) {
      this.lost++;
      return;
    }
    const isSpoilt = this.#random.chance(faults.corrupt);
    const late = this.#random.chance(faults.reorder) ? this.#random.fraction() * faults.lateMicros : 0;
    if (isSpoilt) this.corrupted++;
    if (late > 0) this.reordered++;
    this.#push({ at: due + late, order: this.#order++, to, frame: isSpoilt ? this.#spoil(frame) : frame });
  }

  /** Flips 1 … 8 bits behind the Ethernet header. The first octet, which says what the rest is, is left alone. */
  #spoil(frame: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const spoilt = frame.slice();
    for (let flips = 1 + this.#random.below(8); flips > 0; flips--) {
      const at = 15 + this.#random.below(frame.length - 15);
      spoilt[at] = spoilt[at]! ^ (1 << this.#random.below(8));
    }
    return spoilt;
  }

  #push(flight: Flight): void {
    const heap = this.#flights;
    let at = heap.length;
    heap.push(flight);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(flight, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = flight;
  }

  #pop(): Flight {
    const heap = this.#flights;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}
