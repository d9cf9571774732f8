/**
 * Work requests that an RC sender has taken from its queue and not completed, and the PSNs between them.
 *
 *       una                    cursor               high
 *        │ sent, not answered    │ to be sent again   │ never sent
 *     ───┼───────────────────────┼────────────────────┼──────────
 *        in the oldest work      in work `cursorAt`
 *
 * Going back moves the cursor to `una`; an acknowledgement that passes the cursor moves it forward: what the receiver has is not sent twice.
 */
import * as PsnMath from '../wire/psn.ts';
import type { Psn } from '../wire/types.ts';
import { SendWork } from './send-work.ts';

/** What a packet costs of the window besides its payload: headers, and the work of taking it. */
export const PACKET_COST_BYTES = 64;
const FIRST_SLOTS = 4;
const SPARE_MOST = 4096;

/**
 * Works that no window holds, of all QPs of this thread: the one that was given back last is taken first, for it is still in the caches. If each of thousands of QPs
 * kept its own, half of the cache misses of a QP's turn would be theirs.
 */
const spare: SendWork[] = [];
let spareCount = 0;

function giveBack(work: SendWork): void {
  if (spareCount < SPARE_MOST) spare[spareCount++] = work;
}

export class SendWindow {
  una: Psn;
  cursor: Psn;
  high: Psn;
  /** Last PSN that asked for an acknowledgement since the cursor went back; -1 for none. */
  asked = -1;
  /** Octets (payload and a share for each packet) between `una` and `cursor`: sent, or for a READ asked for, and not answered. */
  inFlightBytes = 0;
  /** Last PSN of a request that the peer is known to have executed: what it sends says so of all requests before it. */
  executed: Psn;
  /** Works held. */
  count = 0;
  /** A ring; beyond `count` stands what once was there. */
  #works: (SendWork | null)[] = Array.from({ length: FIRST_SLOTS }, () => null);
  #head = 0;
  /** Work in which the cursor lies, counted from the oldest; equal to `count` at the end. */
  #cursorAt = 0;
  readonly #mtu: number;

  constructor(psn: Psn, mtu: number) {
    this.una = psn;
    this.cursor = psn;
    this.high = psn;
    this.executed = PsnMath.add(psn, -1);
    this.#mtu = mtu;
  }

  /** PSNs sent at any time and not acknowledged. */
  get outstanding(): number {
    return (this.high - this.una) & PsnMath.MASK;
  }

  /** PSNs from `una` to the cursor. */
  get ahead(): number {
    return (this.cursor - this.una) & PsnMath.MASK;
  }

  get isResending(): boolean {
    return this.cursor !== this.high;
  }

  /** Everything up to and including `psn` was executed. */
  learn(psn: Psn): void {
    if (PsnMath.difference(psn, this.executed) > 0) this.executed = psn;
  }

  /** Packets of a work from `psn` on that the peer is known to have executed. */
  executedFrom(work: SendWork, psn: Psn): number {
    return Math.min(PsnMath.difference(this.executed, psn) + 1, work.packets - this.indexOf(work, psn));
  }

  oldest(): SendWork | null {
    return this.count === 0 ? null : this.#works[this.#head]!;
  }

  /** The work that the cursor lies in; null when all that was taken has been sent. */
  current(): SendWork | null {
    return this.#cursorAt === this.count ? null : this.at(this.#cursorAt);
  }

  /** Work `index`, counted from the oldest. */
  at(index: number): SendWork {
    return this.#works[(this.#head + index) & (this.#works.length - 1)]!;
  }

  /** A place for one more work, at the end. */
  add(): SendWork {
    if (this.count === this.#works.length) this.#grow();
    const work = spareCount > 0 ? spare[--spareCount]! : new SendWork();
    this.#works[(this.#head + this.count++) & (this.#works.length - 1)] = work;
    return work;
  }

  /** The current work starts now: its PSNs begin at the cursor. */
  start(work: SendWork, packets: number): void {
    work.isStarted = true;
    work.firstPsn = this.cursor;
    work.packets = packets;
  }

  /** Packet of `work` at which a PSN lies. */
  indexOf(work: SendWork, psn: Psn): number {
    return (psn - work.firstPsn) & PsnMath.MASK;
  }

  /** `packets` PSNs of the current work have left. */
  sent(work: SendWork, packets: number): void {
    const index = this.indexOf(work, this.cursor);
    this.inFlightBytes += this.cost(work, index, packets);
    this.cursor = PsnMath.add(this.cursor, packets);
    if (PsnMath.difference(this.cursor, this.high) > 0) this.high = this.cursor;
    if (index + packets === work.packets) this.#cursorAt++;
  }

  /** The current work has no packets (any more): on to the next. */
  skip(): void {
    this.#cursorAt++;
  }

  /** `packets` PSNs of the oldest work, from `una`, are acknowledged. True when that was all of it. */
  acknowledge(work: SendWork, packets: number): boolean {
    const index = this.indexOf(work, this.una);
    const { ahead } = this;
    this.inFlightBytes -= this.cost(work, index, Math.min(packets, ahead));
    this.una = PsnMath.add(this.una, packets);
    if (packets > ahead) this.cursor = this.una;
    const isWhole = index + packets === work.packets;
    if (isWhole && packets > ahead && this.#cursorAt === 0) this.#cursorAt = 1;
    return isWhole;
  }

  /** Forgets the oldest work: what it holds is there until another is added, to whichever window. */
  pop(): void {
    giveBack(this.#works[this.#head]!);
    this.#head = (this.#head + 1) & (this.#works.length - 1);
    this.count--;
    if (this.#cursorAt > 0) this.#cursorAt--;
  }

  goBack(): void {
    this.cursor = this.una;
    this.#cursorAt = 0;
    this.inFlightBytes = 0;
    this.asked = -1;
  }

  /** Moves the cursor to what was never sent: the peer keeps what it has of the rest. */
  skipToHigh(): void {
    if (!this.isResending) return;
    let bytes = 0;
    let started = 0;
    for (; started < this.count; started++) {
      const work = this.at(started);
      if (!work.isStarted) break;
      const from = started === 0 ? this.indexOf(work, this.una) : 0;
      const to = Math.min(work.packets, this.indexOf(work, this.high));
      bytes += this.cost(work, from, to - from);
      if (to < work.packets) break;
    }
    this.cursor = this.high;
    this.#cursorAt = started;
    this.inFlightBytes = bytes;
  }

  /** The work in which a PSN between `una` and `high` lies. */
  find(psn: Psn): SendWork {
    let index = 0;
    while (index < this.count - 1 && this.indexOf(this.at(index), psn) >= this.at(index).packets) index++;
    return this.at(index);
  }

  /** Octets that `packets` segments of a work from `index` cost of the window. */
  cost(work: SendWork, index: number, packets: number): number {
    if (packets === 0) return 0;
    const to = index + packets;
    const payload = to === work.packets ? work.length - index * this.#mtu : packets * this.#mtu;
    return payload + packets * PACKET_COST_BYTES;
  }

  #grow(): void {
    const works: (SendWork | null)[] = [];
    for (let i = 0; i < this.count; i++) works.push(this.at(i));
    while (works.length < this.count * 2) works.push(null);
    this.#works = works;
    this.#head = 0;
  }
}
