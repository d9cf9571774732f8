/** How the kernel's scheduler treats this thread, and what others want of its core. sched(7); schedstat: Linux, Documentation/scheduler/sched-stats.rst. */
import { closeSync, openSync } from 'node:fs';
import type { Micros } from '../../wire/types.ts';
import { Arena } from './arena.ts';
import * as Libc from './libc.ts';

const SYS_SCHED_SETATTR = process.arch === 'arm64' ? 274 : 314;
/** struct sched_attr (sched(7), sched_setattr(2)): size, policy (0: SCHED_OTHER), flags, nice, priority, slice (Linux 6.12; others pass it over), … */
const ATTRIBUTE_BYTES = 48;
const NICE_AT = 16;
const SLICE_AT = 24;
/** Of fifteen shares of a core that it and a program that polls both want, it has fourteen: the kernel's own RDMA would run before programs altogether. */
const PREFERRED_NICE = -12;
const PREFERRED_SLICE_NANOS = 100_000;
const TEXT_BYTES = 64;
const SPACE = 0x20;
const ZERO = 0x30;
const LOOK_MICROS = 20_000;
/** Of the time in which a thread wanted to run it may wait so much: a program that wakes now and then takes less, one that polls takes half. */
const CROWD_SHARE = 0.4;
/** So long a crowd is taken for granted; then it has to show again. */
const CROWD_MICROS = 500_000;

const scratch = new Arena(ATTRIBUTE_BYTES);

/**
 * Lets the calling thread run soon after it wakes, ahead of ordinary ones, or puts it back among them. It stays in the fair class: a real-time thread that always has
 * work keeps the others from their core for most of a second, and their peers' time-outs pass. False without CAP_SYS_NICE: it takes its turn like everybody.
 */
export function preferThisThread(isPreferred: boolean): boolean {
  const { view } = scratch;
  view.setUint32(0, ATTRIBUTE_BYTES, true);
  view.setInt32(NICE_AT, isPreferred ? PREFERRED_NICE : 0, true);
  // 0: the kernel's own.
  view.setUint32(SLICE_AT, isPreferred ? PREFERRED_SLICE_NANOS : 0, true);
  return Libc.syscall6(SYS_SCHED_SETATTR, 0, scratch.address, 0, 0, 0, 0) === 0;
}

/** Whether this thread has to wait for a core for long: then, polling in vain, it takes one from the program that it works for. */
export class Crowd {
  readonly #text = new Arena(TEXT_BYTES);
  /** Of the thread that made this; −1 where the kernel does not say: then there is no crowd. */
  readonly #fd = openSchedstat();
  #lookAt = 0;
  /** Nanoseconds of this thread on a core and in line for one, as last read; −1 before. */
  #ran = -1;
  #waited = 0;
  #isHere = false;

  isHere(now: Micros): boolean {
    if (now < this.#lookAt) return this.#isHere;
    const ran = this.#ran;
    const waited = this.#waited;
    this.#read();
    const waitedSince = this.#waited - waited;
    const wanted = this.#ran - ran + waitedSince;
    // Who goes before others does not see that they wait: the look that ends a crowd only begins to measure again.
    this.#isHere = !this.#isHere && ran >= 0 && waitedSince > wanted * CROWD_SHARE;
    this.#lookAt = now + (this.#isHere ? CROWD_MICROS : LOOK_MICROS);
    return this.#isHere;
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
  }

  /** `ran waited slices`, of which the first two. */
  #read(): void {
    if (this.#fd < 0) return;
    const length = Libc.pread(this.#fd, this.#text.address, TEXT_BYTES, 0);
    const { bytes } = this.#text;
    const end = Math.max(0, length);
    let at = 0;
    let number = 0;
    for (; at < end && bytes[at] !== SPACE; at++) number = number * 10 + bytes[at]! - ZERO;
    this.#ran = number;
    number = 0;
    for (at++; at < end && bytes[at] !== SPACE; at++) number = number * 10 + bytes[at]! - ZERO;
    this.#waited = number;
  }
}

/** Node closes what a thread has opened by it when the thread ends: closed by another way, it would be a stranger's descriptor of that number. */
function openSchedstat(): number {
  try {
    return openSync('/proc/thread-self/schedstat', 'r');
  } catch {
    return -1;
  }
}
