/** CRC-32 by the best library that this machine has and that passes its self-test: see `crc32-backends.ts`. */
import { registerArena } from './arena.ts';
import { BACKENDS, type Backend, type Crc32 } from './crc32-backends.ts';
import * as Slice from './crc32-slice.ts';

export { registerArena };

/** Below this many octets JavaScript is done before a library is reached (bench/crc32.ts). */
const SHORT_BYTES = 48;
/** The check value of CRC-32: the CRC of the digits 1 to 9. */
const CHECK = 0xcbf4_3926 | 0;

/** Throws when a function does not compute CRC-32: at an offset, in two parts, over shared memory and beyond `SHORT_BYTES`. */
export function selfTest(crc32: Crc32): void {
  const bytes = new Uint8Array(new SharedArrayBuffer(4096));
  registerArena(bytes);
  for (let i = 0; i < 9; i++) bytes[100 + i] = 0x31 + i;
  if (crc32(bytes, 100, 109, 0) !== CHECK) throw new Error('wrong CRC-32 of the check string');
  for (let i = 200; i < 4000; i++) bytes[i] = i * 7;
  const whole = Slice.crc32(bytes, 200, 4000, 0);
  if (crc32(bytes, 1001, 4000, crc32(bytes, 200, 1001, 0)) !== whole) throw new Error('wrong CRC-32 in two parts');
}

/** The first backend that loads and passes. Throws with every reason when none does. */
export function choose(backends: readonly Backend[]): { readonly name: string; readonly crc32: Crc32 } {
  const reasons: string[] = [];
  for (const { name, load } of backends) {
    try {
      const crc32 = load();
      selfTest(crc32);
      return { name, crc32 };
    } catch (error) {
      reasons.push(`${name}: ${(error as Error).message}`);
    }
  }
  throw new Error(`no CRC-32 library works here: ${reasons.join('; ')}`);
}

const chosen = choose(BACKENDS);
const long = chosen.crc32;

/** The library in use, for `urnic devinfo` and bug reports. */
export const backendName = (): string => chosen.name;

/** CRC-32 of octets `start` … `end`, going on from `seed` (0 at the beginning, or the CRC so far). Signed. */
export const crc32: Crc32 = (bytes, start, end, seed) =>
  end - start < SHORT_BYTES ? Slice.crc32(bytes, start, end, seed) : long(bytes, start, end, seed);
