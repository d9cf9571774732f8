/**
 * The referee's own reading of a RoCEv2 packet. It shares no code with the product on purpose: a header misread in the same way by engine and referee would
 * never be found. Written from RFC 791, RFC 8200, RFC 768 and the BTH picture of IBA Vol. 1; ICRC as in Annex A17, through zlib's CRC.
 */
import { crc32 } from 'node:zlib';

/** One packet on the wire, as far as the referee cares. */
export interface SeenPacket {
  /** Position in the trace, for messages. */
  readonly index: number;
  readonly timeMicros: number;
  readonly source: string;
  readonly destination: string;
  readonly opcode: number;
  readonly destQpn: number;
  readonly psn: number;
  readonly ackRequest: boolean;
  readonly becn: boolean;
  readonly ce: boolean;
  readonly padCount: number;
  readonly icrcOk: boolean;
  /** Octets between the extension headers and pad + ICRC. */
  readonly payload: Buffer;
  readonly reth?: { readonly address: bigint; readonly rKey: number; readonly length: number };
  readonly syndrome?: number;
  readonly msn?: number;
  /** The whole packet from the BTH on without the ICRC: compares retransmissions. */
  readonly transport: Buffer;
}

const EXTENSION_OCTETS: Record<number, number> = {
  3: 4,
  5: 4,
  6: 16,
  9: 4,
  10: 16,
  11: 20,
  12: 16,
  13: 4,
  15: 4,
  16: 4,
  17: 4,
  18: 12,
  19: 28,
  20: 28,
  22: 4,
  23: 4,
  28: 20,
  29: 16,
};

const UD = 0x60;

function extensionOctets(opcode: number): number {
  if (opcode === 0x81) return 16;
  if ((opcode & 0xe0) === UD) return (opcode & 0x1f) === 5 ? 12 : 8;
  return EXTENSION_OCTETS[opcode & 0x1f] ?? 0;
}

/** Frame (Ethernet II, possibly tagged) → packet; undefined when it is not RoCEv2. Throws when it claims to be and is malformed. */
export function seePacket(frame: Buffer, index: number, timeMicros: number): SeenPacket | undefined {
  let at = 12;
  while (frame.readUInt16BE(at) === 0x8100) at += 4;
  const etherType = frame.readUInt16BE(at);
  const ip = at + 2;
  if (etherType === 0x0800) return seeIpv4(frame, ip, index, timeMicros);
  if (etherType === 0x86dd) return seeIpv6(frame, ip, index, timeMicros);
  return undefined;
}

function seeIpv4(frame: Buffer, ip: number, index: number, timeMicros: number): SeenPacket | undefined {
  if (frame[ip + 9] !== 17 || frame.readUInt16BE(ip + 22) !== 4791) return undefined;
  if (frame[ip] !== 0x45) throw new Error(`packet ${index}: IPv4 options in a RoCEv2 packet`);
  if ((frame.readUInt16BE(ip + 6) & 0x3fff) !== 0) throw new Error(`packet ${index}: a RoCEv2 packet is fragmented`);
  const end = ip + frame.readUInt16BE(ip + 2);
  if (end !== ip + 20 + frame.readUInt16BE(ip + 24)) throw new Error(`packet ${index}: IPv4 and UDP lengths differ`);
  const masked = Buffer.concat([Buffer.alloc(8, 0xff), frame.subarray(ip, end - 4)]);
  for (const masks of [9, 16, 18, 19, 34, 35, 40]) masked[masks] = 0xff;
  const address = (offset: number): string => [...frame.subarray(offset, offset + 4)].join('.');
  return seeTransport(
    frame,
    ip + 28,
    end,
    masked,
    (frame[ip + 1]! & 3) === 3,
    address(ip + 12),
    address(ip + 16),
    index,
    timeMicros,
  );
}

function seeIpv6(frame: Buffer, ip: number, index: number, timeMicros: number): SeenPacket | undefined {
  if (frame[ip + 6] !== 17 || frame.readUInt16BE(ip + 42) !== 4791) return undefined;
  const end = ip + 40 + frame.readUInt16BE(ip + 4);
  if (frame.readUInt16BE(ip + 4) !== frame.readUInt16BE(ip + 44))
    throw new Error(`packet ${index}: IPv6 and UDP lengths differ`);
  const masked = Buffer.concat([Buffer.alloc(8, 0xff), frame.subarray(ip, end - 4)]);
  masked[8] = masked[8]! | 0x0f;
  for (const masks of [9, 10, 11, 15, 54, 55, 60]) masked[masks] = 0xff;
  const ce = ((frame.readUInt16BE(ip) >> 4) & 0xff & 3) === 3;
  const address = (offset: number): string => frame.toString('hex', offset, offset + 16);
  return seeTransport(frame, ip + 48, end, masked, ce, address(ip + 8), address(ip + 24), index, timeMicros);
}

function seeTransport(
  frame: Buffer,
  bth: number,
  end: number,
  masked: Buffer,
  ce: boolean,
  source: string,
  destination: string,
  index: number,
  timeMicros: number,
): SeenPacket {
  if (end > frame.length) throw new Error(`packet ${index}: longer than its frame`);
  const opcode = frame[bth]!;
  const extension = bth + 12;
  const payloadAt = extension + extensionOctets(opcode);
  const padCount = (frame[bth + 1]! >> 4) & 3;
  const payloadEnd = end - 4 - padCount;
  if (payloadAt > payloadEnd)
    throw new Error(`packet ${index}: opcode 0x${opcode.toString(16)} does not fit in ${end - bth} octets`);
  const operation = opcode & 0x1f;
  const connected = opcode < 0x40;
  const hasReth = connected && [6, 10, 11, 12, 29].includes(operation);
  const hasAeth = opcode < 0x20 && [13, 15, 16, 17, 18].includes(operation);
  return {
    index,
    timeMicros,
    source,
    destination,
    opcode,
    destQpn: frame.readUIntBE(bth + 5, 3),
    psn: frame.readUIntBE(bth + 9, 3),
    ackRequest: (frame[bth + 8]! & 0x80) !== 0,
    becn: (frame[bth + 4]! & 0x40) !== 0,
    ce,
    padCount,
    icrcOk: crc32(masked) === frame.readUInt32LE(end - 4),
    payload: frame.subarray(payloadAt, payloadEnd),
    ...(hasReth && {
      reth: {
        address: frame.readBigUInt64BE(extension),
        rKey: frame.readUInt32BE(extension + 8),
        length: frame.readUInt32BE(extension + 12),
      },
    }),
    ...(hasAeth && { syndrome: frame[extension]!, msn: frame.readUIntBE(extension + 1, 3) }),
    transport: frame.subarray(bth, end - 4),
  };
}
