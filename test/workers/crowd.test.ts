/** Who polls on a core that others want sees it; patience after sleeps that were too short. */
import { join } from 'node:path';
import t from 'tap';
import { Patience } from '../../workers/patience.ts';
import { must } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';

const CHILD = join(ROOT, 'dist/test/workers/one-core.js');

t.test(
  'A thread that shares its core with one that polls sees a crowd, once it has measured; it may run before others, and among them again',
  { skip: lacks('root', 'taskset'), timeout: 120_000 },
  async (t) => {
    const output = await must('taskset', '-c', '0', process.execPath, CHILD);
    t.strictSame(JSON.parse(output), { first: false, seen: true, isPreferred: true });
  },
);

t.test(
  'A worker that was woken soon polls for longer before it sleeps again, until a sleep was worth it',
  async (t) => {
    const patience = new Patience(50);
    t.equal(patience.micros, 50);
    patience.slept(100);
    t.equal(patience.micros, 200);
    patience.slept(5000);
    t.equal(patience.micros, 50);
  },
);

t.test('Who was told not to spin, or to spin for ever, or for longer, does as told', async (t) => {
  const [never, always, long] = [new Patience(0), new Patience('always'), new Patience(1000)];
  for (const patience of [never, always, long]) patience.slept(10);
  t.equal(never.micros, 0);
  t.equal(always.micros, Number.POSITIVE_INFINITY);
  t.ok(always.isEndless);
  t.equal(long.micros, 1000);
});
