/** Judges the responses of an RC connection against the requests seen before them (SPEC … ). */
import type { SeenPacket } from './packet.ts';
import type { RequesterCheck } from './requester-check.ts';
import { after, distance } from './sequence.ts';

const ACKNOWLEDGE = 17;
const ATOMIC_ACKNOWLEDGE = 18;
const READ_FIRST = 13;
const READ_MIDDLE = 14;
const READ_LAST = 15;
const READ_ONLY = 16;

export class ResponderCheck {
  acks = 0;
  naks = 0;
  rnrNaks = 0;
  /** Highest PSN acknowledged by an ACKNOWLEDGE; -1 before the first. */
  acked = -1;
  readonly #requests: RequesterCheck;
  readonly #violate: (packet: SeenPacket, text: string) => void;
  readonly #mtu: number;
  readonly #atomicResults = new Map<number, string>();
  #nak = -1;
  #fatal = -1;
  #msn = -1;
  #readNext = -1;

  constructor(requests: RequesterCheck, mtu: number, violate: (packet: SeenPacket, text: string) => void) {
    this.#requests = requests;
    this.#mtu = mtu;
    this.#violate = violate;
  }

  /** A request passed by: a NAK for its PSN may be repeated after it. */
  requestSeen(packet: SeenPacket): void {
    if (packet.psn === this.#nak) this.#nak = -1;
  }

  response(packet: SeenPacket): void {
    if (this.#requests.nextNew === -1) return this.#violate(packet, 'answers a connection on which nothing was asked');
    if (packet.opcode === ACKNOWLEDGE) this.#acknowledge(packet);
    else if (packet.opcode === ATOMIC_ACKNOWLEDGE) this.#atomic(packet);
    else this.#read(packet);
  }

  #acknowledge(packet: SeenPacket): void {
    const kind = packet.syndrome! >> 5;
    if (distance(packet.psn, this.#requests.nextNew) > 0)
      return this.#violate(packet, `answers PSN ${packet.psn}, never sent`);
    if (kind === 0) this.#positive(packet);
    else if (kind === 1) this.rnrNaks++;
    else if (kind === 3) this.#negative(packet);
    else this.#violate(packet, `has the reserved syndrome 0x${packet.syndrome!.toString(16)}`);
  }

  #positive(packet: SeenPacket): void {
    this.acks++;
    if (distance(packet.psn, this.#requests.nextNew) >= 0)
      this.#violate(packet, `acknowledges PSN ${packet.psn}, never sent`);
    if (this.#fatal !== -1 && distance(packet.psn, this.#fatal) >= 0)
      this.#violate(packet, 'acknowledges what a fatal NAK refused');
    if (this.acked !== -1 && distance(packet.psn, this.acked) < 0)
      this.#violate(packet, `acknowledges PSN ${packet.psn} after ${this.acked}`);
    if (this.#msn !== -1 && distance(packet.msn!, this.#msn) < 0)
      this.#violate(packet, `takes the MSN back from ${this.#msn} to ${packet.msn}`);
    this.#msn = packet.msn!;
    this.acked = packet.psn;
  }

  #negative(packet: SeenPacket): void {
    this.naks++;
    const code = packet.syndrome! & 0x1f;
    if (code > 3) return this.#violate(packet, `has the reserved NAK code ${code}`);
    if (code === 0) {
      if (packet.psn === this.#nak) this.#violate(packet, `asks twice for PSN ${packet.psn}, which was not sent again`);
      if (this.acked !== -1 && distance(packet.psn, this.acked) <= 0)
        this.#violate(packet, `asks for PSN ${packet.psn}, already acknowledged`);
      this.#nak = packet.psn;
    } else this.#fatal = packet.psn;
  }

  #atomic(packet: SeenPacket): void {
    if (!this.#requests.atomics.has(packet.psn))
      return this.#violate(packet, `answers an atomic at PSN ${packet.psn}, where none was`);
    this.#requests.unanswered.delete(packet.psn);
    const result = packet.transport.toString('hex', 16, 24);
    const earlier = this.#atomicResults.get(packet.psn) ?? result;
    if (earlier !== result)
      this.#violate(packet, `repeats the atomic of PSN ${packet.psn} with another result: it was executed twice`);
    this.#atomicResults.set(packet.psn, result);
  }

  #read(packet: SeenPacket): void {
    const { psn, payload, opcode } = packet;
    const read = this.#requests.reads.findLast(
      (asked) => distance(psn, asked.psn) >= 0 && distance(psn, asked.psn) < asked.span,
    );
    if (!read) return this.#violate(packet, `answers a READ at PSN ${psn}, where none was`);
    const position = distance(psn, read.psn);
    const expected = Math.min(this.#mtu, read.length - position * this.#mtu);
    if (payload.length !== Math.max(0, expected))
      this.#violate(packet, `carries ${payload.length} octets of a READ where ${expected} were due`);
    const ends = opcode === READ_LAST || opcode === READ_ONLY;
    if (ends) this.#requests.unanswered.delete(read.psn);
    if (ends ? !read.ends.has(psn) : position === read.span - 1)
      this.#violate(packet, 'ends a READ at the wrong place');
    const begins = opcode === READ_FIRST || opcode === READ_ONLY;
    if (begins && !read.begins.has(psn)) this.#violate(packet, 'begins a READ at the wrong place');
    const continues = opcode === READ_MIDDLE || opcode === READ_LAST;
    if (continues && psn !== this.#readNext)
      this.#violate(packet, `continues a READ at PSN ${psn} where ${this.#readNext} was due`);
    if (opcode < READ_FIRST || opcode > READ_ONLY) this.#violate(packet, 'is no response');
    this.#readNext = after(psn, 1);
  }
}
