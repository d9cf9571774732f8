/**
 * The descriptors and mappings that a worker thread holds, written down in memory that its supervisor sees: a thread that dies without a word (process.exit, out of
 * memory) leaves its sockets open and its files mapped, for they belong to the process. Who opens one here owns it until `closeOwned`.
 *
 *     word 0 … 4095     descriptor + 1; 0 is a free place
 *     word 4096         1 once the thread has ended
 *     then              mappings: address and octets, as doubles; 0 is a free place
 */
import * as Libc from './libc.ts';

const COUNT_MAX = 4096;
const ENDED = COUNT_MAX;
const MAPPINGS_AT = 4 * (COUNT_MAX + 2);
const MAPPINGS_MAX = 16_384;

export const newLedger = (): SharedArrayBuffer => new SharedArrayBuffer(MAPPINGS_AT + 16 * MAPPINGS_MAX);

/** Each thread has its own module, so its own ledger. */
let ledger = new Int32Array(newLedger());
let mappings = new Float64Array(ledger.buffer, MAPPINGS_AT);
let mappingCount = 0;

/** From now on this thread writes into this one. */
export function useLedger(memory: SharedArrayBuffer): void {
  ledger = new Int32Array(memory);
  mappings = new Float64Array(memory, MAPPINGS_AT);
  mappingCount = 0;
}

/** Writes a descriptor down, unless `ownFor` has. Past the limit it works unwritten. */
export function own(fd: number): number {
  if (!ledger.includes(fd + 1)) claim(ledger, fd);
  return fd;
}

export function closeOwned(fd: number): void {
  const place = ledger.indexOf(fd + 1);
  if (place >= 0) Atomics.store(ledger, place, 0);
  Libc.close(fd);
}

/** Sends a descriptor to the thread of this ledger: it is closed with the thread even if it never gets there, and at once if the thread has ended. */
export function ownFor(memory: SharedArrayBuffer, fd: number): void {
  const words = new Int32Array(memory);
  const place = claim(words, fd);
  // Who closes it is who takes it out: us, or the supervisor that has come upon it meanwhile.
  if (Atomics.load(words, ENDED) !== 0 && place >= 0 && Atomics.compareExchange(words, place, fd + 1, 0) === fd + 1)
    Libc.close(fd);
}

/** A mapping that is never taken away while the thread lives. */
export function ownMapping(address: number, byteLength: number): void {
  if (mappingCount === MAPPINGS_MAX) return;
  mappings[2 * mappingCount] = address;
  mappings[2 * mappingCount + 1] = byteLength;
  mappingCount++;
}

/** For the supervisor, when the thread has ended: closes what it left, and unmaps what no view shows any more. */
export function closeAll(memory: SharedArrayBuffer): void {
  const words = new Int32Array(memory);
  Atomics.store(words, ENDED, 1);
  for (let place = 0; place < COUNT_MAX; place++) {
    const entry = Atomics.exchange(words, place, 0);
    if (entry > 0) Libc.close(entry - 1);
  }
  const left = new Float64Array(memory, MAPPINGS_AT);
  for (let at = 0; at < left.length && left[at] !== 0; at += 2) Libc.munmap(left[at]!, left[at + 1]!);
  left.fill(0);
}

/** Where it stands now; -1 when there is no room. */
function claim(words: Int32Array, fd: number): number {
  for (let place = words.indexOf(0); place >= 0 && place < COUNT_MAX; place = words.indexOf(0, place + 1))
    if (Atomics.compareExchange(words, place, 0, fd + 1) === 0) return place;
  return -1;
}
