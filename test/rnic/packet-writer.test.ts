/** The packet writer: what it lays out is read back by the referee, which shares no code with it. */
import t, { type Test } from 'tap';
import { SUPER_FRAME_BYTES, SUPER_FRAME_SEGMENTS, TransmitBurst } from '../../rnic/burst.ts';
import { PacketWriter } from '../../rnic/packet-writer.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Opcode from '../../wire/opcode.ts';
import { pKey, psn, qpn } from '../../wire/types.ts';
import { type SeenPacket, seePacket } from '../referee/packet.ts';
import { framesOf, pathBetween } from '../support/paths.ts';

const A = 0x0a00_0001;
const B = 0x0a00_0002;
const PAYLOAD = Uint8Array.from({ length: 5000 }, (_, i) => i * 31);

/** A SEND_ONLY of so many octets; false when the burst is full. */
function put(writer: PacketWriter, path: Path, number: number, payloadBytes: number): boolean {
  if (!writer.begin(path, Bth.BYTES, payloadBytes)) return false;
  const bits = Bth.MIG_REQ | Bth.padBits(Bth.padCountFor(payloadBytes));
  Bth.write(writer.view, writer.bthAt, Opcode.RC_SEND_ONLY, bits, pKey(0xffff), qpn(5), false, psn(number));
  writer.putBytes(PAYLOAD, 0, payloadBytes);
  writer.end();
  return true;
}

const seen = (burst: TransmitBurst, path: Path): SeenPacket[] =>
  Array.from({ length: burst.count }, (_, i) => framesOf(burst, i, path))
    .flat()
    .map((frame, i) => seePacket(Buffer.from(frame), i, 0)!);

function holds(t: Test, burst: TransmitBurst, path: Path, sizes: readonly number[]): void {
  const packets = seen(burst, path);
  t.same(
    packets.map((packet) => packet.payload.length),
    sizes,
  );
  for (const [i, packet] of packets.entries()) {
    t.ok(packet.icrcOk, `the ICRC of packet ${i} is right`);
    t.equal(packet.psn, i);
    t.ok(packet.payload.equals(PAYLOAD.subarray(0, packet.payload.length)));
  }
}

const SIZES = [0, 1, 2, 3, 4, 255, 256, 1024, 4096];

for (const isIpv6 of [false, true])
  t.test(`writer: single ${isIpv6 ? 'IPv6' : 'IPv4'} packets of every padding carry a right ICRC`, (t) => {
    const burst = new TransmitBurst();
    const path = pathBetween(A, B, { isIpv6 });
    const writer = new PacketWriter([burst], 0xfffe);
    for (const [i, size] of SIZES.entries()) t.ok(put(writer, path, i, size));
    t.equal(burst.count, SIZES.length);
    holds(t, burst, path, SIZES);
    t.end();
  });

for (const framing of [Framing.HEADER_ONCE, Framing.HEADER_EACH])
  for (const isIpv6 of [false, true])
    t.test(
      `writer: framing ${framing}, IPv${isIpv6 ? 6 : 4}: equal neighbours join, each with the ICRC of its own lengths and identification`,
      (t) => {
        const burst = new TransmitBurst();
        const path = pathBetween(A, B, { framing, isIpv6 });
        // Identifications wrap inside the super-frame.
        const writer = new PacketWriter([burst], 0xfffd);
        const sizes = [1024, 1024, 1024, 1024, 1024, 100, 100, 2000];
        for (const [i, size] of sizes.entries()) t.ok(put(writer, path, i, size));
        // Five and a shorter one; 100 by itself, for what follows is longer; 2000.
        t.equal(burst.count, 3);
        holds(t, burst, path, sizes);
        t.end();
      },
    );

t.test('writer: one packet that the next might join leaves first, however super-frames are framed', async (t) => {
  for (const framing of [Framing.SINGLE, Framing.HEADER_ONCE, Framing.HEADER_EACH]) {
    const path = pathBetween(A, B, { framing });
    const writer = new PacketWriter([new TransmitBurst()], 0);
    t.notOk(writer.isLone, 'none');
    put(writer, path, 0, 64);
    t.equal(writer.isLone, framing !== Framing.SINGLE);
    put(writer, path, 1, 64);
    t.notOk(writer.isLone, 'two');
  }
});

t.test('writer: the one IPv4 header of a super-frame has the length of all and a right checksum', (t) => {
  const burst = new TransmitBurst();
  const path = pathBetween(A, B, { framing: Framing.HEADER_ONCE });
  const writer = new PacketWriter([burst], 77);
  for (let i = 0; i < 10; i++) put(writer, path, i, 4096);
  t.equal(burst.count, 1);
  t.equal(Ipv4.totalLength(burst.view, path.ipAt), burst.frameBytes[0]! - path.ipAt);
  t.equal(Ipv4.identification(burst.view, path.ipAt), 77);
  t.equal(burst.view.getUint16(path.udpAt), path.sourcePort, 'R-015: templates are shared, source ports are not');
  t.ok(Ipv4.verifyChecksum(burst.view, path.ipAt));
  t.end();
});

t.test('writer: a super-frame ends at its limits of octets and segments', (t) => {
  const burst = new TransmitBurst();
  const path = pathBetween(A, B, { framing: Framing.HEADER_ONCE });
  const writer = new PacketWriter([burst]);
  let number = 0;
  for (let i = 0; i < 40; i++) put(writer, path, number++, 4096);
  for (let i = 0; i < 130; i++) put(writer, path, number++, 8);
  for (let i = 0; i < burst.count; i++) {
    t.ok(burst.frameBytes[i]! <= SUPER_FRAME_BYTES);
    const segments = framesOf(burst, i, path).length;
    t.ok(segments <= SUPER_FRAME_SEGMENTS);
  }
  holds(t, burst, path, [...new Array<number>(40).fill(4096), ...new Array<number>(130).fill(8)]);
  t.end();
});

t.test(
  'writer: a super-frame is open until it is full, or a shorter packet has ended it: a turn goes on so long',
  (t) => {
    for (const framing of [Framing.SINGLE, Framing.HEADER_ONCE, Framing.HEADER_EACH]) {
      const path = pathBetween(A, B, { framing });
      const writer = new PacketWriter([new TransmitBurst()]);
      t.notOk(writer.isOpen, 'none');
      const most = framing === Framing.SINGLE ? 1 : 15;
      for (let i = 1; i <= most; i++) {
        put(writer, path, i, 4096);
        t.equal(writer.isOpen, i < most, `${i} of 4 KiB`);
      }
      put(writer, path, 0, 1024);
      t.notOk(writer.isOpen, 'a shorter one, in what room there was');
      put(writer, path, 0, 1024);
      t.equal(writer.isOpen, framing !== Framing.SINGLE, 'a new one');
    }
    t.end();
  },
);

t.test('writer: another flow, or a burst that was sent, opens a new frame', (t) => {
  const burst = new TransmitBurst();
  const path = pathBetween(A, B, { framing: Framing.HEADER_ONCE });
  const other = pathBetween(A, B, { framing: Framing.HEADER_ONCE });
  const writer = new PacketWriter([burst]);
  put(writer, path, 0, 64);
  put(writer, other, 1, 64);
  put(writer, path, 2, 64);
  t.equal(burst.count, 3);
  burst.sent = 3;
  put(writer, path, 3, 64);
  t.equal(burst.count, 4, 'what the port has taken is not added to');
  holds(t, burst, path, [64, 64, 64, 64]);
  burst.reset();
  put(writer, path, 4, 64);
  t.equal(burst.count, 1);
  t.equal(seen(burst, path)[0]?.psn, 4);
  t.end();
});

t.test('writer: each port has its own burst and numbers', (t) => {
  const bursts = [new TransmitBurst(), new TransmitBurst()];
  const paths = [pathBetween(A, B, { port: 0 }), pathBetween(A, B, { port: 1 })];
  const writer = new PacketWriter(bursts, 9);
  for (const path of paths) put(writer, path, 0, 32);
  for (const [i, burst] of bursts.entries()) {
    holds(t, burst, paths[i]!, [32]);
    t.equal(Ipv4.identification(burst.view, paths[i]!.ipAt), 9);
    t.equal(burst.destination[0], 7);
  }
  t.end();
});

t.test('writer: a burst that is lent in the middle of a super-frame begins with all headers', (t) => {
  const bursts = [new TransmitBurst(), new TransmitBurst()];
  const path = pathBetween(A, B, { framing: Framing.HEADER_ONCE });
  const writer = new PacketWriter([bursts[0]!], 9);
  put(writer, path, 0, 64);
  writer.lend(0, bursts[1]!);
  put(writer, path, 1, 64);
  put(writer, path, 2, 64);
  writer.lend(0, bursts[0]!);
  put(writer, path, 3, 64);
  t.same(
    bursts.map(({ count }) => count),
    [2, 1],
    'nothing is added to a frame of before',
  );
  t.same(
    seen(bursts[1]!, path).map(({ psn }) => psn),
    [1, 2],
  );
  t.end();
});

t.test('writer: a full burst refuses, and what was begun and not ended leaves no trace', (t) => {
  const burst = new TransmitBurst(8192, 2);
  const path = pathBetween(A, B);
  const writer = new PacketWriter([burst]);
  t.ok(writer.begin(path, Bth.BYTES, 4096));
  t.ok(put(writer, path, 0, 4096));
  t.notOk(put(writer, path, 1, 4096), 'no octets left');
  t.ok(put(writer, path, 1, 16));
  t.notOk(put(writer, path, 2, 16), 'no frames left');
  holds(t, burst, path, [4096, 16]);
  t.end();
});

t.test('writer: inside this host four octets of zero stand for the ICRC', (t) => {
  const burst = new TransmitBurst();
  const writer = new PacketWriter([burst]);
  const path = pathBetween(A, B, { icrcElided: true });
  burst.bytes.fill(0xa5);
  put(writer, path, 0, 33);
  t.equal(burst.view.getUint32(burst.frameBytes[0]! - 4), 0);
  const padAt = burst.frameBytes[0]! - 4 - 3;
  t.same([...burst.bytes.subarray(padAt, padAt + 3)], [0, 0, 0], 'T-11: pad octets are zero');
  t.end();
});

t.test('writer: a packet that stands for several says so, and counts as they would', async (t) => {
  const burst = new TransmitBurst();
  const path = pathBetween(A, B, { icrcElided: true });
  const writer = new PacketWriter([burst], 9);
  t.ok(writer.begin(path, Bth.BYTES, 2500, false, 3));
  Bth.write(writer.view, writer.bthAt, Opcode.RC_SEND_ONLY, Bth.MIG_REQ, pKey(0xffff), qpn(5), false, psn(0));
  writer.putBytes(PAYLOAD, 0, 2500);
  t.equal(writer.end(), Bth.BYTES + 2500 + 4);
  t.equal(burst.view.getUint32(burst.frameBytes[0]! - 4), 2, 'two more');
  t.equal(writer.meteredBytes, 3 * (path.template.length + Bth.BYTES + 4) + 2500);
  put(writer, path, 3, 8);
  t.equal(Ipv4.identification(burst.view, burst.at[1]! + path.ipAt), 12, 'each has its identification');
});

t.test(
  'writer: an allowance counts octets from the link header on; the last packet may pass it, the next waits',
  async (t) => {
    const [wire, own] = [new TransmitBurst(), new TransmitBurst()];
    const path = pathBetween(A, B, { framing: Framing.HEADER_ONCE });
    const writer = new PacketWriter([wire, own], 0, 1);
    writer.allowance = 1500;
    t.ok(put(writer, path, 0, 1024));
    t.equal(writer.meteredBytes, path.template.length + Bth.BYTES + 1024 + 4);
    t.ok(put(writer, path, 1, 1024), 'a packet more is owed');
    t.equal(
      writer.meteredBytes,
      2 * (path.template.length + Bth.BYTES + 1024 + 4),
      'headers that stand once count for each',
    );
    t.notOk(put(writer, path, 2, 1024));
    t.match(writer, { isPaced: true, isFull: false });
    t.ok(put(writer, { ...path, port: 1 }, 3, 1024), 'the unmetered port');
    t.ok(writer.begin(path, Bth.BYTES + 4, 0, true), 'a short answer');
    writer.end();
    t.equal(
      writer.meteredBytes,
      2 * (path.template.length + Bth.BYTES + 1024 + 4) + path.template.length + Bth.BYTES + 8,
    );
    writer.meteredBytes = 0;
    t.ok(put(writer, { ...path, copies: 3 }, 4, 16));
    t.equal(writer.meteredBytes, 3 * (path.template.length + Bth.BYTES + 16 + 4), 'every copy counts');
    writer.meteredBytes = 0;
    writer.allowance = 0;
    t.notOk(put(writer, path, 5, 1), 'none');
  },
);
