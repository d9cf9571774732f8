/** CRC-32 in JavaScript, eight octets a step: for runs too short to pay for a call out of it, and for headers in registers. */

const POLYNOMIAL = 0xedb8_8320;
const SLICES = 8;

/** Eight tables in one: entry 256·n + octet is the CRC of that octet with n zero octets behind it. */
const TABLE = new Int32Array(256 * SLICES);
for (let octet = 0; octet < 256; octet++) {
  let crc = octet;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  TABLE[octet] = crc;
}
for (let i = 256; i < TABLE.length; i++) {
  const shorter = TABLE[i - 256] as number;
  TABLE[i] = (shorter >>> 8) ^ (TABLE[shorter & 0xff] as number);
}

/** Runs the state over eight octets, given as two little-endian words. The state is a CRC's complement. */
export function step8(state: number, first: number, second: number): number {
  const word = state ^ first;
  return (
    (TABLE[1792 + (word & 0xff)] as number) ^
    (TABLE[1536 + ((word >>> 8) & 0xff)] as number) ^
    (TABLE[1280 + ((word >>> 16) & 0xff)] as number) ^
    (TABLE[1024 + (word >>> 24)] as number) ^
    (TABLE[768 + (second & 0xff)] as number) ^
    (TABLE[512 + ((second >>> 8) & 0xff)] as number) ^
    (TABLE[256 + ((second >>> 16) & 0xff)] as number) ^
    (TABLE[second >>> 24] as number)
  );
}

/** Runs the state over four octets, given as one little-endian word. */
export function step4(state: number, first: number): number {
  const word = state ^ first;
  return (
    (TABLE[768 + (word & 0xff)] as number) ^
    (TABLE[512 + ((word >>> 8) & 0xff)] as number) ^
    (TABLE[256 + ((word >>> 16) & 0xff)] as number) ^
    (TABLE[word >>> 24] as number)
  );
}

const word = (bytes: Uint8Array, at: number): number =>
  (bytes[at] as number) |
  ((bytes[at + 1] as number) << 8) |
  ((bytes[at + 2] as number) << 16) |
  ((bytes[at + 3] as number) << 24);

/** CRC-32 of octets `start` … `end`, going on from `seed` (0 at the beginning, or the CRC so far). */
export function crc32(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let state = ~seed;
  let at = start;
  for (; at + 8 <= end; at += 8) state = step8(state, word(bytes, at), word(bytes, at + 4));
  if (at + 4 <= end) {
    state = step4(state, word(bytes, at));
    at += 4;
  }
  for (; at < end; at++) state = (state >>> 8) ^ (TABLE[(state ^ (bytes[at] as number)) & 0xff] as number);
  return ~state;
}
