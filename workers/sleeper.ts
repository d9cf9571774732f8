/**
 * How a thread sleeps: ppoll on its ports and its bell until something comes or a deadline passes.
 *
 * A timeout of ppoll's own would be set before each sleep and taken back after it, which in a virtual machine costs 3 µs of every wake-up. Instead a timerfd is among
 * the descriptors and stays set over many sleeps, as long as it goes off in time. It may go off early: who sleeps looks at the clock anyway.
 *
 *     memory:   0 itimerspec: interval, value (4 × 64 bits, seconds and nanoseconds)      32 timespec      48 pollfd …
 */
import type { Micros } from '../wire/types.ts';
import { clock } from './clock.ts';
import { Arena } from './linux/arena.ts';
import * as Linux from './linux/constants.ts';
import { closeOwned, own } from './linux/descriptors.ts';
import * as Libc from './linux/libc.ts';
import { clearError } from './linux/socket.ts';

const VALUE_AT = 16;
const TIMEOUT_AT = 32;
const POLLFDS_AT = 48;
const POLLFD_BYTES = 8;
/** Descriptors above stand in the set as often as they are added. */
const DESCRIPTORS = 8192;

export class Sleeper {
  #memory = new Arena(POLLFDS_AT + 16 * POLLFD_BYTES);
  #count = 0;
  /** By descriptor: its number in the set, if it is in it. Ports share sockets. */
  readonly #places = new Int32Array(DESCRIPTORS);
  /** −1: none yet; −2: there is none to be had, and ppoll's own timeout has to do. */
  #timerFd = -1;
  /** When the timer goes off, or went off. */
  #timerAt: Micros = 0;

  /** Begins a new set of descriptors. */
  reset(): void {
    this.#count = 0;
  }

  /** @param forRoom also wakes when the socket takes frames again. */
  add(fileDescriptor: number, forRoom: boolean): void {
    // Ports without one.
    if (fileDescriptor < 0) return;
    const events = forRoom ? Linux.POLLIN | Linux.POLLOUT : Linux.POLLIN;
    if (this.#has(fileDescriptor)) return this.#widen(fileDescriptor, events);
    const at = POLLFDS_AT + this.#count * POLLFD_BYTES;
    if (at + POLLFD_BYTES > this.#memory.bytes.length) this.#grow();
    const { view } = this.#memory;
    view.setInt32(at, fileDescriptor, true);
    view.setInt16(at + 4, events, true);
    view.setInt16(at + 6, 0, true);
    this.#places[fileDescriptor] = this.#count++;
  }

  /** @param micros at most, 0 or more; Infinity: until something comes. */
  sleep(micros: Micros): void {
    const hasTimer = micros !== Number.POSITIVE_INFINITY && this.#setTimer(micros);
    if (hasTimer) this.add(this.#timerFd, false);
    const isBare = hasTimer || micros === Number.POSITIVE_INFINITY;
    if (!isBare) this.#write(TIMEOUT_AT, micros);
    const { address } = this.#memory;
    Libc.ppoll(address + POLLFDS_AT, this.#count, isBare ? 0 : address + TIMEOUT_AT, 0);
  }

  /** Nothing ends it. @param micros more than 0. */
  nap(micros: Micros): void {
    this.#write(TIMEOUT_AT, micros);
    Libc.ppoll(0, 0, this.#memory.address + TIMEOUT_AT, 0);
  }

  /** A packet socket whose interface went down has an error until somebody asks for it, and nobody would sleep on it again: to be called now and then. */
  clearErrors(): void {
    const { view } = this.#memory;
    for (let i = 0; i < this.#count; i++) {
      const at = POLLFDS_AT + i * POLLFD_BYTES;
      if ((view.getInt16(at + 6, true) & Linux.POLLERR) !== 0) clearError(view.getInt32(at, true));
    }
  }

  close(): void {
    if (this.#timerFd >= 0) closeOwned(this.#timerFd);
    this.#timerFd = -2;
  }

  #has(fileDescriptor: number): boolean {
    const place = this.#places[fileDescriptor] ?? this.#count;
    if (place >= this.#count) return false;
    return this.#memory.view.getInt32(POLLFDS_AT + place * POLLFD_BYTES, true) === fileDescriptor;
  }

  #widen(fileDescriptor: number, events: number): void {
    const { view } = this.#memory;
    const at = POLLFDS_AT + this.#places[fileDescriptor]! * POLLFD_BYTES + 4;
    view.setInt16(at, view.getInt16(at, true) | events, true);
  }

  /** The timer goes off in time, or earlier. False when there is none. */
  #setTimer(micros: Micros): boolean {
    if (this.#timerFd === -1) this.#open();
    if (this.#timerFd < 0) return false;
    const now = clock();
    if (this.#timerAt > now && this.#timerAt <= now + micros) return true;
    this.#timerAt = now + micros;
    // A value of 0 would stop the timer.
    this.#write(VALUE_AT, Math.max(1, micros));
    return Libc.timerfdSettime(this.#timerFd, 0, this.#memory.address, 0) === 0;
  }

  #open(): void {
    const fd = Libc.timerfdCreate(Linux.CLOCK_MONOTONIC, Linux.TFD_NONBLOCK | Linux.TFD_CLOEXEC);
    this.#timerFd = fd < 0 ? -2 : own(fd);
  }

  #write(at: number, micros: Micros): void {
    const { view } = this.#memory;
    const seconds = Math.floor(micros / 1e6);
    view.setUint32(at, seconds, true);
    view.setUint32(at + 4, 0, true);
    view.setUint32(at + 8, Math.floor((micros - seconds * 1e6) * 1000), true);
    view.setUint32(at + 12, 0, true);
  }

  #grow(): void {
    const larger = new Arena(this.#memory.bytes.length * 2);
    larger.bytes.set(this.#memory.bytes);
    this.#memory = larger;
  }
}
