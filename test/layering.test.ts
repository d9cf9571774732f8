/** The arrows between the folders: wire ← {rnic, vswitch} ← workers ← verbs ← daemon. */
import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import t from 'tap';
import { sourcesIn } from './support/product.ts';
import { ROOT } from './support/root.ts';

const MAY_IMPORT: Record<string, readonly string[]> = {
  wire: [],
  rnic: ['wire'],
  vswitch: ['wire'],
  workers: ['wire', 'rnic', 'vswitch'],
  verbs: ['wire', 'rnic', 'vswitch', 'workers'],
  daemon: ['wire', 'rnic', 'vswitch', 'workers', 'verbs'],
  examples: ['verbs'],
};

const IMPORT = /(?:from|import)\s*\(?\s*'(\.[^']*)'/g;

t.test('layering: no folder imports one above it', async (t) => {
  let imports = 0;
  for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
    if (!existsSync(join(ROOT, folder))) continue;
    for (const { path, text } of sourcesIn(folder)) {
      for (const [, target] of text.matchAll(IMPORT)) {
        imports++;
        const [top] = normalize(join(dirname(path), target!)).split('/');
        if (top !== folder && !allowed.includes(top!)) t.fail(`${path} imports ${target}`);
      }
    }
  }
  t.ok(imports > 100, `${imports} imports were looked at`);
});
