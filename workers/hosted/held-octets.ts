/** Octets of another process that were read before they are needed, and since when they are held: each system call that reads there costs more than the copy of a page. */
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';
import { Arena } from '../linux/arena.ts';
import type { ProcessMemory } from './process-memory.ts';

export class HeldOctets {
  readonly #arena: Arena;
  /** Whose octets [from, to) are held, since which look or turn. */
  #owner: ProcessMemory | null = null;
  #from = 0;
  #to = 0;
  #since = 0;

  /** @param bytes at most. */
  constructor(bytes: number) {
    this.#arena = new Arena(bytes);
    registerArena(this.#arena.bytes);
  }

  /** Copies them to target[at …). False when they are not held, or older. */
  copyTo(
    target: Uint8Array,
    at: number,
    memory: ProcessMemory,
    offset: number,
    length: number,
    since: number,
  ): boolean {
    const isHeld = this.#isOf(memory, since) && offset >= this.#from && offset + length <= this.#to;
    if (isHeld) copy(this.#arena.bytes, offset - this.#from, target, at, length);
    return isHeld;
  }

  /** Reads [from, to) of a memory, which lie in it. False, and nothing is held, when they cannot be read as a whole. */
  fill(memory: ProcessMemory, from: number, to: number, since: number): boolean {
    this.note(memory, from, since);
    if (!memory.readNow(from, this.#arena.bytes, 0, to - from)) return false;
    this.#to = to;
    return true;
  }

  /** Holds nothing, and remembers where somebody read. */
  note(memory: ProcessMemory, at: number, since: number): void {
    this.#owner = memory;
    this.#from = at;
    this.#to = at;
    this.#since = since;
  }

  /** Fewer octets than it can hold lie between this place and where it was filled, or somebody read. */
  isNear(memory: ProcessMemory, offset: number, since: number): boolean {
    return this.#isOf(memory, since) && Math.abs(offset - this.#from) < this.#arena.bytes.length;
  }

  #isOf(memory: ProcessMemory, since: number): boolean {
    return this.#owner === memory && this.#since === since;
  }
}
