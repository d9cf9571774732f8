/** The product's own source files, for tests that read them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './root.ts';

export const FOLDERS = ['wire', 'rnic', 'vswitch', 'workers', 'verbs', 'daemon'] as const;

export interface Source {
  /** From the root: `wire/bth.ts`. */
  readonly path: string;
  readonly text: string;
}

export function sourcesIn(...folders: readonly string[]): Source[] {
  return folders.flatMap((folder) => {
    const entries = readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => {
        const absolute = join(entry.parentPath, entry.name);
        return { path: absolute.slice(ROOT.length + 1), text: readFileSync(absolute, 'utf8') };
      });
  });
}
