/**
 * Naps: short sleeps that nobody ends, so that what comes meanwhile is done together. Network cards moderate their interrupts for the same reason.
 *
 * In a crowd a worker goes before programs. Woken by the first of many work requests it takes the core from the program that would have posted the others, finds one
 * thing to do, and sleeps again: half of its time, and of the program's, goes into waking. But who waits for one answer waits for the end of a nap, too. So naps are
 * tried now and then, where sleeps are short, and go on only while they find several times as much to do as sleeps did.
 */
import type { Micros } from '../wire/types.ts';

/** Where the worker is woken less often than twice in this time, waking costs little; nor is a nap longer than half of it. */
const SELDOM: Micros = 2000;
const LENGTH_MIN: Micros = 20;
/** A nap finds so many times as much as a sleep, and more than one packet and its acknowledgement. */
const GAIN = 3;
const PACKETS_MIN = 4;
/** Sleeps before a nap is tried; twice as many after each one in vain, up to the second. */
const TRIAL_SLEEPS = 16;
const TRIAL_SLEEPS_MAX = 1024;
/** So many naps, and a few sleeps tell again what those find. */
const NAPS_MAX = 1024;
const SLEEP_SHARE = 8;
const NAP_SHARE = 4;

export class Naps {
  /** What a sleep brings, and the time from one to the next: averages. */
  #packets = 0;
  #micros = 0;
  /** What a nap brings. */
  #found = 0;
  /** In a row; 0: it sleeps. */
  #naps = 0;
  #sleepsLeft = TRIAL_SLEEPS;
  #trialSleeps = TRIAL_SLEEPS;

  /** How long to nap; 0: sleep. To be asked each time that there is nothing to do. @param packets moved since the last time. @param micros since then. */
  next(packets: number, micros: Micros): Micros {
    if (this.#naps > 0) return this.#afterNap(packets);
    // Longer ago there was no crowd.
    if (micros < SELDOM) this.#packets += (packets - this.#packets) / SLEEP_SHARE;
    this.#micros += (Math.min(micros, SELDOM) - this.#micros) / SLEEP_SHARE;
    if (--this.#sleepsLeft > 0 || this.#micros > SELDOM / 2) return 0;
    this.#naps = 1;
    return this.#length;
  }

  #afterNap(packets: number): Micros {
    this.#found = this.#naps === 1 ? packets : this.#found + (packets - this.#found) / NAP_SHARE;
    const isWorthIt = this.#found >= Math.max(this.#packets * GAIN, PACKETS_MIN);
    if (isWorthIt && this.#naps++ < NAPS_MAX) {
      this.#trialSleeps = TRIAL_SLEEPS;
      return this.#length;
    }
    if (!isWorthIt) this.#trialSleeps = Math.min(this.#trialSleeps * 2, TRIAL_SLEEPS_MAX);
    this.#sleepsLeft = this.#trialSleeps;
    this.#naps = 0;
    return 0;
  }

  get #length(): Micros {
    return Math.max(LENGTH_MIN, this.#micros);
  }
}
