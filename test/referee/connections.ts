/** Which RC connections a trace holds: connections that follow one another between two addresses are told apart by their QPNs. */
import { seePacket } from './packet.ts';
import type { TracedFrame } from './pcap-frames.ts';
import type { End, JudgedConnection } from './referee.ts';

const RC_OPCODES = 0x20;

/** Both ends of each connection: the first QPN seen in one direction belongs to the first one seen in the other. One after another only, not side by side. */
export function connectionsOf(frames: Iterable<TracedFrame>, mtu: number): JudgedConnection[] {
  const known = new Set<string>();
  const waiting = new Map<string, End>();
  const connections: JudgedConnection[] = [];
  for (const { octets } of frames) {
    const packet = seePacket(octets, 0, 0);
    if (!packet || packet.opcode >= RC_OPCODES) continue;
    const { source, destination, destQpn } = packet;
    const end = { address: destination, qpn: destQpn };
    const name = `${destination}/${destQpn}`;
    if (known.has(name)) continue;
    known.add(name);
    const other = waiting.get(source);
    if (other) connections.push({ a: other, b: end, mtu });
    if (other) waiting.delete(source);
    else waiting.set(destination, end);
  }
  return connections;
}
