/** What arrives at a host, as the referee reads it: how UC and UD deliver follows from that alone. */
import { type SeenPacket, seePacket } from '../../referee/packet.ts';

export interface Arrival extends SeenPacket {
  /** The IP header, with the lengths that the frame has. */
  readonly ip: Buffer;
  /** False when it came with a wrong IPv4 checksum: a port would have dropped it. */
  readonly isIntact: boolean;
}

const IP_AT = 14;

/** Undefined when the frame was spoilt where it matters: the ICRC is wrong. */
export function arrivalOf(frame: Uint8Array, isIpv6: boolean): Arrival | undefined {
  const octets = Buffer.from(frame);
  const isIntact = isIpv6 || checksumHolds(octets);
  const ipBytes = isIpv6 ? 40 : 20;
  const udpBytes = octets.length - IP_AT - ipBytes;
  // Lengths may be spoilt: a port checks them before an engine sees the packet, and there is no port here.
  octets.writeUInt16BE(isIpv6 ? udpBytes : ipBytes + udpBytes, IP_AT + (isIpv6 ? 4 : 2));
  octets.writeUInt16BE(udpBytes, IP_AT + ipBytes + 4);
  try {
    const packet = seePacket(octets, 0, 0);
    return packet?.icrcOk ? { ...packet, ip: octets.subarray(IP_AT, IP_AT + ipBytes), isIntact } : undefined;
  } catch {
    return undefined;
  }
}

function checksumHolds(octets: Buffer): boolean {
  let sum = 0;
  for (let at = IP_AT; at < IP_AT + 20; at += 2) sum += octets.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum === 0xffff;
}
