/** What a trace holds: its RC connections, told from who answers whom, and the QPs that send without an answer. */
import { type SeenPacket, seePacket } from './packet.ts';
import type { TracedFrame } from './pcap-frames.ts';
import type { End, JudgedConnection } from './referee.ts';

const RC_END = 0x20;
const UC_END = 0x40;
const UD = 0x60;
const UD_END = 0x80;
const DETH_SOURCE_AT = 12 + 5;
const GREATEST_MTU = 4096;
/** Packets that are as long as the path MTU: first and middle ones of SENDs, WRITEs and READ responses. */
const FULL = new Set([0, 1, 6, 7, 13, 14]);
const isResponse = (opcode: number): boolean => opcode >= 13 && opcode <= 18;
const nameOf = ({ destination, destQpn }: SeenPacket): string => `${destination}/${destQpn}`;
const endOf = ({ destination, destQpn }: SeenPacket): End => ({ address: destination, qpn: destQpn });

function* packetsOf(frames: Iterable<TracedFrame>): Generator<SeenPacket> {
  for (const { octets } of frames) {
    const packet = seePacket(octets, 0, 0);
    if (packet) yield packet;
  }
}

/** Both ends of each RC connection: a response names a PSN that was asked for the other way, and PSNs begin at random. @param mtu the path MTU of all; told from the packets when absent. */
export function connectionsOf(frames: Iterable<TracedFrame>, mtu?: number): JudgedConnection[] {
  const known = new Set<string>();
  const asked = new Map<string, SeenPacket>();
  const mtus = new Map<string, number>();
  const pairs: [SeenPacket, SeenPacket][] = [];
  for (const packet of packetsOf(frames)) {
    if (packet.opcode >= RC_END) continue;
    const { source, destination, psn, opcode, payload } = packet;
    const name = nameOf(packet);
    if (FULL.has(opcode) && !mtus.has(name)) mtus.set(name, payload.length);
    if (known.has(name)) continue;
    if (!isResponse(opcode)) {
      asked.set(`${source}>${destination}/${psn}`, packet);
      continue;
    }
    const request = asked.get(`${destination}>${source}/${psn}`);
    if (!request) continue;
    known.add(name).add(nameOf(request));
    pairs.push([packet, request]);
  }
  return pairs.map(([a, b]) => {
    const seen = mtus.get(nameOf(a)) ?? mtus.get(nameOf(b)) ?? GREATEST_MTU;
    return { a: endOf(a), b: endOf(b), mtu: mtu ?? seen };
  });
}

/** UC has no answers: where its packets go, each a connection of one direction. */
export function unansweredOf(frames: Iterable<TracedFrame>): JudgedConnection[] {
  const found = new Map<string, JudgedConnection>();
  for (const packet of packetsOf(frames)) {
    const { opcode, source, payload } = packet;
    if (opcode < RC_END || opcode >= UC_END) continue;
    const known = found.get(nameOf(packet));
    const mtu = FULL.has(opcode - RC_END) ? payload.length : (known?.mtu ?? GREATEST_MTU);
    found.set(nameOf(packet), { a: { address: source, qpn: 0 }, b: endOf(packet), mtu, isUnreliable: true });
  }
  return [...found.values()];
}

/** QPs that sent datagrams. */
export function sendersOf(frames: Iterable<TracedFrame>): End[] {
  const found = new Map<string, End>();
  for (const { opcode, source, transport } of packetsOf(frames)) {
    if (opcode < UD || opcode >= UD_END) continue;
    const qpn = transport.readUIntBE(DETH_SOURCE_AT, 3);
    found.set(`${source}/${qpn}`, { address: source, qpn });
  }
  return [...found.values()];
}
