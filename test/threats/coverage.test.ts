/** Which of the threats of our checklist have a test: those that a test file names, by number ("T-" and two digits). All others must stand in docs/spec/threats.md. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/root.ts';

/** First and last number of each chapter of the checklist. */
const CHAPTERS = [
  [1, 12],
  [20, 25],
  [30, 36],
  [40, 47],
  [50, 58],
] as const;
const HEADING = '## Threats without a test';

/** Numbers that a text names, alone or as `T-01 … T-04`. */
function namedIn(text: string): Set<number> {
  const named = new Set<number>();
  for (const [, first, last] of text.matchAll(/T-(\d{2})(?:\s*…\s*T-(\d{2}))?/g))
    for (let threat = Number(first); threat <= Number(last ?? first); threat++) named.add(threat);
  return named;
}

t.test('threats: each has a test, or stands among those that have none', async (t) => {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const others = files.filter((name) => name.endsWith('.test.ts') && !name.endsWith('threats/coverage.test.ts'));
  const tested = namedIn(others.map((name) => readFileSync(join(ROOT, 'test', name), 'utf8')).join('\n'));
  const page = readFileSync(join(ROOT, 'docs/spec/threats.md'), 'utf8');
  t.ok(page.includes(HEADING));
  const excused = namedIn(page.slice(page.indexOf(HEADING)));
  const all = CHAPTERS.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => first + i));
  const number = (threat: number): string => `T-${String(threat).padStart(2, '0')}`;
  t.comment(`${all.filter((threat) => tested.has(threat)).length} of ${all.length} threats have a test`);
  t.strictSame(all.filter((threat) => !tested.has(threat) && !excused.has(threat)).map(number), [], 'neither');
  t.strictSame(all.filter((threat) => tested.has(threat) && excused.has(threat)).map(number), [], 'both');
});
