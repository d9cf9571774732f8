/**
 * Payload of one message that came in one super-frame goes to its program by one system call: to reach another process's memory costs more than to copy a page there.
 * What is put off is placed before anybody hears of it: with the last packet of its message, or when no more packets follow.
 */
import { Arena } from '../linux/arena.ts';

/** Whose octets are placed by address. */
interface Target {
  /** Writes `bytes` octets from `offset` on, which lie in `count` pieces (struct iovec). */
  place(offset: number, bytes: number, pieces: number, count: number): void;
}

/** Segments of a super-frame. */
const PIECES_MOST = 64;
const IOVEC_BYTES = 16;

const vector = new Arena(PIECES_MOST * IOVEC_BYTES);

let owner: Target | null = null;
let start = 0;
let bytes = 0;
let count = 0;

/** Octets at `address`, which stay there until they are placed; those that others put off, or that lie elsewhere, are placed now. */
export function putOff(target: Target, offset: number, address: number, length: number): void {
  if (owner !== target || offset !== start + bytes || count === PIECES_MOST) {
    placeRest();
    owner = target;
    start = offset;
  }
  vector.setPointer(count * IOVEC_BYTES, address);
  vector.setPointer(count * IOVEC_BYTES + 8, length);
  bytes += length;
  count++;
}

/** No more follow. */
export function placeRest(): void {
  const target = owner;
  if (target === null) return;
  owner = null;
  target.place(start, bytes, vector.address, count);
  bytes = 0;
  count = 0;
}

/** Something waits to be placed. */
export const hasRest = (): boolean => owner !== null;
