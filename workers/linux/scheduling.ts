/** How the kernel's scheduler sees a worker, and how much it has to do. sched(7), proc_loadavg(5). */

import { openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Arena } from './arena.ts';
import { closeOwned, own } from './descriptors.ts';
import * as Libc from './libc.ts';

const SCHED_RR = 2;
const PRIORITY = 1;
const TEXT_BYTES = 128;
const LOOK_MICROS = 2000;
const SPACE = 0x20;
const SLASH = 0x2f;
const ZERO = 0x30;

const scratch = new Arena(16);

/**
 * Puts the calling thread before ordinary ones. A program that polls its CQ would otherwise keep the worker from its core for a scheduler's slice, some milliseconds;
 * a worker sleeps as soon as it has nothing to do. False without CAP_SYS_NICE: then it takes its turn like everybody.
 */
export function preferThisThread(): boolean {
  scratch.view.setInt32(0, PRIORITY, true);
  return Libc.schedSetscheduler(0, SCHED_RR, scratch.address) === 0;
}

/** Whether more threads want to run than there are cores: then a worker that polls in vain takes a core from the program it works for. */
export class RunQueue {
  readonly #text = new Arena(TEXT_BYTES);
  readonly #cores = availableParallelism();
  #fd: number | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #isCrowded = false;

  isCrowded(now: number): boolean {
    if (now - this.#lookedAt < LOOK_MICROS) return this.#isCrowded;
    this.#lookedAt = now;
    this.#isCrowded = this.#running() > this.#cores;
    return this.#isCrowded;
  }

  close(): void {
    if (this.#fd !== null) closeOwned(this.#fd);
    this.#fd = null;
  }

  /** The fourth field, `running/all`. */
  #running(): number {
    this.#fd ??= own(openSync('/proc/loadavg', 'r'));
    const length = Libc.pread(this.#fd, this.#text.address, TEXT_BYTES, 0);
    const { bytes } = this.#text;
    let running = 0;
    for (let at = 0, field = 0; at < length && bytes[at] !== SLASH; at++) {
      if (bytes[at] === SPACE) field++;
      else if (field === 3) running = running * 10 + bytes[at]! - ZERO;
    }
    return running;
  }
}
