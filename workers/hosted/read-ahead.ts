/**
 * Payloads of one packet that one program posts lie close together more often than not, or are the same octets again, and each system call that reads another process's
 * memory costs more than a page of it does, under emulation many times as much. The second one in a row that lies near the first is read with all that surrounds it;
 * those that follow come from there, as long as no work request has been looked for since (rnic/memory/posted.ts).
 */
import { lastLook } from '../../rnic/memory/posted.ts';
import { HeldOctets } from './held-octets.ts';
import type { ProcessMemory } from './process-memory.ts';

const WINDOW_BYTES = 16_384;
/** Few longer ones would lie in the window: each is worth a call of its own. */
export const SMALL_BYTES = 4096;

const held = new HeldOctets(WINDOW_BYTES);

/** As ProcessMemory.read, for at most SMALL_BYTES inside the memory. */
export function readNear(
  memory: ProcessMemory,
  offset: number,
  target: Uint8Array,
  at: number,
  length: number,
): boolean {
  const look = lastLook();
  if (held.copyTo(target, at, memory, offset, length, look)) return true;
  if (held.isNear(memory, offset, look) && fillAround(memory, offset, length, look))
    return held.copyTo(target, at, memory, offset, length, look);
  held.note(memory, offset, look);
  return memory.readNow(offset, target, at, length);
}

/** Within the region, and only where all of it is in the window. */
function fillAround(memory: ProcessMemory, offset: number, length: number, look: number): boolean {
  const start = offset - (offset % WINDOW_BYTES);
  const end = Math.min(start + WINDOW_BYTES, memory.byteLength);
  return offset + length <= end && held.fill(memory, start, end, look);
}
