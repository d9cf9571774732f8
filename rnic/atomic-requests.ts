/** Requests that change eight octets at once, executed where the last check of a key has found them. The old value goes to `original` (low, high). */
import * as AtomicEth from '../wire/atomic-eth.ts';
import * as Bth from '../wire/bth.ts';
import * as Opcode from '../wire/opcode.ts';
import type { Regions } from './core.ts';

/** A word that changes faster than this is not being written by one reader at a time. */
const ATOMIC_WRITE_TRIES = 64;

/** False when the memory is gone. */
export function executeAtomic(
  { found, offset }: Regions,
  view: DataView,
  bthAt: number,
  original: Uint32Array,
): boolean {
  const at = bthAt + Bth.BYTES;
  const { memory } = found!;
  const swapHi = AtomicEth.swapOrAddHi(view, at);
  const swapLo = AtomicEth.swapOrAddLo(view, at);
  if (Bth.opcode(view, bthAt) === Opcode.RC_FETCH_ADD) return memory.fetchAdd(offset, swapHi, swapLo, original);
  const compareHi = AtomicEth.compareHi(view, at);
  const compareLo = AtomicEth.compareLo(view, at);
  return memory.compareSwap(offset, compareHi, compareLo, swapHi, swapLo, original);
}

/** Swapped in by comparing with what stands there until nobody came between. False when somebody always did, or the memory is gone. */
export function executeAtomicWrite(
  { found, offset }: Regions,
  view: DataView,
  payloadAt: number,
  original: Uint32Array,
): boolean {
  const { memory } = found!;
  const lo = view.getUint32(payloadAt, true);
  const hi = view.getUint32(payloadAt + 4, true);
  if (!memory.fetchAdd(offset, 0, 0, original)) return false;
  for (let tries = 0; tries < ATOMIC_WRITE_TRIES; tries++) {
    const beforeLo = original[0]!;
    const beforeHi = original[1]!;
    if (!memory.compareSwap(offset, beforeHi, beforeLo, hi, lo, original)) return false;
    if (original[0] === beforeLo && original[1] === beforeHi) return true;
  }
  return false;
}
