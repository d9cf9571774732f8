/**
 * A long message leaves in packets, and each system call that reads another process's memory costs more than the copy of a page. So a packet is read together with those
 * behind it that leave in the same turn of its QP.
 */
import { thisTurn } from '../../rnic/memory/turn.ts';
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';
import { Arena } from '../linux/arena.ts';
import type { ProcessMemory } from './process-memory.ts';

const WINDOW_BYTES = 65_536;

const arena = new Arena(WINDOW_BYTES);
registerArena(arena.bytes);

/** Whose octets [from, to) the arena holds, and where its message goes on. */
let owner: ProcessMemory | null = null;
let from = 0;
let to = 0;
let next = 0;
let turn = 0;

/** As ProcessMemory.read, inside the memory. */
export function readOn(
  memory: ProcessMemory,
  offset: number,
  target: Uint8Array,
  at: number,
  length: number,
  ahead: number,
): boolean {
  const isNext = owner === memory && offset === next && turn === thisTurn();
  const isThere = isNext && offset + length <= to;
  next = offset + length;
  if (isThere || (ahead > 0 && fill(memory, offset, length + ahead))) {
    copy(arena.bytes, offset - from, target, at, length);
    return true;
  }
  owner = null;
  return memory.readOnly(offset, target, at, length);
}

/** Only what can be read as a whole. */
function fill(memory: ProcessMemory, offset: number, wanted: number): boolean {
  const bytes = Math.min(wanted, WINDOW_BYTES, memory.byteLength - offset);
  owner = null;
  if (!memory.readOnly(offset, arena.bytes, 0, bytes)) return false;
  owner = memory;
  from = offset;
  to = offset + bytes;
  turn = thisTurn();
  return true;
}
