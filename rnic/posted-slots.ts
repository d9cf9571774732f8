/** The send ring as its sender reads it: the slot that is taken next, and how far work requests were seen to be posted. */
import { lookAgain } from './memory/posted.ts';
import type { Ring } from './queue/ring.ts';

export class PostedSlots {
  /** The slot that is taken next. */
  next = 0;
  /** Behind the last slot that was seen to be posted. */
  #end = 0;

  /** All up to here is gone. */
  restart(slot: number): void {
    this.next = slot;
    this.#end = slot;
  }

  /** Whether slot `next` holds a work request. */
  has(sq: Ring): boolean {
    if (this.next !== this.#end) return true;
    this.#end = sq.producer();
    if (this.next === this.#end) return false;
    lookAgain();
    return true;
  }
}
