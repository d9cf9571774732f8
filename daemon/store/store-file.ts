/** The embedded store's file: replaced whole, so that whoever dies at whatever moment leaves the old one or the new one. */
import { createHash } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../make-directory.ts';
import type { Entry, Snapshot } from './control-store.ts';

/** Octets of a store's file. */
const FILE_BYTES_MAX = 16 << 20;
const HEADING = 'urnic control store 1 sha256';

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** @throws Error in words: not readable, not ours, damaged. A file that is not there is an empty store. */
export async function readStoreFile(path: string): Promise<Snapshot> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { revision: 0, entries: [] };
    throw new Error(`control store ${path}: ${(error as Error).message}`);
  }
  const end = text.indexOf('\n');
  const heading = text.slice(0, end);
  if (!heading.startsWith(`${HEADING} `))
    throw new Error(
      `control store ${path}: it begins with ${JSON.stringify(heading.slice(0, 40))}, not as a store does`,
    );
  const body = text.slice(end + 1);
  if (heading.slice(HEADING.length + 1) !== digest(body))
    throw new Error(
      `control store ${path} is damaged: its contents do not match its checksum. Put a copy back, or move it away to begin anew from urnic.yaml`,
    );
  const { revision, entries } = JSON.parse(body) as { revision: number; entries: [string, string, number][] };
  return { revision, entries: entries.map(([key, value, revision]) => ({ key, value, revision })) };
}

/** @throws Error: too large, or the disk's. Then the file is as it was. */
export async function writeStoreFile(path: string, revision: number, entries: Iterable<Entry>): Promise<void> {
  const lines = [...entries].map(({ key, value, revision }) => JSON.stringify([key, value, revision]));
  const body = `{"revision":${revision},"entries":[\n${lines.join(',\n')}\n]}\n`;
  const text = `${HEADING} ${digest(body)}\n${body}`;
  if (Buffer.byteLength(text) > FILE_BYTES_MAX)
    throw new Error(
      `control store ${path} would have more than ${FILE_BYTES_MAX >> 20} MiB: delete what is not needed`,
    );
  makeDirectory(dirname(path));
  const temporary = `${path}.new`;
  try {
    await withFile(temporary, 'w', async (file) => {
      await file.writeFile(text);
      await file.sync();
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }); // a full disk has its room back
    throw new Error(`control store ${path}: ${(error as Error).message}`);
  }
}

/** Only then does the directory's entry of the new file outlive a loss of power. Returns, in words, why that is not sure. */
export async function settleStoreFile(path: string): Promise<Error | undefined> {
  try {
    await withFile(dirname(path), 'r', (folder) => folder.sync());
    return undefined;
  } catch (error) {
    const { message } = error as Error;
    return new Error(`control store ${path} has the change, and may lose it if the power goes: ${message}`);
  }
}

async function withFile(
  path: string,
  flags: string,
  use: (file: Awaited<ReturnType<typeof open>>) => Promise<void>,
): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}
