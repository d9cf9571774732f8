/** The referee's own reader of classic pcap files: frames with their times in microseconds. */
import { readFileSync } from 'node:fs';

export interface TracedFrame {
  readonly timeMicros: number;
  readonly octets: Buffer;
}

const MAGIC_MICROS = 0xa1b2c3d4;
const MAGIC_NANOS = 0xa1b23c4d;

/** Reads a whole little-endian capture of Ethernet frames. Throws on anything else, and on frames cut short by the snapshot length: a broken trace proves nothing. */
export function readFrames(path: string): TracedFrame[] {
  const file = readFileSync(path);
  const magic = file.readUInt32LE(0);
  if (magic !== MAGIC_MICROS && magic !== MAGIC_NANOS) throw new Error(`${path}: not a little-endian pcap file`);
  if (file.readUInt32LE(20) !== 1) throw new Error(`${path}: not an Ethernet capture`);
  const perMicro = magic === MAGIC_NANOS ? 1000 : 1;
  const frames: TracedFrame[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const captured = file.readUInt32LE(at + 8);
    if (captured !== file.readUInt32LE(at + 12))
      throw new Error(`${path}: frame ${frames.length} was cut short by the capture`);
    const timeMicros = file.readUInt32LE(at) * 1e6 + file.readUInt32LE(at + 4) / perMicro;
    frames.push({ timeMicros, octets: file.subarray(at + 16, at + 16 + captured) });
    at += 16 + captured;
  }
  return frames;
}
