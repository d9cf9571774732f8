/** A send queue as its sender reads it: the slot that is taken next, and how far work requests were seen to be posted. */
import { lookAgain } from '../memory/posted.ts';
import { Ring } from './ring.ts';

export class SendRing extends Ring {
  /** The slot that is taken next. */
  #next = 0;
  /** Behind the last slot that was seen to be posted. */
  #end = 0;

  /** The slot that is taken next, if there is work in it. */
  get slot(): number {
    return this.#next;
  }

  /** All up to here is gone. */
  restart(slot: number): void {
    this.#next = slot;
    this.#end = slot;
  }

  /** Whether there is a work request to take. */
  hasPosted(): boolean {
    if (this.#next !== this.#end) return true;
    this.#end = this.producer();
    if (this.#next === this.#end) return false;
    lookAgain();
    return true;
  }

  /** Leaves the slot: its work request was copied. */
  take(): void {
    this.#next = this.next(this.#next);
  }
}
