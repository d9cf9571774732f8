/** Receive queues as an application fills them: of one QP, or shared by all QPs of a host, with its limit event. */
import { AsyncEvent } from '../../../rnic/constants.ts';
import { Broken } from './broken.ts';
import type { SimHost, SimQp, SimSrq } from './host.ts';
import type { Random } from './random.ts';
import { type SgeValue, writeReceive } from './work.ts';

export interface Receives {
  /** Octets of each buffer. */
  readonly bufferBytes: number;
  readonly isShared: boolean;
  /** Fills the queue a little. */
  post(random: Random): void;
  /** A WQE completed: the octet where its buffer is, which holds what it holds until the next `post`. */
  complete(wrId: number): number;
  /** The QP has ended: flushed, so that nothing of its own may be left; or abandoned, without a word about what was. */
  close(isAbandoned: boolean): void;
}

/** Scattered over two elements and an empty one. */
function sgesOf(host: SimHost, at: number, length: number, random: Random): SgeValue[] {
  const cut = random.below(Math.min(2000, length));
  return [host.sge(at, cut), host.sge(at + cut, 0), host.sge(at + cut, length - cut)];
}

export class OwnReceives implements Receives {
  readonly isShared = false;
  readonly bufferBytes: number;
  readonly #host: SimHost;
  readonly #qp: () => SimQp;
  readonly #at: number;
  readonly #buffers: number;
  #posted = 0;
  #completed = 0;

  constructor(host: SimHost, qp: () => SimQp, at: number, buffers: number, bufferBytes: number) {
    this.#host = host;
    this.#qp = qp;
    this.#at = at;
    this.#buffers = buffers;
    this.bufferBytes = bufferBytes;
  }

  post(random: Random): void {
    while (this.#posted - this.#completed < this.#buffers && random.chance(0.7)) {
      const sges = sgesOf(this.#host, this.#bufferAt(this.#posted), this.bufferBytes, random);
      if (!this.#host.postReceive(this.#qp(), this.#posted, sges)) return;
      this.#posted++;
    }
  }

  complete(wrId: number): number {
    if (wrId !== this.#completed || wrId >= this.#posted)
      throw new Broken(`receive ${wrId} completed where ${this.#completed} of ${this.#posted} was due`);
    this.#completed++;
    return this.#bufferAt(wrId);
  }

  close(isAbandoned: boolean): void {
    if (isAbandoned) this.#completed = this.#posted;
    if (this.#completed !== this.#posted)
      throw new Broken(`${this.#posted - this.#completed} receives were never flushed`);
  }

  #bufferAt(wrId: number): number {
    return this.#at + (wrId % this.#buffers) * this.bufferBytes;
  }
}

/** The SRQ of a host. */
export class SharedReceives implements Receives {
  readonly isShared = true;
  readonly bufferBytes: number;
  readonly srq: SimSrq;
  readonly #host: SimHost;
  readonly #at: number;
  /** Posted and not completed: where their buffers are. */
  readonly #outstanding = new Map<number, number>();
  readonly #free: number[];
  #next = 0;
  #completed = 0;
  /** 0 when its event has come. */
  #limit = 0;
  /** QPs that ended without giving back what they had. */
  #abandoned = 0;

  constructor(host: SimHost, at: number, buffers: number, bufferBytes: number) {
    this.#host = host;
    this.#at = at;
    this.bufferBytes = bufferBytes;
    this.srq = host.createSrq(buffers);
    this.#free = Array.from({ length: buffers }, (_, i) => i);
  }

  post(random: Random): void {
    const most = random.below(this.#free.length + 1);
    for (let i = 0; i < most; i++) {
      const at = this.#at + this.#free.shift()! * this.bufferBytes;
      const wrId = this.#next++;
      if (!writeReceive(this.srq.ring, wrId, sgesOf(this.#host, at, this.bufferBytes, random)))
        throw new Broken('the SRQ holds fewer WQEs than it was made for');
      this.#outstanding.set(wrId, at);
    }
    const count = this.srq.ring.count();
    if (this.#limit !== 0 || count === 0 || random.chance(0.5)) return;
    this.#limit = 1 + random.below(count);
    this.#host.execute({ op: 'modifySrq', srq: this.srq.handle, attributes: { srqLimit: this.#limit } });
  }

  complete(wrId: number): number {
    const at = this.#outstanding.get(wrId);
    if (at === undefined) throw new Broken(`receive ${wrId} of the SRQ completed, which was not due`);
    this.#outstanding.delete(wrId);
    this.#completed++;
    this.#free.push((at - this.#at) / this.bufferBytes);
    return at;
  }

  /** A QP that is abandoned keeps the WQE in its hand. */
  close(isAbandoned: boolean): void {
    if (isAbandoned) this.#abandoned++;
  }

  /** After all CQs were polled: each WQE taken was completed or is in the hand of a QP; the limit event has come if and only if it was due. */
  check(qps: number): void {
    const inHand = this.#next - this.srq.ring.count() - this.#completed;
    if (inHand < 0 || inHand > qps + this.#abandoned)
      throw new Broken(`${inHand} WQEs of the SRQ are in the hands of ${qps} QPs`);
    const late = [...this.#outstanding.keys()].filter((wrId) => wrId < this.#next - this.srq.ring.count());
    if (late.length !== inHand) throw new Broken('the SRQ gave out its WQEs in another order than it got them');
    const events = this.#host.takeEvents(AsyncEvent.SRQ_LIMIT_REACHED, this.srq.handle);
    const isDue = this.#limit !== 0 && this.srq.ring.count() < this.#limit;
    if (events !== (isDue ? 1 : 0))
      throw new Broken(`${events} limit events of the SRQ, where ${isDue ? 'one was' : 'none was'} due`);
    if (isDue) this.#limit = 0;
  }
}
