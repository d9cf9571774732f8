/** The golden captures, read once. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCapture } from '../../wire/capture.ts';
import { ROOT } from '../support/root.ts';

const FOLDER = join(ROOT, 'test', 'golden');

export interface GoldenCapture {
  readonly name: string;
  readonly path: string;
  readonly frames: readonly Uint8Array[];
}

export const CAPTURES: readonly GoldenCapture[] = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.pcap'))
  .map((file) => {
    const path = join(FOLDER, file);
    return { name: file, path, frames: readCapture(readFileSync(path)).map(({ octets }) => octets) };
  });

export const capture = (name: string): GoldenCapture => {
  const found = CAPTURES.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no golden capture ${name}`);
  return found;
};
