/** An address handle: where a UD datagram goes. `ibv_create_ah(3)`. */
import type { Context } from './context.ts';
import { granted } from './errors.ts';

export class Ah {
  readonly context: Context;
  readonly handle: number;
  /** What a work request names it by. */
  readonly ahNum: number;
  #isOpen = true;

  constructor(context: Context, handle: number, ahNum: number) {
    this.context = context;
    this.handle = handle;
    this.ahNum = ahNum;
  }

  async destroy(): Promise<void> {
    if (!this.#isOpen) return;
    granted('destroyAh', await this.context.link.call({ op: 'destroyAh', ah: this.handle }));
    this.#isOpen = false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }
}
