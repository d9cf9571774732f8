/** Judges the datagrams of one UD QP: one packet each, PSNs that count up, nothing longer than the largest MTU (SPEC ). */
import type { SeenPacket } from './packet.ts';
import { after } from './sequence.ts';

const SEND_ONLY = 0x64;
const SEND_ONLY_WITH_IMMEDIATE = 0x65;
const MOST_OCTETS = 4096;

export class DatagramCheck {
  packets = 0;
  #next = -1;
  readonly #violate: (packet: SeenPacket, text: string) => void;

  constructor(violate: (packet: SeenPacket, text: string) => void) {
    this.#violate = violate;
  }

  datagram(packet: SeenPacket): void {
    const { opcode, payload, padCount, psn } = packet;
    this.packets++;
    if (opcode !== SEND_ONLY && opcode !== SEND_ONLY_WITH_IMMEDIATE) this.#violate(packet, 'is no datagram');
    if (this.#next !== -1 && psn !== this.#next) this.#violate(packet, `has a PSN where ${this.#next} was due`);
    if (payload.length > MOST_OCTETS) this.#violate(packet, `carries ${payload.length} octets`);
    if (padCount !== (-payload.length & 3)) this.#violate(packet, `pads ${padCount} octets after ${payload.length}`);
    if (packet.ackRequest) this.#violate(packet, 'asks for an acknowledgement');
    this.#next = after(psn, 1);
  }
}
