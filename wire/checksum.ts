/** The Internet checksum: one's-complement sum of 16-bit words. RFC 1071, incremental form RFC 1624. */

/** Adds the words of octets `at` … `end` to a running sum; an odd last octet counts as the high half of a word. */
export function sum(view: DataView, at: number, end: number, start: number): number {
  let total = start;
  let i = at;
  for (; i + 1 < end; i += 2) total += view.getUint16(i);
  if (i < end) total += view.getUint8(i) << 8;
  return total;
}

/** Folds a running sum to its 16 bits, not complemented. */
export function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x1_0000) + Math.floor(folded / 0x1_0000);
  return folded;
}

/** The checksum of a running sum. */
export const finish = (total: number): number => ~fold(total) & 0xffff;

/** The checksum after one 16-bit word changed from `before` to `after` (RFC 1624, eqn. 3). */
export const update = (checksum: number, before: number, after: number): number =>
  ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff;
