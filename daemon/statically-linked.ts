/** Whether a program is statically linked: an ELF file (System V gABI, chapter 5) that asks for no dynamic loader, so that nothing can be preloaded. */
import { closeSync, openSync, readSync } from 'node:fs';

const MAGIC = 0x464c_457f;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_INTERP = 3;

/** Of what is no 64-bit little-endian ELF file (a script, say), and of what may be run but not read, it says false. */
export function isStaticallyLinked(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return false;
  }
  try {
    return lacksInterpreter(fd);
  } finally {
    closeSync(fd);
  }
}

function lacksInterpreter(fd: number): boolean {
  const header = Buffer.alloc(HEADER_BYTES);
  if (readSync(fd, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return false;
  if (header.readUInt32LE(0) !== MAGIC || header[4] !== CLASS_64 || header[5] !== LITTLE_ENDIAN) return false;
  const at = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const entries = header.readUInt16LE(56);
  if (entryBytes !== PROGRAM_HEADER_BYTES || entries === 0 || !Number.isSafeInteger(at)) return false;
  const table = Buffer.alloc(entries * entryBytes);
  if (readSync(fd, table, 0, table.length, at) < table.length) return false;
  for (let entry = 0; entry < entries; entry++) if (table.readUInt32LE(entry * entryBytes) === PT_INTERP) return false;
  return true;
}
