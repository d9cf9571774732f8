/** Which QPs have something to send, and in which order they may: round robin, so that none waits behind a busy one (SPEC-CHECKLIST T-46). */
import type { Micros } from '../wire/types.ts';
import { beginTurn } from './memory/turn.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { QueuePair } from './qp.ts';

const FIRST_CAPACITY = 64;
/** What it takes to look at a QP, most of it to fetch its state into the caches, in octets that are copied meanwhile. */
const VISIT_BYTES = 4096;

export class Schedule {
  /** A ring of QPs, a power of two long. */
  #ring: (QueuePair | null)[] = Array.from({ length: FIRST_CAPACITY }, () => null);
  #head = 0;
  #count = 0;
  /** An acknowledgement has let a request go first. */
  #hasYielded = false;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  add(qp: QueuePair): void {
    if (qp.isScheduled || qp.isGone) return;
    qp.isScheduled = true;
    this.#push(qp);
  }

  /** One turn for each that waits now, until a burst is full or it is enough. True when some wait still. */
  pollTransmit(out: PacketWriter, now: Micros): boolean {
    out.isFull = false;
    out.laidOutBytes = 0;
    const isAlone = this.#count === 1;
    for (let turns = this.#count; turns > 0; turns--) {
      const qp = this.#pop();
      qp.isScheduled = false;
      // Destroyed while it waited.
      if (qp.isGone) continue;
      beginTurn();
      // A program that was told of a message may answer it; the peer's completions come in this order on any NIC, and programs count on it.
      const receiptFirst = qp.responder.owesReceipt;
      let moreResponses = receiptFirst && qp.responder.pollTransmit(out, now, out.turnBytes);
      // Else requests first: the peer has them that much earlier, and an acknowledgement leaves in the same burst. Each has its own share of the turn.
      const moreRequests = qp.sender.pollTransmit(out, now, out.turnBytes);
      if (isAlone && this.#yields(out)) {
        this.add(qp);
        return true;
      }
      if (!receiptFirst) moreResponses = qp.responder.pollTransmit(out, now, out.turnBytes);
      if (moreResponses || moreRequests) this.add(qp);
      out.laidOutBytes += VISIT_BYTES;
      if (out.laidOutBytes >= out.pollBytes) out.isFull = true;
      if (out.isFull) break;
    }
    return this.#count !== 0;
  }

  /**
   * Where one packet of a request is all that leaves, somebody waits for it: its acknowledgements come after it has left, while its answer is made. Once: more requests
   * do not keep an acknowledgement back.
   */
  #yields(out: PacketWriter): boolean {
    this.#hasYielded = !this.#hasYielded && out.isLone;
    return this.#hasYielded;
  }

  #push(qp: QueuePair): void {
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#count) & (this.#ring.length - 1)] = qp;
    this.#count++;
  }

  #pop(): QueuePair {
    const qp = this.#ring[this.#head]!;
    this.#ring[this.#head] = null;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#count--;
    return qp;
  }

  #grow(): void {
    const { length } = this.#ring;
    const ordered = Array.from({ length }, (_, i) => this.#ring[(this.#head + i) & (length - 1)] ?? null);
    this.#ring = ordered.concat(Array.from({ length }, () => null));
    this.#head = 0;
  }
}
