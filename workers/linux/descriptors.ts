/**
 * The descriptors that a worker thread holds, written down in memory that its supervisor sees: a thread that dies without a word (process.exit, out of memory)
 * leaves its sockets open, for descriptors belong to the process. Who opens one here owns it until `closeOwned`.
 */
import * as Libc from './libc.ts';

const COUNT_MAX = 4096;

export const newLedger = (): SharedArrayBuffer => new SharedArrayBuffer(COUNT_MAX * 4);

/** Holds descriptor + 1; 0 is a free place. Each thread has its own module, so its own ledger. */
let ledger = new Int32Array(newLedger());

/** From now on this thread writes into this one. */
export function useLedger(memory: SharedArrayBuffer): void {
  ledger = new Int32Array(memory);
}

/** Writes a descriptor down. Past the limit it works unwritten. */
export function own(fd: number): number {
  const place = ledger.indexOf(0);
  if (place >= 0) ledger[place] = fd + 1;
  return fd;
}

export function closeOwned(fd: number): void {
  const place = ledger.indexOf(fd + 1);
  if (place >= 0) ledger[place] = 0;
  Libc.close(fd);
}

/** For the supervisor, when the thread has ended: closes what it left. */
export function closeAll(memory: SharedArrayBuffer): void {
  for (const entry of new Int32Array(memory)) if (entry > 0) Libc.close(entry - 1);
  new Int32Array(memory).fill(0);
}
