/** A completion queue, engine side: the only writer of its CQEs. IBA Vol. 1, §10.8.2; SPEC-CHECKLIST R-147 … R-160. */
import { AsyncEvent, WcFlag, WcStatus } from './constants.ts';
import type { Cq } from './core.ts';
import { Counter, type Counters } from './counters.ts';
import type { Events } from './events.ts';
import * as Layout from './queue/layout.ts';
import type { Ring } from './queue/ring.ts';

const { Cqe, Arm } = Layout;

/** Who must know that a CQ is of no use any more: its QPs are. */
export interface CqKeeper {
  readonly events: Events;
  readonly counters: Counters;
  cqOverran(cq: CompletionQueue): void;
}

export class CompletionQueue implements Cq {
  readonly handle: number;
  readonly context: number;
  readonly cookie: bigint;
  /** Handle of the completion channel, -1 without one. */
  readonly channel: number;
  users = 0;
  ring: Ring;
  completionEvents = 0;
  asyncEvents = 0;
  readonly #keeper: CqKeeper;
  /** Ours: what the application makes of the shared word is its own affair. */
  #producer = 0;
  #isDead = false;

  constructor(handle: number, context: number, cookie: bigint, channel: number, ring: Ring, keeper: CqKeeper) {
    this.handle = handle;
    this.context = context;
    this.cookie = cookie;
    this.channel = channel;
    this.ring = ring;
    this.#keeper = keeper;
  }

  push(
    wrIdLo: number,
    wrIdHi: number,
    status: WcStatus,
    opcode: number,
    byteLen: number,
    immediate: number,
    qpNum: number,
    srcQp: number,
    wcFlags: number,
    solicited: boolean,
    vendorErr: number,
  ): boolean {
    const { ring } = this;
    const next = ring.next(this.#producer);
    if (this.#isDead || next === ring.consumer()) return this.#overrun();
    const { view } = ring;
    const at = ring.slotAt(this.#producer);
    view.setUint32(at + Cqe.WR_ID, wrIdLo, true);
    view.setUint32(at + Cqe.WR_ID + 4, wrIdHi, true);
    view.setUint32(at + Cqe.STATUS, status, true);
    view.setUint32(at + Cqe.OPCODE, opcode, true);
    view.setUint32(at + Cqe.VENDOR_ERR, vendorErr, true);
    view.setUint32(at + Cqe.BYTE_LEN, byteLen, true);
    view.setUint32(at + Cqe.IMM_OR_INVALIDATED, immediate, true);
    view.setUint32(at + Cqe.QP_NUM, qpNum, true);
    view.setUint32(at + Cqe.SRC_QP, srcQp, true);
    view.setUint32(at + Cqe.WC_FLAGS, wcFlags & ~FROM_IPV6, true);
    view.setUint32(at + Cqe.PKEY_INDEX, 0, true);
    view.setUint32(at + Cqe.SL, (wcFlags & WcFlag.GRH) === 0 ? PORT_1 : PORT_1 | packetType(wcFlags), true);
    this.#producer = next;
    ring.publishProducer(next);
    const armed = ring.armed();
    if (armed !== Arm.NONE) this.#wake(armed, solicited || status !== WcStatus.SUCCESS);
    return true;
  }

  /** A new, larger or smaller ring takes over what the application has not polled. False when that does not fit. */
  moveTo(ring: Ring): boolean {
    const waiting = (this.#producer - this.ring.consumer()) & this.ring.mask;
    if (waiting > ring.mask) return false;
    let from = this.ring.consumer();
    for (let i = 0; i < waiting; i++) {
      const source = this.ring.slotAt(from);
      ring.bytes.set(this.ring.bytes.subarray(source, source + Cqe.ELEMENT_BYTES), ring.slotAt(i));
      from = this.ring.next(from);
    }
    ring.publishProducer(waiting);
    const armed = this.ring.armed();
    if (armed !== Arm.NONE) ring.arm(armed);
    this.#producer = waiting;
    this.ring = ring;
    return true;
  }

  #wake(armed: number, solicited: boolean): void {
    if (armed === Arm.SOLICITED && !solicited) return;
    this.ring.disarm();
    if (this.channel === -1) return;
    this.completionEvents++;
    this.#keeper.events.completion(this.context, this.channel, this.handle, this.cookie);
  }

  /** nothing is overwritten; the CQ is of no use any more, nor are the QPs that complete to it. */
  #overrun(): boolean {
    const { events, counters } = this.#keeper;
    counters.add(Counter.cq_overrun);
    if (!this.#isDead) {
      this.#isDead = true;
      this.#keeper.cqOverran(this);
      if (events.async(this.context, AsyncEvent.CQ_ERR, this.handle, this.cookie)) this.asyncEvents++;
    }
    return false;
  }
}

/** In `wcFlags` of a datagram: it came by IPv6. Not for the application. */
export const FROM_IPV6 = 1 << 30;

/**
 * What the SL of a datagram's completion says: RoCE has no service levels, and mlx5 puts the kind of packet there (8: UDP, 2: IPv4). UCX reads it whatever the provider is, and
 * drops datagrams that have none.
 */
const packetType = (wcFlags: number): number => ((wcFlags & FROM_IPV6) !== 0 ? 8 : 8 | 2);

/** SL 0, path bits 0, port 1 as one little-endian word. */
const PORT_1 = 1 << 16;
