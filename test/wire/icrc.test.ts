/** ICRC: two packets from elsewhere, and which bits it guards. */
import fc from 'fast-check';
import t, { type Test } from 'tap';
import * as Icrc from '../../wire/icrc.ts';

/** A CNP captured on a ConnectX-4 Lx (in scapy's tests), from its IP header on. R-009. */
const CNP =
  '45c2003c718c4000401191610a0011010a001201000012b7002800008100ffff40000118' +
  '000000000000000000000000000000000000000082fd002a';
/** scapy's UC SEND ONLY example with the ICRC that it computes. R-009. */
const UC_SEND_ONLY =
  '45010040047840004011b4d5c0a80007c0a80007c00012b7002caca22460ffff000000d300cf1710' +
  '4630818be28935d90e9a95505401be885e50000078f353f3';

const packetOf = (hex: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(hex, 'hex'));
const verifies = (packet: Uint8Array<ArrayBuffer>): boolean =>
  Icrc.verify(new DataView(packet.buffer), packet, 0, packet.length);

t.test('ICRC: a captured ConnectX CNP and a scapy packet verify', (t) => {
  t.ok(verifies(packetOf(CNP)));
  t.ok(verifies(packetOf(UC_SEND_ONLY)));
  t.end();
});

t.test('ICRC: write puts the least significant octet first', (t) => {
  const packet = packetOf(UC_SEND_ONLY);
  const view = new DataView(packet.buffer);
  const crc = Icrc.compute(view, packet, 0, packet.length - Icrc.BYTES);
  t.equal(crc >>> 0, 0xf353f378);
  view.setUint32(packet.length - Icrc.BYTES, 0);
  Icrc.write(view, packet.length - Icrc.BYTES, crc);
  t.equal(Buffer.from(packet).toString('hex'), UC_SEND_ONLY);
  t.end();
});

/** Bits that a router may change, as octets of the packet under their masks.. */
const IPV4_MASKED = new Map([
  [1, 0xff],
  [8, 0xff],
  [10, 0xff],
  [11, 0xff],
  [26, 0xff],
  [27, 0xff],
  [32, 0xff],
]);
const IPV6_MASKED = new Map([
  [0, 0x0f],
  [1, 0xff],
  [2, 0xff],
  [3, 0xff],
  [7, 0xff],
  [46, 0xff],
  [47, 0xff],
  [52, 0xff],
]);
/** Octets that say where headers are: version and IHL, without which nothing can be verified. */
const STRUCTURE = 0;

function holdsMasks(t: Test, packet: Uint8Array<ArrayBuffer>, masked: ReadonlyMap<number, number>): void {
  for (let at = STRUCTURE + 1; at < packet.length; at++)
    for (let bit = 1; bit < 256; bit <<= 1) {
      const flipped = packet.slice();
      flipped[at] = (flipped[at] as number) ^ bit;
      const isMasked = ((masked.get(at) ?? 0) & bit) !== 0;
      if (verifies(flipped) !== isMasked) t.fail(`octet ${at}, bit ${bit}`);
    }
  t.ok(verifies(packet));
}

t.test('ICRC: over IPv4 exactly the masked bits may change (R-007)', (t) => {
  holdsMasks(t, packetOf(UC_SEND_ONLY), IPV4_MASKED);
  t.end();
});

/** An RC SEND ONLY over IPv6 with 20 octets of payload. */
function ipv6Packet(): Uint8Array<ArrayBuffer> {
  const bth = '0400ffff00000011800000ff';
  const packet = packetOf(
    `6000000000301140${'fe80'.padEnd(30, '0')}01${'fe80'.padEnd(30, '0')}02c00012b700300000${bth}${'a5'.repeat(24)}`,
  );
  const icrcAt = packet.length - Icrc.BYTES;
  const view = new DataView(packet.buffer);
  Icrc.write(view, icrcAt, Icrc.compute(view, packet, 0, icrcAt));
  return packet;
}

t.test('ICRC: over IPv6 exactly the masked bits may change (R-008)', (t) => {
  const packet = ipv6Packet();
  holdsMasks(t, packet, IPV6_MASKED);
  const flow = packet.slice();
  flow[0] = 0x6f;
  t.ok(verifies(flow), 'traffic class may change');
  t.end();
});

t.test('ICRC: a segment of a super-frame has the ICRC of the packet the kernel makes of it', (t) => {
  const segment = fc.record({ identification: fc.nat(0xffff), payloadBytes: fc.nat({ max: 8 }).map((n) => n * 4) });
  const agrees = fc.property(segment, ({ identification, payloadBytes }) => {
    const packet = packetOf(UC_SEND_ONLY);
    const view = new DataView(packet.buffer);
    const parameters = Icrc.headerCrc(view, 0, false, 20, 28, identification, 44 + payloadBytes, 24 + payloadBytes);
    view.setUint16(2, 44 + payloadBytes);
    view.setUint16(4, identification);
    view.setUint16(24, 24 + payloadBytes);
    return Icrc.compute(view, packet, 0, 40) === parameters;
  });
  t.doesNotThrow(() => fc.assert(agrees));
  t.end();
});
