/**
 * Which of the 190 rules of our checklist of the specification have a drill: those before the colon in the name of a test in test/drills, by number ("R-" and
 * three digits). All others must stand in docs/spec/deviations.md, "Rules without a drill", with their reason.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/root.ts';

const RULES = 190;
const HEADING = '## Rules without a drill';

function filesIn(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return files.map((name) => readFileSync(join(folder, name), 'utf8'));
}

/** Numbers that a text names, alone or as `R-001 … R-026`. */
function namedIn(text: string): Set<number> {
  const named = new Set<number>();
  for (const [, first, last] of text.matchAll(/R-(\d{3})(?:\s*…\s*R-(\d{3}))?/g))
    for (let rule = Number(first); rule <= Number(last ?? first); rule++) named.add(rule);
  return named;
}

/** Rules before the colon in the names of drills, and the files in which they are. */
function drilled(): Map<number, string[]> {
  const found = new Map<number, string[]>();
  for (const file of readdirSync(join(ROOT, 'test/drills')).filter((name) => name.endsWith('.test.ts'))) {
    const text = readFileSync(join(ROOT, 'test/drills', file), 'utf8');
    const names = [...text.matchAll(/\b(?:drill|t\.test)\(\s*['`](R-[^:]*):/g)].map(([, rules]) => rules);
    for (const rule of namedIn(names.join('\n'))) found.set(rule, [...(found.get(rule) ?? []), file]);
  }
  return found;
}

const number = (rule: number): string => `R-${String(rule).padStart(3, '0')}`;

t.test('rules: each has a drill, or stands among those that have none', async (t) => {
  const drills = drilled();
  const tested = namedIn(filesIn(join(ROOT, 'test')).join('\n'));
  const page = readFileSync(join(ROOT, 'docs/spec/deviations.md'), 'utf8');
  t.ok(page.includes(HEADING));
  const excused = namedIn(page.slice(page.indexOf(HEADING)));
  const all = Array.from({ length: RULES }, (_, i) => i + 1);
  const without = all.filter((rule) => !drills.has(rule));
  const count = all.filter((rule) => tested.has(rule)).length;
  t.comment(
    `${drills.size} of ${RULES} rules have a drill, ${count} a test of some kind; without a drill: ${without.map(number).join(' ') || 'none'}`,
  );
  t.strictSame(without.filter((rule) => !excused.has(rule)).map(number), [], 'neither');
  t.strictSame(all.filter((rule) => drills.has(rule) && excused.has(rule)).map(number), [], 'both');
  t.strictSame(
    [...drills.keys()].filter((rule) => rule > RULES),
    [],
    'no such rule',
  );
});

t.test('rules: the page that lists them names the files of their drills', async (t) => {
  const page = readFileSync(join(ROOT, 'docs/spec/rules.md'), 'utf8');
  const listed = page.split('\n').flatMap((line) => {
    const rule = /^\| (R-\d{3}) \|/.exec(line)?.[1];
    const files = [...line.matchAll(/test\/drills\/([\w-]+\.test\.ts)\)/g)].map(([, file]) => file!);
    return rule === undefined ? [] : [[rule, files.sort()]];
  });
  const wanted = [...drilled()]
    .sort(([one], [other]) => one - other)
    .map(([rule, files]) => [number(rule), files.sort()]);
  t.strictSame(listed, wanted);
});
