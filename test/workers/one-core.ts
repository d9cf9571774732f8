/** A thread that shares its core with one that polls: `crowd.test.ts` runs it under `taskset`. Prints whether it sees a crowd, at once and later. */
import { Worker } from 'node:worker_threads';
import { clock } from '../../workers/clock.ts';
import { Crowd, preferThisThread } from '../../workers/linux/scheduling.ts';

const SECONDS = 20e6;

/** True as soon as it sees one; false when it has looked in vain for so long. */
function sees(crowd: Crowd, micros: number): boolean {
  for (const end = clock() + micros; clock() < end; ) if (crowd.isHere(clock())) return true;
  return false;
}

const other = new Worker('for (;;);', { eval: true });
await new Promise((resolve) => other.once('online', resolve));
const crowd = new Crowd();
const first = crowd.isHere(clock());
const seen = sees(crowd, SECONDS);
const isPreferred = preferThisThread(true) && preferThisThread(false);
crowd.close();
await other.terminate();
console.log(JSON.stringify({ first, seen, isPreferred }));
