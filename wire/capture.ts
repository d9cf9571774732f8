/** Capture files of either kind: a reader that finds out which kind it is given. */
import { CaptureError } from './capture-error.ts';
import type { CapturedFrame, CaptureReader } from './captured-frame.ts';
import { PcapReader } from './pcap.ts';
import { PcapNgReader } from './pcapng.ts';

const PCAPNG_FIRST_OCTET = 0x0a;

/** A reader for a file that begins with `firstOctets` (at least one), which must still be pushed. */
export const readerFor = (firstOctets: Uint8Array): CaptureReader =>
  firstOctets[0] === PCAPNG_FIRST_OCTET ? new PcapNgReader() : new PcapReader();

/** All frames of a whole capture, pcap or pcapng. Throws CaptureError naming the octet at which it went wrong. */
export function readCapture(octets: Uint8Array): CapturedFrame[] {
  if (octets.length === 0) throw new CaptureError(0, 'the file is empty');
  const reader = readerFor(octets);
  const frames: CapturedFrame[] = [];
  reader.push(octets);
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
  reader.end();
  return frames;
}
