/** What a daemon has open: the same before and after programs, and its own workers, have died. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Holdings {
  readonly descriptors: number;
  readonly threads: number;
  readonly mappings: number;
}

/** What a process has open. Shared mappings of queue files only: the others are the JavaScript heap's affair. */
export function holdingsOf(pid: number): Holdings {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
    mappings: [...maps.matchAll(/urnic-queues/g)].length,
  };
}
