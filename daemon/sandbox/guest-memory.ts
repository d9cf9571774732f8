/** Octets of a thread that waits for the supervisor's answer: it cannot go away unnoticed meanwhile. process_vm_readv(2). */
import { Arena } from '../../workers/linux/arena.ts';
import * as Libc from '../../workers/linux/libc.ts';

const PAGE_BYTES = 4096;
const STAGE_BYTES = 16_384;
/** struct iovec local, remote. */
const vectors = new Arena(32);
const stage = new Arena(STAGE_BYTES);

type Transfer = typeof Libc.processVmReadv;

function transfer(how: Transfer, tid: number, address: number, length: number): boolean {
  vectors.setPointer(0, stage.address);
  vectors.setPointer(8, length);
  vectors.setPointer(16, address);
  vectors.setPointer(24, length);
  return how(tid, vectors.address, 1, vectors.address + 16, 1, 0) === length;
}

/** A copy; undefined when not all of it can be read, or it is more than a command has. */
export function readGuest(tid: number, address: number, length: number): Buffer | undefined {
  if (length > STAGE_BYTES || !transfer(Libc.processVmReadv, tid, address, length)) return undefined;
  return Buffer.from(stage.bytes.subarray(0, length));
}

export function writeGuest(tid: number, address: number, octets: Uint8Array): boolean {
  if (octets.length === 0) return true;
  if (octets.length > STAGE_BYTES) return false;
  stage.bytes.set(octets);
  return transfer(Libc.processVmWritev, tid, address, octets.length);
}

/** A string; undefined when it cannot be read, or is longer than any path. */
export function readGuestString(tid: number, address: number): string | undefined {
  let text = '';
  while (text.length <= PAGE_BYTES) {
    // Not past a page that may be the last one.
    const part = readGuest(tid, address, PAGE_BYTES - (address % PAGE_BYTES));
    if (!part) return undefined;
    const end = part.indexOf(0);
    text += part.toString('latin1', 0, end === -1 ? part.length : end);
    if (end !== -1) return text;
    address += part.length;
  }
  return undefined;
}
