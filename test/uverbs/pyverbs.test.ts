/** rdma-core's own test-suite (pyverbs), in the version that is installed, on a vRNIC; and name by name beside what Linux rxe does with it. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { exclusive } from '../support/exclusive.ts';
import { twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from './lab.ts';

const PACKAGED = '/usr/share/doc/rdma-core/tests';
const skip = lacks('root', 'gcc', 'python3') || (existsSync(PACKAGED) ? false : 'needs the tests of rdma-core');

interface Reference {
  readonly peer: string;
  readonly results: Readonly<Record<string, string>>;
}

/** The package compresses some of its files. */
function unpack(folder: string): void {
  for (const name of readdirSync(PACKAGED)) {
    const octets = readFileSync(join(PACKAGED, name));
    if (name.endsWith('.gz')) writeFileSync(join(folder, name.slice(0, -3)), gunzipSync(octets));
    else writeFileSync(join(folder, name), octets);
  }
}

/** By name: `ok`, `skipped …`, `ERROR`, `FAIL`. A test with a docstring has its verdict on the next line; some print in between. */
function verdicts(output: string): Map<string, string> {
  const found = new Map<string, string>();
  const pattern = /^(test\w+) \(([\w.]+)\)[\s\S]*?\.\.\. (?:[\s\S]*?)(ok|ERROR|FAIL|skipped [^\n]*)$/gm;
  for (const [, , name, verdict] of output.matchAll(pattern)) found.set(name!, verdict!);
  return found;
}

t.test(
  'rdma-core’s pyverbs on a vRNIC: none fails, and what rxe does it does',
  { skip, timeout: 900_000 },
  async (t) => {
    await exclusive(t, 'machine');
    const [here] = await twoHosts(t);
    const host = await UrnicHost.start(t, here);
    const folder = mkdtempSync(join(tmpdir(), 'urnic-pyverbs-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const tests = join(folder, 'tests');
    await host.namespace.run(['mkdir', tests]);
    unpack(tests);
    const suite = ['/usr/bin/python3', join(tests, 'run_tests.py'), '--dev', 'rxe0', '--gid', '1', '-v'];
    const { output } = await host.run(suite, { timeoutMillis: 240_000 });
    const ours = verdicts(output);
    const { peer, results } = JSON.parse(readFileSync(join(ROOT, 'test/uverbs/pyverbs-rxe.json'), 'utf8')) as Reference;
    t.match(output, /^OK \(skipped=\d+\)$/m, output.slice(-3000));
    t.ok(ours.size >= Object.keys(results).length, `${ours.size} tests ran`);
    const isSkipped = (verdict: string | undefined): boolean => verdict?.startsWith('skipped') ?? true;
    const missing = Object.entries(results).filter(([name, theirs]) => theirs === 'ok' && isSkipped(ours.get(name)));
    t.strictSame(missing, [], `what passes on ${peer} passes here`);
    const count = (of: Iterable<string>): number => [...of].filter(isSkipped).length;
    t.ok(count(ours.values()) <= count(Object.values(results)), 'no more is skipped');
    const more = [...ours]
      .filter(([name, verdict]) => verdict === 'ok' && results[name] !== 'ok')
      .map(([name]) => name);
    t.comment(`${ours.size} tests, ${ours.size - count(ours.values())} ok; beyond ${peer}: ${more.join(', ')}`);
  },
);
