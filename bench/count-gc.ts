/** Counts the garbage collections of every thread of a process: to be given to node by `--import`, which reaches its worker threads too. */
import { constants, type NodeGCPerformanceDetail, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

export interface GcCounts {
  readonly main: GcKinds;
  /** Of all worker threads. Each tells when its event loop has its turn, half a second late at most. */
  readonly workers: GcKinds;
}

export interface GcKinds {
  minor: number;
  major: number;
}

const counts: GcCounts = { main: { minor: 0, major: 0 }, workers: { minor: 0, major: 0 } };
const channel = new BroadcastChannel('urnic bench: collections');

/** A copy of what was counted so far. */
export const gcCounts = (): GcCounts => structuredClone(counts);

new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { kind } = (entry as PerformanceEntry & { detail: NodeGCPerformanceDetail }).detail;
    const isMinor = kind === constants.NODE_PERFORMANCE_GC_MINOR;
    if (isMainThread) counts.main[isMinor ? 'minor' : 'major']++;
    else channel.postMessage(isMinor);
  }
}).observe({ entryTypes: ['gc'] });

if (isMainThread) {
  channel.onmessage = (event) => {
    counts.workers[(event as { data: boolean }).data ? 'minor' : 'major']++;
  };
}
channel.unref();
