/**
 * A long message leaves in packets, and each system call that reads another process's memory costs more than the copy of a page. The second packet of a QP's turn that goes on
 * where the last one ended is read together with those behind it, four times as much each time: what the turn does not come to is read in vain.
 */
import { thisTurn } from '../../rnic/memory/turn.ts';
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';
import { Arena } from '../linux/arena.ts';
import type { ProcessMemory } from './process-memory.ts';

const WINDOW_BYTES = 65_536;
const GROWTH = 4;

const arena = new Arena(WINDOW_BYTES);
registerArena(arena.bytes);

/** Whose octets [from, to) the arena holds, and where its message goes on. */
let owner: ProcessMemory | null = null;
let from = 0;
let to = 0;
let next = 0;
let turn = 0;
/** Octets that the last read of this turn brought. */
let reach = 0;

/** As ProcessMemory.read, inside the memory. */
export function readOn(
  memory: ProcessMemory,
  offset: number,
  target: Uint8Array,
  at: number,
  length: number,
  ahead: number,
): boolean {
  if (turn !== thisTurn()) {
    turn = thisTurn();
    owner = null;
    reach = 0;
  }
  const isNext = owner === memory && offset === next;
  const isThere = isNext && offset + length <= to;
  next = offset + length;
  if (isThere || (ahead > 0 && reach > 0 && fill(memory, offset, length, ahead))) {
    copy(arena.bytes, offset - from, target, at, length);
    return true;
  }
  owner = memory;
  to = 0;
  reach = Math.max(reach, length);
  return memory.readOnly(offset, target, at, length);
}

/** Only what can be read as a whole. */
function fill(memory: ProcessMemory, offset: number, length: number, ahead: number): boolean {
  reach = Math.min(reach * GROWTH, WINDOW_BYTES);
  const bytes = Math.min(length + ahead, reach, memory.byteLength - offset);
  to = 0;
  if (bytes <= length || !memory.readOnly(offset, arena.bytes, 0, bytes)) return false;
  owner = memory;
  from = offset;
  to = offset + bytes;
  return true;
}
