/** What one thread of run-seeds.ts runs: its share of the seeds, one after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { transportOf } from './options.ts';
import { noTotals, type Share } from './run-seeds.ts';
import { simulate } from './simulation.ts';

const { mode, transport: asked, from, count, offset, step } = workerData as Share;
const totals = noTotals();
for (let seed = from + offset; seed < from + count; seed += step) {
  const transport = asked === 'all' ? transportOf(seed) : asked;
  try {
    const outcome = simulate(seed, mode, transport);
    totals.seeds++;
    totals.packets += outcome.packets;
    totals.lost += outcome.lost;
    totals.duplicated += outcome.duplicated;
    totals.reordered += outcome.reordered;
    totals.corrupted += outcome.corrupted;
    totals.completions += outcome.completions;
    totals.errors += outcome.errors;
    totals.retransmitted += outcome.retransmitted;
    totals.held += outcome.held;
  } catch (error) {
    totals.failures.push({ transport, seed, message: error instanceof Error ? error.message : String(error) });
  }
}
parentPort!.postMessage(totals);
