/** Checksums and segments that a sender left to its network card: the segments together are what it sent, each of them right by itself. */
import fc from 'fast-check';
import t from 'tap';
import { Cut, completeChecksum, SuperFrame } from '../../vswitch/stages/offload.ts';

const ETHERNET = 14;

interface Layout {
  readonly isIpv6: boolean;
  readonly isTcp: boolean;
  readonly optionWords: number;
}

const layer4At = ({ isIpv6 }: Layout): number => ETHERNET + (isIpv6 ? 40 : 20);
const headerOf = (layout: Layout): number => layer4At(layout) + (layout.isTcp ? 20 + layout.optionWords * 4 : 8);

/** A super-frame as a kernel hands it out: lengths of the whole, no checksum but the IP header's. */
function superFrame(layout: Layout, payload: Uint8Array, identification: number, sequence: number): Uint8Array {
  const bytes = new Uint8Array(headerOf(layout) + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.fill(0x11, 0, 12);
  view.setUint16(12, layout.isIpv6 ? 0x86dd : 0x0800);
  if (layout.isIpv6) {
    view.setUint32(14, 0x6000_0000);
    view.setUint16(18, (bytes.length - 54) & 0xffff);
    view.setUint16(20, layout.isTcp ? 0x0640 : 0x1140);
    for (let i = 22; i < 54; i++) bytes[i] = i * 7;
  } else {
    view.setUint16(14, 0x4500);
    view.setUint16(16, bytes.length - 14);
    view.setUint16(18, identification);
    view.setUint16(22, layout.isTcp ? 0x4006 : 0x4011);
    for (let i = 26; i < 34; i++) bytes[i] = i * 5;
  }
  const at = layer4At(layout);
  view.setUint32(at, 0x1234_5678);
  if (layout.isTcp) {
    view.setUint32(at + 4, sequence);
    view.setUint16(at + 12, ((5 + layout.optionWords) << 12) | 0x99); // CWR, ACK, PSH, FIN
  }
  bytes.set(payload, headerOf(layout));
  return bytes;
}

/** RFC 1071, in the plainest way there is. */
function onesSum(octets: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < octets.length; i += 2) sum += ((octets[i]! << 8) | (octets[i + 1] ?? 0)) >>> 0;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x1_0000);
  return sum;
}

/** The sum over pseudo-header and datagram, its checksum included: all ones when that is right. */
function verdictOf(frame: Uint8Array, { isIpv6, isTcp }: Layout): number {
  const at = isIpv6 ? 54 : 34;
  const addresses = [...frame.subarray(isIpv6 ? 22 : 26, at)];
  const length = frame.length - at;
  return onesSum([...addresses, 0, isTcp ? 6 : 17, length >> 8, length & 0xff, ...frame.subarray(at)]);
}

function cut(layout: Layout, frame: Uint8Array, segmentBytes: number): Uint8Array[] {
  const one = new SuperFrame();
  const kind = layout.isTcp ? Cut.TCP : Cut.UDP;
  const arena = new Uint8Array(frame.length + 100);
  arena.set(frame, 50);
  const isOpen = one.open(
    arena,
    new DataView(arena.buffer),
    50,
    50 + frame.length,
    layer4At(layout),
    kind,
    segmentBytes,
  );
  if (!isOpen) throw new Error('not opened');
  const out = new Uint8Array(headerOf(layout) + segmentBytes + 20);
  return Array.from({ length: one.count }, (_, i) => {
    const octets = one.write(i, out, new DataView(out.buffer), 10);
    return out.slice(10, 10 + octets);
  });
}

const layouts = fc.record({ isIpv6: fc.boolean(), isTcp: fc.boolean(), optionWords: fc.integer({ min: 0, max: 10 }) });

t.test(
  'segments of any super-frame: payload in order, lengths, identifications, sequence numbers, flags, checksums',
  async (t) => {
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(
          layouts,
          fc.uint8Array({ minLength: 1, maxLength: 6000 }),
          fc.integer({ min: 1, max: 1460 }),
          fc.integer({ min: 0, max: 0xffff }),
          fc.integer({ min: 0, max: 0xffff_ffff }),
          (layout, payload, segmentBytes, identification, sequence) => {
            const segments = cut(layout, superFrame(layout, payload, identification, sequence), segmentBytes);
            const header = headerOf(layout);
            const joined = Buffer.concat(segments.map((one) => one.subarray(header)));
            if (!joined.equals(Buffer.from(payload))) throw new Error('payload');
            for (const [i, segment] of segments.entries()) {
              const view = new DataView(segment.buffer, segment.byteOffset, segment.length);
              const isLast = i === segments.length - 1;
              if (!isLast && segment.length !== header + segmentBytes) throw new Error('length');
              if (verdictOf(segment, layout) !== 0xffff) throw new Error('checksum');
              const length = layout.isIpv6 ? view.getUint16(18) + 54 : view.getUint16(16) + 14;
              if (length !== segment.length) throw new Error('IP length');
              if (!layout.isIpv6) {
                if (onesSum([...segment.subarray(14, 34)]) !== 0xffff) throw new Error('IP checksum');
                if (view.getUint16(18) !== ((identification + i) & 0xffff)) throw new Error('identification');
              }
              const at = layer4At(layout);
              if (!layout.isTcp && view.getUint16(at + 4) !== segment.length - at) throw new Error('UDP length');
              if (!layout.isTcp) continue;
              if (view.getUint32(at + 4) !== (sequence + i * segmentBytes) >>> 0) throw new Error('sequence number');
              const flags = 0x10 | (isLast ? 0x09 : 0) | (i === 0 ? 0x80 : 0);
              if (view.getUint8(at + 13) !== flags) throw new Error('flags');
            }
          },
        ),
        { numRuns: 300 },
      ),
    );
  },
);

t.test('a checksum that was left to the card is completed from the sum of the pseudo-header', async (t) => {
  for (const isIpv6 of [false, true])
    for (const isTcp of [false, true]) {
      const layout = { isIpv6, isTcp, optionWords: 0 };
      const frame = superFrame(layout, Uint8Array.of(1, 2, 3, 4, 5), 7, 8);
      const view = new DataView(frame.buffer);
      const at = layer4At(layout);
      if (!isTcp) view.setUint16(at + 4, frame.length - at);
      const length = frame.length - at;
      const addresses = [...frame.subarray(isIpv6 ? 22 : 26, at)];
      view.setUint16(at + (isTcp ? 16 : 6), onesSum([...addresses, 0, isTcp ? 6 : 17, length >> 8, length & 0xff]));
      t.equal(completeChecksum(view, 0, frame.length, at, isTcp ? 16 : 6), true);
      t.equal(verdictOf(frame, layout), 0xffff);
    }
});

t.test('what says nonsense of itself is not touched', async (t) => {
  const layout = { isIpv6: false, isTcp: true, optionWords: 0 };
  const frame = superFrame(layout, new Uint8Array(100), 1, 2);
  const view = new DataView(frame.buffer);
  const before = Buffer.from(frame).toString('hex');
  for (const [start, offset] of [
    [0, 16],
    [34, 200],
    [60_000, 16],
    [13, 0],
  ] as const)
    t.equal(completeChecksum(view, 0, frame.length, start, offset), false);
  const one = new SuperFrame();
  const open = (start: number, kind: Cut, segmentBytes: number): boolean =>
    one.open(frame, view, 0, frame.length, start, kind, segmentBytes);
  t.equal(open(34, Cut.UNKNOWN, 50), false);
  t.equal(open(34, Cut.TCP, 0), false, 'segments of nothing');
  t.equal(open(30, Cut.TCP, 50), false, 'TCP inside the IP header');
  t.equal(open(150, Cut.TCP, 50), false, 'TCP behind the frame');
  frame[46] = 0xf0;
  t.equal(open(34, Cut.TCP, 50), true, 'with options');
  frame[46] = 0x10;
  t.equal(open(34, Cut.TCP, 50), false, 'a header shorter than the shortest');
  frame[46] = 0x50;
  frame[12] = 0x88;
  t.equal(open(34, Cut.TCP, 50), false, 'no IP');
  frame[12] = 0x08;
  t.equal(Buffer.from(frame).toString('hex'), before);
});
