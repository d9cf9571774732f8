/** The libraries that can compute CRC-32, best first, each behind one signature. docs/adr/0004-icrc-library.md has the figures. */
import { createRequire } from 'node:module';
import { addressOfArena, boxed, koffi } from './arena.ts';
import * as Slice from './crc32-slice.ts';

/**
 * CRC-32 of octets `start` … `end`, going on from `seed`: 0 at the beginning, or the CRC so far.
 * CRCs are signed 32-bit numbers, which V8 keeps out of the heap; `>>> 0` gives the usual spelling.
 */
export type Crc32 = (bytes: Uint8Array, start: number, end: number, seed: number) => number;

export interface Backend {
  readonly name: string;
  /** Loads the library. Throws when this machine has not got it. */
  readonly load: () => Crc32;
}

const require = createRequire(import.meta.url);
const LIBDEFLATE = 'libdeflate.so.0';

function loadLibdeflate(): Crc32 {
  if (koffi === undefined) throw new Error('no native calls on this machine');
  // The pointer is declared a number: an address plus an offset costs nothing to make, a subarray 65 ns.
  const native = koffi.load(LIBDEFLATE).func('libdeflate_crc32', 'int32_t', ['int32_t', 'uintptr_t', 'size_t']);
  const unannounced = loadZlib();
  let lastBytes: Uint8Array | undefined;
  let lastAddress = 0;
  return (bytes, start, end, seed) => {
    // Behind an address nobody checks bounds but us.
    if (start < 0 || end < start || end > bytes.length) throw new RangeError('CRC-32 beyond the end of its memory');
    if (bytes !== lastBytes) {
      const address = addressOfArena(bytes);
      if (address === undefined) return unannounced(bytes, start, end, seed);
      lastBytes = bytes;
      lastAddress = address;
    }
    return native(seed, boxed(lastAddress + start), end - start);
  };
}

function loadNodeRs(): Crc32 {
  const native = (require('@node-rs/crc32') as typeof import('@node-rs/crc32')).crc32;
  return (bytes, start, end, seed) => native(bytes.subarray(start, end), seed >>> 0) | 0;
}

function loadZlib(): Crc32 {
  const native = (require('node:zlib') as typeof import('node:zlib')).crc32;
  return (bytes, start, end, seed) => native(bytes.subarray(start, end), seed >>> 0) | 0;
}

function loadCrc32(): Crc32 {
  const native = (require('crc-32') as typeof import('crc-32')).buf;
  return (bytes, start, end, seed) => native(bytes.subarray(start, end), seed);
}

export const BACKENDS: readonly Backend[] = [
  { name: 'libdeflate', load: loadLibdeflate },
  { name: '@node-rs/crc32', load: loadNodeRs },
  { name: 'zlib', load: loadZlib },
  { name: 'crc-32', load: loadCrc32 },
  { name: 'slice-by-8', load: () => Slice.crc32 },
];
