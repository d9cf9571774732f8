/** Judges one direction's requests of an RC connection: PSNs without gaps, messages whole, retransmissions equal to the original (SPEC R-030 … … R-073). */
import type { SeenPacket } from './packet.ts';
import { after, distance } from './sequence.ts';

const FIRST = new Set([0, 6]);
const MIDDLE = new Set([1, 7]);
const LAST = new Set([2, 3, 8, 9, 22]);
const WRITES = new Set([6, 7, 8, 9, 10, 11]);
const READ_REQUEST = 12;
/** FLUSH and ATOMIC_WRITE are answered like a READ of nothing. */
const EMPTY_READS = new Set([28, 29]);
/** WRITE_ONLY_WITH_IMMEDIATE. */
const MOST_UC_OPCODE = 11;
const ATOMICS = new Set([19, 20]);

/** A READ as first requested, or an atomic: what the responder may answer. */
export interface Asked {
  readonly psn: number;
  readonly span: number;
  readonly length: number;
  readonly address: bigint;
  readonly rKey: number;
  /** PSNs at which an answer may begin, and end: those of the request, and of its repetitions, which may ask for a part. */
  readonly begins: Set<number>;
  readonly ends: Set<number>;
}

export class RequesterCheck {
  readonly reads: Asked[] = [];
  readonly atomics = new Set<number>();
  /** READs, atomics and the like that no answer has been seen for: by their PSN. */
  readonly unanswered = new Set<number>();
  /** First PSN not yet sent; -1 before the first packet. */
  nextNew = -1;
  packets = 0;
  retransmissions = 0;
  readonly #sent = new Map<number, Buffer>();
  readonly #violate: (packet: SeenPacket, text: string) => void;
  readonly #mtu: number;
  readonly #rdAtomic: number;
  #insideSend = false;
  #insideWrite = false;
  #writeLeft = 0;

  /** @param rdAtomic most requests that may wait for an answer at once. */
  constructor(mtu: number, rdAtomic: number, violate: (packet: SeenPacket, text: string) => void) {
    this.#mtu = mtu;
    this.#rdAtomic = rdAtomic;
    this.#violate = violate;
  }

  request(packet: SeenPacket): void {
    this.packets++;
    if (this.nextNew === -1) this.nextNew = packet.psn;
    const ahead = distance(packet.psn, this.nextNew);
    if (ahead > 0) this.#violate(packet, `PSN ${packet.psn} skips ${ahead} never sent before it`);
    if (ahead < 0) this.#again(packet);
    else this.#fresh(packet);
  }

  /** A packet of UC, which comes once. `opcode` as RC numbers it. */
  once(packet: SeenPacket, opcode: number): void {
    if (this.nextNew !== -1 && packet.psn !== this.nextNew)
      this.#violate(packet, `has PSN ${packet.psn} where ${this.nextNew} was due`);
    if (opcode > MOST_UC_OPCODE) this.#violate(packet, 'is nothing that UC knows');
    if (packet.ackRequest) this.#violate(packet, 'asks for an acknowledgement');
    this.packets++;
    this.nextNew = after(packet.psn, 1);
    this.#message({ ...packet, opcode });
  }

  #fresh(packet: SeenPacket): void {
    const span = this.#note(packet);
    if (packet.opcode === READ_REQUEST || EMPTY_READS.has(packet.opcode) || ATOMICS.has(packet.opcode))
      this.#ask(packet);
    this.nextNew = after(packet.psn, span);
    this.#message(packet);
  }

  /** What the responder may answer from now on. The PSNs that it takes. */
  #note(packet: SeenPacket): number {
    const span = packet.opcode === READ_REQUEST ? Math.max(1, Math.ceil(packet.reth!.length / this.#mtu)) : 1;
    this.#sent.set(packet.psn, withoutAckRequest(packet.transport));
    const bounds = { begins: new Set([packet.psn]), ends: new Set([after(packet.psn, span - 1)]) };
    if (packet.opcode === READ_REQUEST) this.reads.push({ psn: packet.psn, span, ...packet.reth!, ...bounds });
    if (EMPTY_READS.has(packet.opcode))
      this.reads.push({ psn: packet.psn, span: 1, length: 0, address: 0n, rKey: 0, ...bounds });
    if (ATOMICS.has(packet.opcode)) this.atomics.add(packet.psn);
    return span;
  }

  /** What was answered on the wire may not have come yet: the requester knows of as many at least. */
  #ask(packet: SeenPacket): void {
    this.unanswered.add(packet.psn);
    if (this.unanswered.size > this.#rdAtomic)
      this.#violate(packet, `is one of ${this.unanswered.size} that wait for an answer, of ${this.#rdAtomic} at most`);
  }

  #message(packet: SeenPacket): void {
    const { opcode, payload } = packet;
    const inside = this.#insideSend || this.#insideWrite;
    const continues = MIDDLE.has(opcode) || LAST.has(opcode);
    if (continues && !(WRITES.has(opcode) ? this.#insideWrite : this.#insideSend))
      this.#violate(packet, 'continues a message that was not begun');
    if (!continues && inside) this.#violate(packet, 'begins a message inside another');
    if ((FIRST.has(opcode) || MIDDLE.has(opcode)) && payload.length !== this.#mtu)
      this.#violate(packet, `carries ${payload.length} octets, not the path MTU`);
    if (payload.length > this.#mtu) this.#violate(packet, 'is longer than the path MTU');
    if (packet.padCount !== (-payload.length & 3))
      this.#violate(packet, `pads ${packet.padCount} octets after ${payload.length}`);
    if (WRITES.has(opcode)) this.#countWrite(packet);
    this.#insideSend = opcode === 0 || (opcode === 1 && this.#insideSend);
    this.#insideWrite = opcode === 6 || (opcode === 7 && this.#insideWrite);
  }

  #countWrite(packet: SeenPacket): void {
    if (packet.reth) this.#writeLeft = packet.reth.length;
    this.#writeLeft -= packet.payload.length;
    const ends = !FIRST.has(packet.opcode) && !MIDDLE.has(packet.opcode);
    if (ends && this.#writeLeft !== 0)
      this.#violate(packet, `ends a WRITE ${this.#writeLeft} octets short of its RETH`);
  }

  #again(packet: SeenPacket): void {
    this.retransmissions++;
    if (packet.opcode === READ_REQUEST) return this.#readAgain(packet);
    const original = this.#sent.get(packet.psn);
    if (!original) {
      this.#violate(packet, `repeats PSN ${packet.psn}, which this referee never saw begin a packet`);
      this.#note(packet); // lost before it came by here: its answer is right all the same
      return;
    }
    if (!original.equals(withoutAckRequest(packet.transport)))
      this.#violate(packet, `repeats PSN ${packet.psn} with other octets`);
  }

  #readAgain(packet: SeenPacket): void {
    const { address, length, rKey } = packet.reth!;
    const read = this.reads.findLast(
      (asked) => distance(packet.psn, asked.psn) >= 0 && distance(packet.psn, asked.psn) < asked.span,
    );
    if (!read) {
      this.#violate(packet, `repeats a READ at PSN ${packet.psn}, where none was`);
      this.#note(packet);
      return;
    }
    const skipped = distance(packet.psn, read.psn) * this.#mtu;
    const left = read.length - skipped;
    const isWhole = length === left || (length < left && length % this.#mtu === 0);
    const fits = address === read.address + BigInt(skipped) && isWhole && rKey === read.rKey;
    if (!fits) return this.#violate(packet, 'repeats a READ with another range than a part of the one it asked for');
    read.begins.add(packet.psn);
    read.ends.add(after(packet.psn, Math.max(1, Math.ceil(length / this.#mtu)) - 1));
  }
}

function withoutAckRequest(transport: Buffer): Buffer {
  const copy = Buffer.from(transport);
  copy[8] = copy[8]! & 0x7f;
  copy[4] = 0; // FECN, BECN: set by the network.
  return copy;
}
