/** Captures: what is written is read back, in any order of octets, any resolution and any pieces; what is no capture is refused. */
import fc from 'fast-check';
import t from 'tap';
import { readCapture, readerFor } from '../../wire/capture.ts';
import { CaptureError } from '../../wire/capture-error.ts';
import { type CapturedFrame, FRAME_BYTES_MAX } from '../../wire/captured-frame.ts';
import * as Pcap from '../../wire/pcap.ts';
import * as PcapNg from '../../wire/pcapng.ts';

const concat = (parts: Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

function writePcap(frames: readonly CapturedFrame[], littleEndian: boolean, nanosecond: boolean): Uint8Array {
  const format = { littleEndian, nanosecond };
  return concat([Pcap.fileHeader(format), ...frames.map((frame) => Pcap.record(frame, format))]);
}

function writePcapNg(frames: readonly CapturedFrame[], littleEndian: boolean, nanosecond: boolean): Uint8Array {
  const blocks = frames.map((frame) => PcapNg.enhancedPacket(frame, nanosecond, littleEndian));
  const interfaces = ['eth0', 'vrnic1'].map((name) => PcapNg.interfaceDescription({ name, nanosecond }, littleEndian));
  return concat([PcapNg.sectionHeader(littleEndian), ...interfaces, ...blocks]);
}

const anyFrame = fc
  .record({
    seconds: fc.integer({ min: 0, max: 0xffff_ffff }),
    micros: fc.nat(999_999),
    octets: fc.uint8Array({ maxLength: 90 }),
    cutBytes: fc.nat(10),
    interfaceIndex: fc.nat(1),
  })
  .map(({ seconds, micros, octets, cutBytes, interfaceIndex }) => {
    const originalBytes = octets.length + cutBytes;
    return { seconds, nanos: micros * 1000, originalBytes, octets, interfaceIndex, linkType: 1 };
  });

const plain = (frame: CapturedFrame): string => JSON.stringify({ ...frame, octets: [...frame.octets] });

/** Reads a capture in pieces of `pieceBytes`. */
function readInPieces(file: Uint8Array, pieceBytes: number): CapturedFrame[] {
  const reader = readerFor(file);
  const frames: CapturedFrame[] = [];
  for (let at = 0; at < file.length; at += pieceBytes) {
    reader.push(file.subarray(at, at + pieceBytes));
    for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
  }
  reader.end();
  return frames;
}

const KINDS = [
  { kind: 'pcap', write: writePcap, keepsInterface: false },
  { kind: 'pcapng', write: writePcapNg, keepsInterface: true },
];

for (const { kind, write, keepsInterface } of KINDS) {
  const kept = (frame: CapturedFrame): string => plain(keepsInterface ? frame : { ...frame, interfaceIndex: 0 });

  t.test(`${kind}: frames are read back as written, in both byte orders and resolutions, in any pieces`, (t) => {
    const readsBack = fc.property(
      fc.array(anyFrame, { maxLength: 5 }),
      fc.boolean(),
      fc.boolean(),
      fc.integer({ min: 1, max: 200 }),
      (frames, littleEndian, nanosecond, pieceBytes) => {
        const file = write(frames, littleEndian, nanosecond);
        const expected = frames.map(kept).join();
        return (
          readCapture(file).map(plain).join() === expected &&
          readInPieces(file, pieceBytes).map(plain).join() === expected
        );
      },
    );
    t.doesNotThrow(() => fc.assert(readsBack));
    t.end();
  });

  t.test(`${kind}: nanoseconds survive where the file keeps them`, (t) => {
    const octets = new Uint8Array(3);
    const frame = { seconds: 1, nanos: 123_456_789, originalBytes: 3, octets, interfaceIndex: 0, linkType: 1 };
    t.equal(readCapture(write([frame], true, true))[0]?.nanos, 123_456_789);
    t.equal(readCapture(write([frame], true, false))[0]?.nanos, 123_456_000);
    t.end();
  });

  t.test(
    `${kind}: a file cut anywhere is refused or ends at a whole frame, and octets at random never crash it`,
    (t) => {
      const octets = new Uint8Array(20);
      const frame = { seconds: 1, nanos: 0, originalBytes: 20, octets, interfaceIndex: 0, linkType: 1 };
      const file = write([frame, frame], true, true);
      for (let bytes = 0; bytes < file.length; bytes++)
        try {
          t.ok(readCapture(file.subarray(0, bytes)).length < 2);
        } catch (error) {
          t.type(error, CaptureError);
        }
      const onlyCaptureErrors = fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(60), (noise, at) => {
        const mutated = file.slice();
        mutated.set(noise.subarray(0, 8), at);
        for (const octets of [mutated, noise])
          try {
            readCapture(octets);
          } catch (error) {
            if (!(error instanceof CaptureError)) return false;
          }
        return true;
      });
      t.doesNotThrow(() => fc.assert(onlyCaptureErrors, { numRuns: 1000 }));
      t.end();
    },
  );

  t.test(`${kind}: a frame over the limit is neither written nor read`, (t) => {
    const octets = new Uint8Array(FRAME_BYTES_MAX + 1);
    const frame = { seconds: 0, nanos: 0, originalBytes: 0, octets, interfaceIndex: 0, linkType: 1 };
    t.throws(() => write([frame], true, true), /a frame of 262145 octets, the limit is 262144/);
    t.end();
  });
}

t.test('pcap: a frame that claims more than the limit is refused with its offset', (t) => {
  const file = concat([Pcap.fileHeader(), new Uint8Array(16).fill(0x7f)]);
  t.throws(() => readCapture(file), { message: /a frame of 2139062143 octets.*at octet 24/, offset: 24 });
  t.throws(() => readCapture(new Uint8Array(24)), /magic number is unknown \(at octet 0/);
  t.throws(() => readCapture(new Uint8Array(0)), /the file is empty/);
  t.end();
});

const words = (...values: number[]): Uint8Array => Uint8Array.from(Buffer.from(Uint32Array.from(values).buffer));

t.test('pcapng: simple packets are read, unknown blocks and options passed over, sections begin anew', (t) => {
  const unknown = words(0x0bad, 16, 42, 16);
  const simple = words(3, 20, 3, 0x00ccbbaa, 20);
  const section = [PcapNg.sectionHeader(), PcapNg.interfaceDescription({ name: 'eth0' })];
  const frames = readCapture(concat([...section, unknown, simple, ...section, simple]));
  t.same(
    frames.map(({ octets }) => [...octets]),
    [
      [0xaa, 0xbb, 0xcc],
      [0xaa, 0xbb, 0xcc],
    ],
  );
  t.throws(() => readCapture(concat([PcapNg.sectionHeader(), simple])), /before any interface was described/);
  t.throws(() => readCapture(concat([...section, words(6, 12, 12)])), /too short for its enhanced packet/);
  t.throws(() => readCapture(concat([...section, words(6, 13, 13)])), /a block of 13 octets/);
  t.throws(() => readCapture(concat([...section, words(7, 12, 16)])), /two lengths differ, 12 and 16/);
  t.end();
});
