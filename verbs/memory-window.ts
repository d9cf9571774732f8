/** A memory window: a key of its own to a part of a region, given and taken back by work requests. `ibv_alloc_mw(3)`, `ibv_bind_mw(3)`. */
import type { Context } from './context.ts';
import { granted } from './errors.ts';

export class Mw {
  readonly context: Context;
  readonly handle: number;
  readonly type: 1 | 2;
  /** The key that the last bind gave it. Set it to the new key when a BIND_MW has completed. */
  rKey: number;
  #isOpen = true;

  constructor(context: Context, handle: number, type: 1 | 2, rKey: number) {
    this.context = context;
    this.handle = handle;
    this.type = type;
    this.rKey = rKey;
  }

  /** The next key to bind under: the lower 8 bits are the consumer's (`ibv_inc_rkey`). */
  nextRKey(): number {
    return ((this.rKey & 0xffff_ff00) | ((this.rKey + 1) & 0xff)) >>> 0;
  }

  async dealloc(): Promise<void> {
    if (!this.#isOpen) return;
    granted('deallocMw', await this.context.link.call({ op: 'deallocMw', mw: this.handle }));
    this.#isOpen = false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dealloc();
  }
}
