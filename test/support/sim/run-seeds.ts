/** Many seeds, spread over worker threads: what they came to, and which of them failed. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Mode, Transport } from './options.ts';

export interface SeedRange {
  readonly mode: Mode;
  /** 'all': each seed has the one that `transportOf` says. */
  readonly transport: Transport | 'all';
  readonly from: number;
  readonly count: number;
}

export interface Failure {
  readonly transport: Transport;
  readonly seed: number;
  readonly message: string;
}

/** Sums over all seeds that ended well. */
export interface Totals {
  seeds: number;
  packets: number;
  lost: number;
  duplicated: number;
  reordered: number;
  corrupted: number;
  completions: number;
  errors: number;
  retransmitted: number;
  held: number;
  /** In the order of their seeds. */
  failures: Failure[];
}

/** What a thread is given: every `step`-th seed of a range. */
export interface Share extends SeedRange {
  readonly offset: number;
  readonly step: number;
}

const MOST_JOBS = 2;

export const noTotals = (): Totals => ({
  seeds: 0,
  packets: 0,
  lost: 0,
  duplicated: 0,
  reordered: 0,
  corrupted: 0,
  completions: 0,
  errors: 0,
  retransmitted: 0,
  held: 0,
  failures: [],
});

/** Runs `count` seeds from `from` on, in as many threads as there are cores, at most `jobs`. */
export async function runSeeds(range: SeedRange, jobs = MOST_JOBS): Promise<Totals> {
  const step = Math.max(1, Math.min(jobs, availableParallelism(), range.count));
  const shares = Array.from({ length: step }, (_, offset) => runShare({ ...range, offset, step }));
  const totals = noTotals();
  for (const part of await Promise.all(shares)) {
    const failures = [...totals.failures, ...part.failures];
    for (const key of Object.keys(totals) as (keyof Totals)[]) {
      if (key !== 'failures') totals[key] += part[key];
    }
    totals.failures = failures;
  }
  totals.failures.sort((x, y) => x.seed - y.seed);
  return totals;
}

function runShare(share: Share): Promise<Totals> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL('./seed-thread.js', import.meta.url), { workerData: share });
    thread.once('message', resolve);
    thread.once('error', reject);
    thread.once('exit', (code) => {
      if (code !== 0) reject(new Error(`a simulation thread ended with code ${code}`));
    });
  });
}
