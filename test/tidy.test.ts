/** The few rules of style that a machine can hold. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t from 'tap';
import { FOLDERS, type Source, sourcesIn } from './support/product.ts';
import { ROOT } from './support/root.ts';

const LINES_MAX = 600;
const product = sourcesIn(...FOLDERS.filter((folder) => existsSync(join(ROOT, folder))));

/** Files that break a rule, as `path: why`. */
function broken(files: readonly Source[], why: (file: Source) => string | false | undefined): string[] {
  return files.flatMap((file) => {
    const reason = why(file);
    return reason ? [`${file.path}: ${reason}`] : [];
  });
}

const mention = (text: string, pattern: RegExp): string | undefined => pattern.exec(text)?.[0];

t.test('tidy: every file begins by saying what it is, and what it imports follows', async (t) => {
  t.strictSame(
    broken(product, ({ text }) => !/^(#!.*\n)?\/\*\*/.test(text) && 'no comment at its top'),
    [],
  );
  const sources = [...product, ...sourcesIn('bench', 'examples', 'test')];
  t.strictSame(
    broken(
      sources,
      ({ text }) => /^(#!.*\n)?\/\*\*([^*]|\*(?!\/))*\*\/\n\nimport /.test(text) && 'an empty line before its imports',
    ),
    [],
  );
});

t.test('tidy: file names are kebab-case', async (t) => {
  t.strictSame(
    broken(product, ({ path }) => !/^[a-z0-9]+(-[a-z0-9]+)*\.ts$/.test(basename(path)) && 'its name'),
    [],
  );
});

t.test('tidy: no file is longer than a reader bears', async (t) => {
  t.strictSame(
    broken(product, ({ text }) => text.split('\n').length > LINES_MAX && `more than ${LINES_MAX} lines`),
    [],
  );
});

t.test('tidy: nothing is left for later', async (t) => {
  t.strictSame(
    broken(product, ({ text }) => mention(text, /\b(TODO|FIXME|XXX)\b/)),
    [],
  );
});

t.test('tidy: engine, switch and headers know no clock, no chance and no console', async (t) => {
  const pure = product.filter(({ path }) => /^(wire|rnic|vswitch)\//.test(path) && !path.startsWith('vswitch/store/'));
  const forbidden = /Date\.now|performance\.now|process\.hrtime|setTimeout|setInterval|Math\.random|console\./;
  t.strictSame(
    broken(pure, ({ text }) => mention(text, forbidden)),
    [],
  );
});

t.test('tidy: only the command prints', async (t) => {
  const silent = product.filter(({ path }) => !path.startsWith('daemon/'));
  t.strictSame(
    broken(silent, ({ text }) => mention(text, /\bconsole\.(log|error|warn|info)/)),
    [],
  );
});

t.test('tidy: links in the documents lead somewhere', async (t) => {
  const documents = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md']
    .concat(readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' }).map((path) => join('docs', path)))
    .filter((path) => path.endsWith('.md') && existsSync(join(ROOT, path)));
  const dead = documents.flatMap((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8').replaceAll(/```[\s\S]*?```/g, '');
    const targets = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, target]) => target!);
    return targets
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(ROOT, dirname(path), target)))
      .map((target) => `${path}: ${target}`);
  });
  t.strictSame(dead, []);
});

t.test('tidy: nothing names a folder of one machine', async (t) => {
  const { stdout } = spawnSync('git', ['-C', ROOT, 'grep', '-nIE', '(^|[^a-z.])/(work|root|home)/[a-z]'], {
    encoding: 'utf8',
  });
  const own = (line: string): boolean => line.startsWith('test/tidy.test.ts:');
  t.strictSame(
    stdout.split('\n').filter((line) => line !== '' && !own(line)),
    [],
  );
});
