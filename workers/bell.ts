/**
 * How anybody wakes a worker without a system call while it is awake. Words in shared memory and an eventfd:
 *
 *     word 0    MAIL      1: a message waits in one of the worker's ports
 *     word 16   SLEEPING  1: the worker sleeps in ppoll, or is about to: ring the eventfd too
 *     word 32 … SUMMONED  one bit for each vRNIC: a doorbell page of it was rung
 *
 * The poster puts its message, sets MAIL, then looks at SLEEPING. The worker sets SLEEPING, then looks at MAIL once more, then sleeps: one of them sees the other.
 */
import type { Summons } from '../rnic/queue/doorbell.ts';
import { Arena } from './linux/arena.ts';
import * as Linux from './linux/constants.ts';
import { closeOwned, own } from './linux/descriptors.ts';
import * as Libc from './linux/libc.ts';

const MAIL = 0;
const SLEEPING = 16;
const SUMMONED = 32;
const SUMMONED_WORDS = 32;
const BELL_BYTES = 4 * (SUMMONED + SUMMONED_WORDS);
/** vRNICs of a worker that have a bit; the doorbells of others are looked at in every breath. */
export const SUMMONED_MAX = 32 * SUMMONED_WORDS;
const EVENT_BYTES = 8;

export const newBellMemory = (): SharedArrayBuffer => new SharedArrayBuffer(BELL_BYTES);
/** @throws SystemError */
export const newWakeDescriptor = (): number =>
  Libc.check(Libc.eventfd(0, Linux.EFD_NONBLOCK | Linux.EFD_CLOEXEC), 'eventfd');
/** One's own descriptor for the same eventfd, so that nobody's close can turn a wake-up into a write to a stranger's file. @throws SystemError */
export const duplicateDescriptor = (fd: number): number =>
  Libc.check(Libc.fcntl(fd, Linux.F_DUPFD_CLOEXEC, 0), 'dup of an eventfd');

/** The bit of vRNIC `index` of the worker whose bell this is. */
export const summonsOf = (memory: SharedArrayBuffer, index: number): Summons => ({
  words: new Int32Array(memory),
  word: SUMMONED + (index >> 5),
  mask: 1 << (index & 31),
  sleeping: SLEEPING,
});

export class Bell {
  readonly memory: SharedArrayBuffer;
  readonly fileDescriptor: number;
  readonly #words: Int32Array;
  readonly #event = new Arena(EVENT_BYTES);

  /** Takes the descriptor over. */
  constructor(memory: SharedArrayBuffer, fileDescriptor: number) {
    this.memory = memory;
    this.fileDescriptor = own(fileDescriptor);
    this.#words = new Int32Array(memory);
  }

  /** Anybody: a message was posted. */
  announceMail(): void {
    Atomics.store(this.#words, MAIL, 1);
    if (Atomics.load(this.#words, SLEEPING) !== 0) this.wake();
  }

  /** Anybody: writes to the eventfd. A full one (EAGAIN) wakes as well. */
  wake(): void {
    this.#event.view.setUint32(0, 1, true);
    Libc.write(this.fileDescriptor, this.#event.address, EVENT_BYTES);
  }

  /** The worker: whether there is mail; asks no twice. */
  takeMail(): boolean {
    return this.#words[MAIL] !== 0 && Atomics.exchange(this.#words, MAIL, 0) !== 0;
  }

  hasMail(): boolean {
    return Atomics.load(this.#words, MAIL) !== 0;
  }

  /** The worker: calls `visit` for each of the first `count` vRNICs of which a doorbell was rung since last time. */
  takeSummons(count: number, visit: (index: number) => void): void {
    for (let base = 0; base < count; base += 32) {
      const word = SUMMONED + (base >> 5);
      if (this.#words[word] === 0) continue;
      for (let bits = Atomics.exchange(this.#words, word, 0); bits !== 0; bits &= bits - 1)
        visit(base + 31 - Math.clz32(bits & -bits));
    }
  }

  /** Whether any of them was summoned. */
  hasSummons(count: number): boolean {
    for (let base = 0; base < count; base += 32)
      if (Atomics.load(this.#words, SUMMONED + (base >> 5)) !== 0) return true;
    return false;
  }

  setSleeping(asleep: boolean): void {
    Atomics.store(this.#words, SLEEPING, asleep ? 1 : 0);
  }

  /** The worker, awake again: empties the eventfd. */
  drain(): void {
    Libc.read(this.fileDescriptor, this.#event.address, EVENT_BYTES);
  }

  close(): void {
    closeOwned(this.fileDescriptor);
  }
}
