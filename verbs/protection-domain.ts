/** A protection domain: what is made in one works with nothing of another. `ibv_alloc_pd(3)`. */
import type { SrqAttributes } from '../rnic/commands.ts';
import { Errno } from '../rnic/commands.ts';
import type { AddressVector } from '../rnic/path.ts';
import { Ah } from './address-handle.ts';
import { addressOf } from './address-space.ts';
import type { Context } from './context.ts';
import { granted, VerbsError } from './errors.ts';
import { Mr } from './memory-region.ts';
import { Mw } from './memory-window.ts';
import { DEFAULT_CAP, Qp, type QpInitAttributes } from './queue-pair.ts';
import { Srq } from './shared-receive-queue.ts';

export class Pd {
  readonly context: Context;
  readonly handle: number;
  #isOpen = true;

  constructor(context: Context, handle: number) {
    this.context = context;
    this.handle = handle;
  }

  /**
   * Registers octets of a SharedArrayBuffer: all of it, or those of a view over one. `access`: Access bits. `iova` names the first octet to peers; by
   * default an address that no other buffer of this process has.
   * @throws VerbsError EINVAL, ENOMEM; TypeError for memory that is not shared.
   */
  async regMr(memory: SharedArrayBuffer | Uint8Array, access: number, options: { iova?: bigint } = {}): Promise<Mr> {
    const bytes = memory instanceof Uint8Array ? memory : new Uint8Array(memory);
    const sab = bytes.buffer;
    if (!(sab instanceof SharedArrayBuffer))
      throw new TypeError('regMr: only a SharedArrayBuffer, or a view over one, can be registered');
    const iova = options.iova ?? addressOf(sab) + BigInt(bytes.byteOffset);
    const name = { sab, byteOffset: bytes.byteOffset };
    const command = {
      op: 'regMr',
      pd: this.handle,
      memory: name,
      start: 0,
      length: bytes.length,
      iova,
      access,
    } as const;
    const answer = granted('regMr', await this.context.link.call(command));
    return new Mr(this.context, answer.mr, bytes, iova, answer.lKey, answer.rKey);
  }

  async createQp(init: QpInitAttributes): Promise<Qp> {
    const { link } = this.context;
    if (init.sendCq.context !== this.context || init.recvCq.context !== this.context) {
      throw new VerbsError('createQp', Errno.EINVAL, 'the completion queues are of another device', 'sendCq');
    }
    const command = {
      op: 'createQp',
      pd: this.handle,
      type: init.type,
      sendCq: init.sendCq.handle,
      recvCq: init.recvCq.handle,
      ...(init.srq && { srq: init.srq.handle }),
      cap: { ...DEFAULT_CAP, ...init.cap },
      sqSigAll: init.sqSigAll ?? false,
    } as const;
    const qp = new Qp(this.context, init, granted('createQp', await link.call(command)));
    this.context.rememberQp(qp);
    return qp;
  }

  async createSrq(attributes: SrqAttributes & { maxWr: number }): Promise<Srq> {
    const { maxWr, maxSge = 1, srqLimit = 0 } = attributes;
    const answer = granted(
      'createSrq',
      await this.context.link.call({ op: 'createSrq', pd: this.handle, maxWr, maxSge, srqLimit }),
    );
    const srq = new Srq(this.context, answer);
    this.context.rememberSrq(srq);
    return srq;
  }

  /** @throws VerbsError EHOSTUNREACH when nobody answers for the address. */
  async createAh(av: Partial<AddressVector> & { dgid: Uint8Array }): Promise<Ah> {
    const whole = { sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1, ...av };
    const answer = granted('createAh', await this.context.link.call({ op: 'createAh', pd: this.handle, av: whole }));
    return new Ah(this.context, answer.ah, answer.ahNum);
  }

  async allocMw(type: 1 | 2): Promise<Mw> {
    const answer = granted('allocMw', await this.context.link.call({ op: 'allocMw', pd: this.handle, type }));
    return new Mw(this.context, answer.mw, type, answer.rKey);
  }

  /** @throws VerbsError EBUSY while anything lives in it. */
  async dealloc(): Promise<void> {
    if (!this.#isOpen) return;
    granted('deallocPd', await this.context.link.call({ op: 'deallocPd', pd: this.handle }));
    this.#isOpen = false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dealloc();
  }
}
