/**
 * Small payloads of one program lie close together more often than not, and each system call that reads another process's memory costs more than a page of it does.
 * The second one in a row that lies near the first is read with all that surrounds it; those that follow come from there, as long as no work request has been looked
 * for since (rnic/memory/posted.ts).
 */
import { lastLook } from '../../rnic/memory/posted.ts';
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';
import { Arena } from '../linux/arena.ts';
import type { ProcessMemory } from './process-memory.ts';

const WINDOW_BYTES = 4096;
/** A longer one is worth a call of its own. */
export const SMALL_BYTES = 512;

const arena = new Arena(WINDOW_BYTES);
registerArena(arena.bytes);

/** Whose octets [from, to) the arena holds; when `to` is 0, where the last single read was. */
let owner: ProcessMemory | null = null;
let from = 0;
let to = 0;
let look = 0;

/** As ProcessMemory.read, for at most SMALL_BYTES inside the memory. */
export function readNear(
  memory: ProcessMemory,
  offset: number,
  target: Uint8Array,
  at: number,
  length: number,
): boolean {
  const isFresh = owner === memory && look === lastLook();
  const isThere = isFresh && offset >= from && offset + length <= to;
  const isNear = isFresh && Math.abs(offset - from) < WINDOW_BYTES;
  if (isThere || (isNear && fill(memory, offset, length))) {
    copy(arena.bytes, offset - from, target, at, length);
    return true;
  }
  owner = memory;
  from = offset;
  to = 0;
  look = lastLook();
  return memory.read(offset, target, at, length);
}

/** Within the region, and only what can be read as a whole. */
function fill(memory: ProcessMemory, offset: number, length: number): boolean {
  const start = offset - (offset % WINDOW_BYTES);
  const end = Math.min(start + WINDOW_BYTES, memory.byteLength);
  if (offset + length > end) return false;
  to = 0;
  if (!memory.read(start, arena.bytes, 0, end - start)) return false;
  from = start;
  to = end;
  return true;
}
