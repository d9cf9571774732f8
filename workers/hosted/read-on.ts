/**
 * A long message leaves in packets, and each system call that reads another process's memory costs more than the copy of a page. So a packet is read together with those
 * behind it that leave in the same turn of its QP.
 */
import { thisTurn } from '../../rnic/memory/turn.ts';
import { HeldOctets } from './held-octets.ts';
import type { ProcessMemory } from './process-memory.ts';

const WINDOW_BYTES = 65_536;
const DIRECT_BYTES = WINDOW_BYTES / 2;

const held = new HeldOctets(WINDOW_BYTES);
/** Where the message goes on that was read last. */
let next = 0;

/** As ProcessMemory.read, inside the memory. */
export function readOn(
  memory: ProcessMemory,
  offset: number,
  target: Uint8Array,
  at: number,
  length: number,
  ahead: number,
): boolean {
  const turn = thisTurn();
  const isNext = offset === next;
  next = offset + length;
  // Half a window and more is read where it goes: to copy it once more would cost more than the call.
  if (length > DIRECT_BYTES) return memory.readNow(offset, target, at, length);
  if (isNext && held.copyTo(target, at, memory, offset, length, turn)) return true;
  const end = Math.min(next + ahead, offset + WINDOW_BYTES, memory.byteLength);
  if (ahead > 0 && held.fill(memory, offset, end, turn)) return held.copyTo(target, at, memory, offset, length, turn);
  held.note(memory, offset, turn);
  return memory.readNow(offset, target, at, length);
}
