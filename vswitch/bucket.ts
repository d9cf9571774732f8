/**
 * A token bucket: so many bits a second, so many octets at once. Its state is one number in shared memory, the moment at which it was (or will be) empty, so that
 * workers that share it need no lock: spending moves the moment on, and a full bucket pulls it after the clock.
 */
import type { Micros } from '../wire/types.ts';

/** What a limit without a `burst` lets through at once: so much time's worth, for whoever sleeps between two sends wakes late. */
const BURST_MICROS: Micros = 10_000;
/** But a few packets of the largest MTU in any case. */
const BURST_BYTES_MIN = 16_384;
/** Whoever ran out sends so much time's worth next: while it does, other tenants' packets wait. But enough for a system call to be worth it, and one super-frame at most. */
const QUANTUM_MICROS: Micros = 64;
const QUANTUM_BYTES_MIN = 8192;
const QUANTUM_BYTES_MAX = 65_536;
/** Debts are shorter: one burst of frames at the lowest rate. */
const DEBT_MICROS = 2 ** 30;

/** Cells of a bucket's memory: the moment when it is empty, microseconds modulo 2^32, and the look in which somebody last asked for its level; 0: nobody has. */
const EMPTY_AT = 0;
const LOOKED_AT = 1;
const CELLS_BYTES = 8;
/** About a second. After so many of them without a question all debts are paid, and the first cell may have gone round. */
const LOOK_MICROS = 2 ** 20;
const SILENCE_LOOKS = DEBT_MICROS / LOOK_MICROS;
const lookAt = (now: Micros): number => (Math.floor(now / LOOK_MICROS) + 1) | 0;

/** Buckets of a tenant's meter: its limit, its guarantee, and its connections. */
export const TenantBucket = { LIMIT: 0, GUARANTEE: 1, CONNECTIONS: 2 } as const;

export const newMeter = (): SharedArrayBuffer => new SharedArrayBuffer(Object.keys(TenantBucket).length * CELLS_BYTES);

/** Octets that a limit of `rate` bits a second lets through at once when nobody says otherwise. */
export const burstOf = (rate: number): number => Math.max(BURST_BYTES_MIN, Math.ceil((rate * BURST_MICROS) / 8e6));

export class Bucket {
  /** Who waits for this bucket goes on when it holds so much. */
  readonly quantum: number;
  readonly #microsPerByte: number;
  readonly #burstMicros: number;
  readonly #cells: Int32Array;
  /** Part of a microsecond that was spent and is not yet in the cell. */
  #rest = 0;

  /**
   * Full at first, unless others have used its cells before.
   * @param meter shared by all who spend from it; `index` of its buckets.
   */
  constructor(rate: number, burst: number, now: Micros, meter = newMeter(), index = 0) {
    const quantum = Math.min(Math.max((rate * QUANTUM_MICROS) / 8e6, QUANTUM_BYTES_MIN), QUANTUM_BYTES_MAX);
    this.quantum = Math.min(quantum, burst / 4);
    this.#microsPerByte = 8e6 / rate;
    this.#burstMicros = Math.ceil(burst * this.#microsPerByte);
    this.#cells = new Int32Array(meter, index * CELLS_BYTES, 2);
    if (Atomics.compareExchange(this.#cells, LOOKED_AT, 0, lookAt(now)) === 0)
      Atomics.store(this.#cells, EMPTY_AT, (Math.floor(now) - this.#burstMicros) | 0);
  }

  /** Octets that may leave now; below zero when more have left than should. */
  level(now: Micros): number {
    const whole = Math.floor(now);
    const look = lookAt(now);
    const silence = (look - this.#cells[LOOKED_AT]!) | 0;
    const emptyAt = Atomics.load(this.#cells, EMPTY_AT);
    let micros = (whole - emptyAt) | 0;
    if (micros > this.#burstMicros || micros < -DEBT_MICROS || silence > SILENCE_LOOKS) {
      micros = this.#burstMicros;
      // Whoever spends meanwhile has looked too: next time.
      Atomics.compareExchange(this.#cells, EMPTY_AT, emptyAt, (whole - micros) | 0);
    }
    if (silence !== 0) Atomics.store(this.#cells, LOOKED_AT, look);
    return (Math.min(micros + now - whole, this.#burstMicros) - this.#rest) / this.#microsPerByte;
  }

  spend(bytes: number): void {
    const micros = bytes * this.#microsPerByte + this.#rest;
    const whole = Math.floor(micros);
    this.#rest = micros - whole;
    Atomics.add(this.#cells, EMPTY_AT, whole);
  }

  /** When it holds a quantum, if nobody else spends. */
  readyAt(now: Micros): Micros {
    return now + Math.max(0, (this.quantum - this.level(now)) * this.#microsPerByte);
  }
}
