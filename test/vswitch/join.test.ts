/** Segments of TCP joined again: what their sender cut comes out whole, and what does not belong together stays apart. */
import fc from 'fast-check';
import t from 'tap';
import { SegmentJoiner } from '../../vswitch/stages/join.ts';
import { Cut, SuperFrame } from '../../vswitch/stages/offload.ts';

const ETHERNET = 14;
const GAP = 8;

interface Shape {
  readonly isIpv6: boolean;
  readonly optionWords: number;
  readonly segmentBytes: number;
}

const layer4Of = ({ isIpv6 }: Shape): number => ETHERNET + (isIpv6 ? 40 : 20);
const headerOf = (shape: Shape): number => layer4Of(shape) + 20 + shape.optionWords * 4;

/** As a kernel hands a super-frame out. Flags: ACK, and PSH. */
function superFrame(shape: Shape, payload: Uint8Array, flags = 0x18): Uint8Array {
  const bytes = new Uint8Array(headerOf(shape) + payload.length);
  const view = new DataView(bytes.buffer);
  bytes.fill(0x12, 0, 12);
  view.setUint16(12, shape.isIpv6 ? 0x86dd : 0x0800);
  if (shape.isIpv6) {
    view.setUint32(14, 0x6000_0000);
    view.setUint16(18, bytes.length - 54);
    view.setUint16(20, 0x0640);
    for (let i = 22; i < 54; i++) bytes[i] = i * 7;
  } else {
    view.setUint16(14, 0x4500);
    view.setUint16(16, bytes.length - 14);
    view.setUint16(20, 0x4000);
    view.setUint16(22, 0x4006);
    for (let i = 26; i < 34; i++) bytes[i] = i * 5;
  }
  const at = layer4Of(shape);
  view.setUint32(at, 0x1234_5678);
  view.setUint32(at + 4, 0xffff_f000);
  view.setUint32(at + 8, 0x0102_0304);
  view.setUint16(at + 12, ((5 + shape.optionWords) << 12) | flags);
  view.setUint16(at + 14, 0x1f1f);
  bytes.fill(1, at + 20, headerOf(shape));
  bytes.set(payload, headerOf(shape));
  return bytes;
}

/** Its segments with a gap before each, as they lie behind one another when they come out of a tunnel. */
function cut(shape: Shape, whole: Uint8Array): { bytes: Uint8Array; frames: [at: number, end: number][] } {
  const cutter = new SuperFrame();
  const isOpen = cutter.open(
    whole,
    new DataView(whole.buffer),
    0,
    whole.length,
    layer4Of(shape),
    Cut.TCP,
    shape.segmentBytes,
  );
  if (!isOpen) throw new Error('not a super-frame');
  const bytes = new Uint8Array(whole.length + cutter.count * (cutter.headerBytes + GAP));
  const frames: [number, number][] = [];
  let at = 0;
  for (let i = 0; i < cutter.count; i++) {
    at += GAP;
    const octets = cutter.write(i, bytes, new DataView(bytes.buffer), at);
    frames.push([at, at + octets]);
    at += octets;
  }
  return { bytes, frames };
}

interface Run {
  readonly count: number;
  readonly segmentBytes: number;
  readonly frame: Uint8Array;
}

function join(bytes: Uint8Array, frames: readonly [number, number][]): Run[] {
  const joiner = new SegmentJoiner();
  const runs: Run[] = [];
  const end = (): void => {
    joiner.finish();
    const { count, segmentBytes } = joiner;
    if (count > 0) runs.push({ count, segmentBytes, frame: bytes.slice(joiner.at, joiner.end) });
    joiner.reset();
  };
  for (const [at, to] of frames) {
    if (joiner.add(bytes, at, to)) continue;
    end();
    joiner.begin(new DataView(bytes.buffer), at, to);
  }
  end();
  return runs;
}

const SHAPE: Shape = { isIpv6: false, optionWords: 3, segmentBytes: 100 };
const payloadOf = (octets: number): Uint8Array => Uint8Array.from({ length: octets }, (_, i) => (i * 13) & 0xff);
const countsOf = (bytes: Uint8Array, frames: readonly [number, number][]): number[] =>
  join(bytes, frames).map(({ count }) => count);

t.test('what a sender cut comes out whole, and cuts into the same segments again', async (t) => {
  const shape = fc.record({
    isIpv6: fc.boolean(),
    optionWords: fc.nat({ max: 10 }),
    segmentBytes: fc.integer({ min: 1, max: 1500 }),
  });
  const property = fc.property(shape, fc.integer({ min: 1, max: 40 }), fc.nat({ max: 1499 }), (one, segments, less) => {
    const payload = payloadOf(Math.max(1, segments * one.segmentBytes - (less % one.segmentBytes)));
    const whole = superFrame(one, payload);
    const { bytes, frames } = cut(one, whole);
    const before = frames.map(([at, end]) => bytes.slice(at, end));
    const [run, ...others] = join(bytes, frames);
    t.equal(others.length, 0);
    t.equal(run!.count, frames.length);
    if (frames.length === 1) {
      t.same(run!.frame, before[0]);
      return;
    }
    t.equal(run!.segmentBytes, one.segmentBytes);
    t.equal(Buffer.compare(run!.frame.subarray(headerOf(one)), payload), 0);
    const again = cut(one, run!.frame);
    t.same(
      again.frames.map(([at, end]) => again.bytes.slice(at, end)),
      before,
    );
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 200 }));
});

function flip(bytes: Uint8Array, at: number, bits: number): void {
  bytes[at]! ^= bits;
}

t.test('what does not belong together stays apart', async (t) => {
  const shape = SHAPE;
  const tcp = layer4Of(shape);
  const alter = (act: (bytes: Uint8Array, at: number, end: number) => void): number[] => {
    const { bytes, frames } = cut(shape, superFrame(shape, payloadOf(400)));
    act(bytes, ...frames[2]!);
    return countsOf(bytes, frames);
  };
  t.same(
    alter(() => {}),
    [4],
  );
  for (const [what, offset] of [
    ['another MAC', 3],
    ['another class', ETHERNET + 1],
    ['another hop limit', ETHERNET + 8],
    ['another address', ETHERNET + 15],
    ['another port', tcp + 1],
    ['other octets', tcp + 6],
    ['another acknowledgement', tcp + 9],
    ['another window', tcp + 15],
    ['another option', tcp + 23],
    ['a spoiled payload', headerOf(shape) + 7],
  ] as const)
    t.notSame(
      alter((bytes, at) => flip(bytes, at + offset, 1)),
      [4],
      what,
    );
  t.same(
    alter((bytes, at) => flip(bytes, at + headerOf(shape), 1)),
    [2, 1, 1],
    'spoiled: nobody joins it or is joined to it',
  );
  for (const [flag, name] of [
    [0x01, 'FIN'],
    [0x02, 'SYN'],
    [0x04, 'RST'],
    [0x20, 'URG'],
    [0x80, 'CWR'],
  ] as const)
    t.same(alter((bytes, at) => flip(bytes, at + tcp + 13, flag)).length, 3, name);
});

t.test(
  'a fragment, options of IP, a length that is not the frame’s, and what is cut off are left as they are',
  async (t) => {
    for (const [what, offset, value] of [
      ['a fragment', ETHERNET + 6, 0x20],
      ['options', ETHERNET, 0x46],
      ['another protocol', ETHERNET + 9, 17],
      ['a length', ETHERNET + 3, 1],
      ['a header beyond the frame', layer4Of(SHAPE) + 12, 0xf0],
      ['a header too short', layer4Of(SHAPE) + 12, 0x40],
    ] as const) {
      const { bytes, frames } = cut(SHAPE, superFrame(SHAPE, payloadOf(60)));
      bytes[frames[0]![0] + offset] = value;
      t.same(countsOf(bytes, [frames[0]!, frames[0]!]), [1, 1], what);
    }
    const { bytes, frames } = cut(SHAPE, superFrame(SHAPE, payloadOf(400)));
    for (const octets of [0, 13, 14, 33, 34, 53])
      t.same(countsOf(bytes, [[frames[0]![0], frames[0]![0] + octets], frames[1]!]), [1, 1], `${octets} octets`);
    t.end();
  },
);

t.test('PSH ends a run and is kept; a packet grows no larger than IP can say', async (t) => {
  const shape: Shape = { ...SHAPE, segmentBytes: 1000 };
  const { bytes, frames } = cut(shape, superFrame(shape, payloadOf(4000)));
  const [run] = join(bytes, frames);
  t.equal(run!.frame[layer4Of(shape) + 13], 0x18);
  const first = cut(shape, superFrame(shape, payloadOf(2000)));
  t.same(countsOf(first.bytes, [...first.frames, first.frames[1]!]), [2, 1], 'behind PSH another begins');
  const large: Shape = { ...SHAPE, segmentBytes: 1400 };
  const most = cut(large, superFrame(large, payloadOf(64_000)));
  t.ok(countsOf(most.bytes, most.frames).length === 1);
  const twice = cut(large, superFrame(large, payloadOf(45 * 1400), 0x10));
  const more = new Uint8Array(twice.bytes.length * 2);
  more.set(twice.bytes);
  more.set(twice.bytes, twice.bytes.length);
  const again = twice.frames.map(([at, end]): [number, number] => [at + twice.bytes.length, end + twice.bytes.length]);
  t.equal(join(more, [...twice.frames, ...again]).length, 2);
});
