/** Memory mapped from a file, seen as an ArrayBuffer; and the way to let it go that leaves no view pointing at nothing. */
import koffi from 'koffi';
import { Arena } from './arena.ts';
import * as Linux from './constants.ts';
import { ownMapping } from './descriptors.ts';
import * as Libc from './libc.ts';
import { SystemError } from './system-error.ts';

export interface Mapping {
  readonly address: number;
  readonly byteLength: number;
  /** An ArrayBuffer over the mapping, for as long as the process lives: typed arrays and Atomics work on it, from several threads. */
  readonly buffer: ArrayBuffer;
}

/** A file that lives in memory only, of this size. Returns its descriptor. @throws SystemError */
export function createMemoryFile(name: string, byteLength: number, flags = Linux.MFD_CLOEXEC): number {
  const octets = new TextEncoder().encode(name);
  const text = new Arena(octets.length + 1);
  text.bytes.set(octets);
  const fd = Libc.check(Libc.memfdCreate(text.address, flags), `memfd_create ${name}`);
  if (Libc.ftruncate(fd, byteLength) === 0) return fd;
  const failure = new SystemError(`ftruncate to ${byteLength} octets`, Libc.errno());
  Libc.close(fd);
  throw failure;
}

const SEALS = Linux.F_SEAL_SHRINK | Linux.F_SEAL_GROW | Linux.F_SEAL_SEAL;

/** One whose size nobody can change: who shares it cannot make our mapping end in SIGBUS. @throws SystemError */
export function createSealedFile(name: string, byteLength: number): number {
  const fd = createMemoryFile(name, byteLength, Linux.MFD_CLOEXEC | Linux.MFD_ALLOW_SEALING);
  if (Libc.fcntl(fd, Linux.F_ADD_SEALS, SEALS) === 0) return fd;
  const failure = new SystemError('F_ADD_SEALS', Libc.errno());
  Libc.close(fd);
  throw failure;
}

/** Maps `byteLength` octets of a file, shared, from `offset` (a multiple of the page size). @throws SystemError */
export function mapShared(fd: number, offset: number, byteLength: number): Mapping {
  const protection = Linux.PROT_READ | Linux.PROT_WRITE;
  const address = Libc.mmap(0, byteLength, protection, Linux.MAP_SHARED, fd, offset);
  Libc.check(address, `mmap ${byteLength} octets`);
  ownMapping(address, byteLength);
  return { address, byteLength, buffer: koffi.view(address, byteLength) };
}

/** Maps another file where a released mapping lies: its views show that file from now on. @throws SystemError */
export function remap(mapping: Mapping, fd: number, offset: number): void {
  const protection = Linux.PROT_READ | Linux.PROT_WRITE;
  const flags = Linux.MAP_SHARED | Linux.MAP_FIXED;
  const { address, byteLength } = mapping;
  Libc.check(Libc.mmap(address, byteLength, protection, flags, fd, offset), `mmap ${byteLength} octets again`);
}

/**
 * Gives the file's memory back. The addresses stay, backed by untouched zero pages: JavaScript cannot take back the views that others may still hold,
 * so nothing else may ever be mapped there (FIXED over it, never munmap).
 */
export function release(mapping: Mapping): void {
  const flags = Linux.MAP_PRIVATE | Linux.MAP_ANONYMOUS | Linux.MAP_FIXED;
  const protection = Linux.PROT_READ | Linux.PROT_WRITE;
  Libc.check(Libc.mmap(mapping.address, mapping.byteLength, protection, flags, -1, 0), 'mmap over a released mapping');
}
