/** Where large, long-lived arrays lie in memory: with an address, native code can work on a part of one without a view being made for it. */
import { createRequire } from 'node:module';

type Koffi = typeof import('koffi');

function load(): Koffi | undefined {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch {
    return undefined; // no prebuilt library for this machine: JavaScript does it all
  }
}

/** The native calls, where this machine has them. */
export const koffi = load();

const addresses = new WeakMap<Uint8Array, number>();

/**
 * Makes CRCs and copies of a large, long-lived array cheap. Its octets must stay where they are: a SharedArrayBuffer's,
 * a mapping's or an ArrayBuffer's that is never transferred nor resized. Needed once per array object and thread.
 */
export function registerArena(bytes: Uint8Array): void {
  if (koffi !== undefined && bytes.length > 0) addresses.set(bytes, Number(koffi.address(bytes)));
}

/** Address of the array's first octet; undefined for one that was not registered. */
export const addressOfArena = (bytes: Uint8Array): number | undefined => addresses.get(bytes);

/**
 * Addresses as V8 keeps them on its heap, by a hash: packets lie in the same places again and again, 4096 octets apart as often as not. The first place holds no number
 * and is not used: so the array holds objects, and reading one out of it makes none.
 */
const BOXES: unknown[] = [null];
const BOX_BITS = 16;
const BOX_COUNT = 1 << BOX_BITS;
/** 2^32 divided by the golden ratio. */
const SPREAD = 0x9e37_79b1;
while (BOXES.length <= BOX_COUNT) BOXES.push(Number.MAX_SAFE_INTEGER);

/**
 * The same number, as an object that exists already where possible. An address is too large for a small integer, so each that is handed to native code would be a
 * new object on the heap, some for every packet.
 */
export function boxed(address: number): number {
  const place = (Math.imul(address, SPREAD) >>> (32 - BOX_BITS)) + 1;
  const known = BOXES[place] as number;
  if (known === address) return known;
  BOXES[place] = address;
  return address;
}
