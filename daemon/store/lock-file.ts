/** One process at a time: a lock that the kernel takes back from whoever dies. flock(2). */
import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { check, flock } from '../../workers/linux/libc.ts';
import { makeDirectory } from '../make-directory.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Returns what gives it back. @throws Error: another process has it. */
export function lockFile(path: string): () => void {
  makeDirectory(dirname(path));
  const fd = openSync(path, 'w', 0o600);
  try {
    check(flock(fd, LOCK_EX | LOCK_NB), `${path}: another daemon uses this store`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return () => closeSync(fd);
}
