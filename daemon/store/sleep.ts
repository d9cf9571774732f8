/** How those who keep to a store wait before they try again: an argument of theirs, so that a simulation's time can be theirs. */
import { setTimeout } from 'node:timers/promises';

/** Resolves after so many milliseconds, and as soon as the signal aborts. */
export type Sleep = (millis: number, signal?: AbortSignal) => Promise<void>;

/** By the machine's clock. It keeps no process alive that has nothing else to do. */
export const sleep: Sleep = (millis, signal) =>
  setTimeout(millis, undefined, { ref: false, ...(signal && { signal }) }).catch(() => {});
