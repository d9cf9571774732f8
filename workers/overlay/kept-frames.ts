/** Frames that wait, in order, for a member of a VTEP that has not polled yet: copied into an arena that is made when the first one waits. */
import type { ReceiveBurst } from '../../rnic/burst.ts';
import { registerArena } from '../../wire/arena.ts';
import { copy } from '../../wire/copy.ts';

const ARENA_BYTES = 1 << 20;
const COUNT_MAX = 4096;
const ALIGNMENT = 64;

const roundUp = (octets: number): number => (octets + ALIGNMENT - 1) & ~(ALIGNMENT - 1);

function newArena(): Uint8Array {
  const arena = new Uint8Array(new SharedArrayBuffer(ARENA_BYTES));
  registerArena(arena);
  return arena;
}

export class KeptFrames {
  #arena: Uint8Array | null = null;
  readonly #at = new Int32Array(COUNT_MAX);
  readonly #octets = new Int32Array(COUNT_MAX);
  readonly #source = new Int32Array(COUNT_MAX);
  #first = 0;
  #count = 0;
  /** Where the next frame goes. */
  #end = 0;

  get count(): number {
    return this.#count;
  }

  /** False when there is no room. */
  put(bytes: Uint8Array, from: number, to: number, source: number): boolean {
    this.#arena ??= newArena();
    const octets = to - from;
    const at = this.#roomFor(octets);
    if (at < 0 || this.#count === COUNT_MAX) return false;
    const slot = (this.#first + this.#count++) % COUNT_MAX;
    copy(bytes, from, this.#arena, at, octets);
    this.#at[slot] = at;
    this.#octets[slot] = octets;
    this.#source[slot] = source;
    this.#end = at + roundUp(octets);
    return true;
  }

  /** Moves as many as fit to `burst`. How many. */
  take(burst: ReceiveBurst): number {
    let at = 0;
    let taken = 0;
    while (taken < burst.at.length && this.#count > 0) {
      const octets = this.#octets[this.#first]!;
      if (at + octets > burst.bytes.length) break;
      copy(this.#arena!, this.#at[this.#first]!, burst.bytes, at, octets);
      burst.at[taken] = at;
      burst.frameBytes[taken] = octets;
      burst.segmentBytes[taken] = 0;
      burst.innerBytes[taken] = 0;
      burst.source[taken] = this.#source[this.#first]!;
      at += roundUp(octets);
      taken++;
      this.#first = (this.#first + 1) % COUNT_MAX;
      this.#count--;
    }
    burst.count = taken;
    return taken;
  }

  clear(): void {
    this.#arena = null;
    this.#count = 0;
  }

  /** The arena is a ring whose frames lie in one piece each; -1 when it is full. */
  #roomFor(octets: number): number {
    if (this.#count === 0) return octets <= ARENA_BYTES ? 0 : -1;
    const oldest = this.#at[this.#first]!;
    if (this.#end <= oldest) return this.#end + octets <= oldest ? this.#end : -1;
    if (this.#end + octets <= ARENA_BYTES) return this.#end;
    return octets <= oldest ? 0 : -1;
  }
}
