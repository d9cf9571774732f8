/**
 * Simulation: two engines, one bad wire, random RC work, virtual time. 2,800 seeds and at least 5 million packets; `urnic sim` runs more, or replays the one that
 * a failure names: a seed is the whole run.
 */
import t from 'tap';
import { runSeeds, type Totals } from '../support/sim/run-seeds.ts';
import { type Mode, simulate } from '../support/sim/simulation.ts';

const SEEDS: Record<Mode, number> = { safety: 2100, liveness: 700 };
const PACKETS = 5_000_000;
/** A minute or two on two cores. */
const LIMIT_MILLIS = 800_000;

t.setTimeout(LIMIT_MILLIS);

const PROMISES: Record<Mode, string> = {
  safety: 'memory, completions, atomics, counters and the trace are right, and all work ends well',
  liveness: 'faults stop, and everything ends within its bound',
};

const all: Totals[] = [];
for (const mode of ['safety', 'liveness'] as const) {
  t.test(`simulation, ${mode}: ${SEEDS[mode]} seeds: ${PROMISES[mode]}`, { timeout: LIMIT_MILLIS }, async (t) => {
    const totals = await runSeeds({ mode, from: 1, count: SEEDS[mode] });
    const { failures, ...sums } = totals;
    t.comment(JSON.stringify(sums));
    for (const { seed, message } of failures.slice(0, 10))
      t.fail(`urnic sim --mode ${mode} --replay ${seed}: ${message}`);
    t.equal(sums.seeds, SEEDS[mode]);
    t.ok(sums.retransmitted > 0, 'some packets were sent again');
    t.ok(sums.held > 0, 'some packets were held');
    t.equal(sums.errors > 0, mode === 'liveness', 'connections break in liveness mode, and only there');
    all.push(totals);
  });
}

t.test('simulation: all of them together are more than five million packets', (t) => {
  const packets = all.reduce((sum, totals) => sum + totals.packets, 0);
  t.comment(`${packets} packets`);
  t.ok(packets >= PACKETS);
  t.end();
});

t.test('simulation: a seed is a whole run', (t) => {
  for (const mode of ['safety', 'liveness'] as const) t.same(simulate(1, mode), simulate(1, mode));
  t.end();
});
