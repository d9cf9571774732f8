/** Copies octets between arenas. Allocates nothing: a `subarray` for each copy would be a view for each packet (bench/copy.ts). */
import { addressOfArena, boxed, koffi, registerArena } from './arena.ts';

/** Up to here a loop is done before native code is reached. */
const SHORT_BYTES = 48;

type Memmove = (target: number, source: number, length: number) => void;

/** Of a trial copy, and how often it is tried: a tenth of a millisecond in all. */
const TRIAL_BYTES = 65_536;
const TRIALS = 8;
/** So many times slower than JavaScript's own it is not worth its while. */
const TOO_SLOW = 2;

let memmove: Memmove | undefined = koffi
  ?.load('libc.so.6')
  .func('memmove', 'void', ['uintptr_t', 'uintptr_t', 'size_t']);
let isChosen = false;

/**
 * Takes JavaScript's own copy where the C library's is much slower: in an emulated machine, whose processor carries out the string instructions that the latter
 * likes octet by octet. Once for each thread; the clock is the caller's, in any unit.
 */
export function chooseCopy(clock: () => number): void {
  const native = memmove;
  if (isChosen || native === undefined) return;
  isChosen = true;
  const [from, to] = [0, 1].map(() => new Uint8Array(new SharedArrayBuffer(TRIAL_BYTES))) as [Uint8Array, Uint8Array];
  const [source, target] = [from, to].map((arena) => {
    registerArena(arena);
    return addressOfArena(arena)!;
  }) as [number, number];
  let [its, own] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let i = 0; i < TRIALS; i++) {
    const begin = clock();
    native(target, source, TRIAL_BYTES);
    const middle = clock();
    to.set(from);
    its = Math.min(its, middle - begin);
    own = Math.min(own, clock() - middle);
  }
  if (its > own * TOO_SLOW) memmove = undefined;
}

let lastSource: Uint8Array | undefined;
let lastSourceAddress = 0;
let lastTarget: Uint8Array | undefined;
let lastTargetAddress = 0;

/** Copies source[from …) to target[at …). Throws RangeError when either does not hold that many octets. */
export function copy(source: Uint8Array, from: number, target: Uint8Array, at: number, length: number): void {
  if (from < 0 || at < 0 || length < 0 || from + length > source.length || at + length > target.length) {
    throw new RangeError('a copy beyond the end of its memory');
  }
  if (length <= SHORT_BYTES) for (let i = 0; i < length; i++) target[at + i] = source[from + i]!;
  else if (memmove === undefined || !remember(source, target)) target.set(source.subarray(from, from + length), at);
  else memmove(boxed(lastTargetAddress + at), boxed(lastSourceAddress + from), length);
}

/** False when one of them was not registered. */
function remember(source: Uint8Array, target: Uint8Array): boolean {
  if (source !== lastSource) {
    const address = addressOfArena(source);
    if (address === undefined) return false;
    lastSource = source;
    lastSourceAddress = address;
  }
  if (target !== lastTarget) {
    const address = addressOfArena(target);
    if (address === undefined) return false;
    lastTarget = target;
    lastTargetAddress = address;
  }
  return true;
}
