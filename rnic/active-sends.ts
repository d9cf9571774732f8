/** What an RC sender has while it works: made when the first work request comes; an idle QP has none of it. And what follows from its parts together. */
import * as PsnMath from '../wire/psn.ts';
import type { Micros, Psn } from '../wire/types.ts';
import { AwaitedResponses } from './awaited-responses.ts';
import { CongestionWindow } from './congestion.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { Path } from './path.ts';
import { Recovery } from './recovery.ts';
import { Repair } from './repair.ts';
import { PACKET_COST_BYTES, SendWindow } from './send-window.ts';
import { type SendWork, WorkKind } from './send-work.ts';
import { mostInOne } from './span.ts';
import type { Timer } from './timers.ts';

/** Within a long message every so many packets ask for an acknowledgement: rxe does at 65. */
const ACK_REQUEST_PACKETS = 16;
/**
 * A longer READ becomes several requests, so that the window holds for what it brings too; and where packets are lost, shorter ones, for one gap in each is closed
 * at a time. All that a QP may have under way come to this much at least.
 */
const READ_REQUEST_BYTES = 131_072;
const LOSSY_READ_PACKETS = 16;
const READ_UNDER_WAY_BYTES = 262_144;

/** Whose sends they are. */
export interface TimeoutHandler {
  handleTimeout(now: Micros): void;
}

export class ActiveSends implements Timer {
  deadline: Micros = Number.POSITIVE_INFINITY;
  slot = -1;
  /** nothing is sent until the timer ends the wait. */
  isWaitingRnr = false;
  /** The next packet waits for a rate limit. */
  isHeld = false;
  readonly window: SendWindow;
  readonly recovery = new Recovery();
  readonly congestion = new CongestionWindow();
  readonly repair = new Repair();
  readonly awaited = new AwaitedResponses();
  readonly #mtu: number;
  readonly #owner: TimeoutHandler;

  constructor(owner: TimeoutHandler, psn: Psn, mtu: number) {
    this.#owner = owner;
    this.window = new SendWindow(psn, mtu);
    this.#mtu = mtu;
  }

  get isArmed(): boolean {
    return this.deadline !== Number.POSITIVE_INFINITY;
  }

  handleTimeout(now: Micros): void {
    this.#owner.handleTimeout(now);
  }

  /** Octets between `una` and the cursor that have not come. */
  get underWay(): number {
    return this.window.inFlightBytes - this.awaited.early * (this.#mtu + PACKET_COST_BYTES);
  }

  /** The first PSN, at most `high`, of a request that the peer is not known to have. */
  firstNotExecuted(): Psn {
    const next = PsnMath.next(this.window.executed);
    const inside = this.awaited.find(next);
    return inside === null || inside.psn === next ? next : inside.end;
  }

  /** The cursor, going over what was sent before, passes by what the peer is known to have done and what has been answered. */
  skip(work: SendWork): boolean {
    const { window, awaited } = this;
    const { cursor } = window;
    let packets = 0;
    if (work.awaitsResponse) {
      const request = awaited.find(cursor)!;
      if (request.missing === 0) packets = PsnMath.difference(request.end, cursor);
    } else packets = window.executedFrom(work, cursor);
    if (packets <= 0) return false;
    window.sent(work, packets);
    return true;
  }

  /** at the end of each message, every so often inside, and where the window closes on packets none of which has asked. */
  asksForAck(work: SendWork, index: number, span: number): boolean {
    const { window, congestion } = this;
    const next = index + span;
    if (next === work.packets || next % ACK_REQUEST_PACKETS < span) return true;
    if (congestion.admits(this.underWay + window.cost(work, index, span))) return false;
    return !this.hasAsked;
  }

  /** Segments from `index` on that leave in one packet. What is sent again goes one by one: the peer may have part of it. */
  span(work: SendWork, index: number, path: Path, out: PacketWriter): number {
    return this.window.isResending ? 1 : Math.min(work.packets - index, mostInOne(path, out, this.#mtu));
  }

  /** The peer owes an acknowledgement. */
  get hasAsked(): boolean {
    const { window } = this;
    return window.asked !== -1 && PsnMath.difference(window.asked as Psn, window.una) >= 0;
  }

  /** Responses that the next request asks for: of a READ up to the next cut, of others one. */
  nextRequest(work: SendWork, index: number, maxRdAtomic: number, now: Micros): number {
    if (work.kind !== WorkKind.READ) return 1;
    const most = READ_REQUEST_BYTES / this.#mtu;
    const lossy = Math.max(LOSSY_READ_PACKETS, Math.floor(READ_UNDER_WAY_BYTES / this.#mtu / maxRdAtomic));
    const cut = this.recovery.isLossy(now) ? Math.min(lossy, most) : most;
    return Math.min(work.packets - index, cut - (index % cut));
  }
}
