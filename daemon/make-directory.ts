/** A directory and those above it, as mkdir -p. Node's `recursive` never returns where a file system says ENOENT to mkdir itself, as /proc does. */
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** @throws Error of mkdir(2). */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, 0o755);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && statSync(path).isDirectory()) return;
    if (code !== 'ENOENT') throw error;
    makeDirectory(dirname(path));
    mkdirSync(path, 0o755);
  }
}
