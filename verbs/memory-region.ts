/** A memory region: octets of a SharedArrayBuffer that the vRNIC may read and write. `ibv_reg_mr(3)`. */
import type { Context } from './context.ts';
import { granted } from './errors.ts';

export class Mr {
  readonly context: Context;
  readonly handle: number;
  /** The registered octets, as this thread sees them. */
  readonly bytes: Uint8Array;
  /** Address of the first octet: what peers name together with `rKey`. */
  readonly addr: bigint;
  readonly lKey: number;
  readonly rKey: number;
  readonly #addrHi: number;
  readonly #addrLo: number;
  #isOpen = true;

  constructor(context: Context, handle: number, bytes: Uint8Array, addr: bigint, lKey: number, rKey: number) {
    this.context = context;
    this.handle = handle;
    this.bytes = bytes;
    this.addr = addr;
    this.lKey = lKey;
    this.rKey = rKey;
    this.#addrHi = Number(addr >> 32n);
    this.#addrLo = Number(addr & 0xffff_ffffn);
  }

  get length(): number {
    return this.bytes.length;
  }

  /** Writes the address of octet `offset` as 64 bits, without a bigint. */
  writeAddress(view: DataView, at: number, offset: number): void {
    const lo = this.#addrLo + offset;
    view.setUint32(at, lo >>> 0, true);
    view.setUint32(at + 4, this.#addrHi + Math.floor(lo / 2 ** 32), true);
  }

  /** Revokes the keys. Afterwards nothing from the network touches the octets. @throws VerbsError EBUSY while a window is bound to it. */
  async dereg(): Promise<void> {
    if (!this.#isOpen) return;
    granted('deregMr', await this.context.link.call({ op: 'deregMr', mr: this.handle }));
    this.#isOpen = false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dereg();
  }
}
