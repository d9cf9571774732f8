/**
 * Simulation: two engines, one bad wire, random work of RC, UC and UD, virtual time. 3,370 seeds and at least 5 million packets; `urnic sim` runs more, or replays the one that
 * a failure names: a seed is the whole run.
 */
import t from 'tap';
import { MODES, type Mode, TRANSPORTS } from '../support/sim/options.ts';
import { runSeeds, type Totals } from '../support/sim/run-seeds.ts';
import { simulate } from '../support/sim/simulation.ts';

const SEEDS: Record<Mode, number> = { safety: 2970, liveness: 400 };
const PACKETS = 5_000_000;
/** A minute or two on two cores. */
const LIMIT_MILLIS = 800_000;

t.setTimeout(LIMIT_MILLIS);

const PROMISES: Record<Mode, string> = {
  safety: 'memory, completions, keys, atomics, counters and the trace are what the model says',
  liveness: 'faults stop, and everything ends within its bound',
};

const all: Totals[] = [];
for (const mode of MODES) {
  t.test(`simulation, ${mode}: ${SEEDS[mode]} seeds: ${PROMISES[mode]}`, { timeout: LIMIT_MILLIS }, async (t) => {
    const totals = await runSeeds({ mode, transport: 'all', from: 1, count: SEEDS[mode] });
    const { failures, ...sums } = totals;
    t.comment(JSON.stringify(sums));
    for (const { seed, transport, message } of failures.slice(0, 10))
      t.fail(`urnic sim --transport ${transport} --mode ${mode} --replay ${seed}: ${message}`);
    t.equal(sums.seeds, SEEDS[mode]);
    t.ok(sums.retransmitted > 0, 'some packets were sent again');
    t.ok(sums.held > 0, 'some packets were held');
    t.ok(sums.errors > 0, 'some work requests were wrong, or connections broke');
    all.push(totals);
  });
}

for (const mode of MODES) {
  t.test(
    `simulation, ${mode}: connections of rdma_cm: both sides agree or both give up, in time, and nothing is left`,
    {
      timeout: LIMIT_MILLIS,
    },
    async (t) => {
      const { failures, seeds, completions, errors } = await runSeeds({ mode, transport: 'cm', from: 1, count: 60 });
      for (const { seed, message } of failures)
        t.fail(`urnic sim --transport cm --mode ${mode} --replay ${seed}: ${message}`);
      t.equal(seeds, 60);
      t.ok(completions > 0 && errors > 0, 'some were connected, and some were not');
    },
  );
}

t.test('simulation: all of them together are more than five million packets', (t) => {
  const packets = all.reduce((sum, totals) => sum + totals.packets, 0);
  t.comment(`${packets} packets`);
  t.ok(packets >= PACKETS);
  t.end();
});

t.test('simulation: a seed is a whole run', (t) => {
  for (const mode of MODES)
    for (const transport of TRANSPORTS) t.same(simulate(1, mode, transport), simulate(1, mode, transport));
  t.end();
});
