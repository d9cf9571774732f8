/**
 * Payload that came in one super-frame goes to its program by one system call: to reach another process's memory costs more than to copy a page there. What is put off is
 * placed before anybody hears of it (rnic/memory/put-off.ts): when no more packets follow, or with the one that nothing follows.
 */
import { addPutOff, type Loser, losePutOff, putOffBytes } from '../../rnic/memory/put-off.ts';
import { Arena } from '../linux/arena.ts';
import type { Process } from './process.ts';

/** Segments of a super-frame. */
const PIECES_MOST = 64;
const IOVEC_BYTES = 16;

/** Pieces of ours, and where they go: as many, or fewer where some go behind one another. */
const local = new Arena(PIECES_MOST * IOVEC_BYTES);
const remote = new Arena(PIECES_MOST * IOVEC_BYTES);

let owner: Process | null = null;
/** Whose memory the pieces go to. */
const losers: Loser[] = [];
let count = 0;
let remotes = 0;
let bytes = 0;
/** Where the last remote piece ends. */
let next = 0;

/** Octets at `address`, which stay there until they are placed at `to` in the process; those that go to another one are placed now. */
export function putOff(loser: Loser, process: Process, to: number, address: number, length: number): void {
  if (owner !== process || count === PIECES_MOST) {
    placeRest();
    owner = process;
  }
  setPiece(local, count, address, length);
  if (remotes > 0 && to === next) {
    const lengthAt = (remotes - 1) * IOVEC_BYTES + 8;
    remote.view.setUint32(lengthAt, remote.view.getUint32(lengthAt, true) + length, true);
  } else setPiece(remote, remotes++, to, length);
  next = to + length;
  losers[count++] = loser;
  bytes += length;
  addPutOff(length);
}

/** No more follow. */
export function placeRest(): void {
  const process = owner;
  if (process === null) return;
  const placed = process.writePieces(local.address, count, remote.address, remotes);
  if (placed < bytes) lose(placed);
  owner = null;
  count = 0;
  remotes = 0;
  bytes = 0;
}

/** Something waits to be placed. */
export const hasRest = (): boolean => owner !== null;

/** Every piece that is not wholly placed. */
function lose(placed: number): void {
  const start = putOffBytes() - bytes;
  let end = 0;
  for (let i = 0; i < count; i++) {
    end += local.view.getUint32(i * IOVEC_BYTES + 8, true);
    if (end > placed) losePutOff(start + placed, losers[i]!);
  }
}

function setPiece(pieces: Arena, index: number, address: number, length: number): void {
  pieces.setPointer(index * IOVEC_BYTES, address);
  pieces.setPointer(index * IOVEC_BYTES + 8, length);
}
