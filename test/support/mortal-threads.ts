/** Worker threads of this process from here on, in the order in which they came: to be ended at whatever point they have reached. */
import { createRequire } from 'node:module';
import type * as Threads from 'node:worker_threads';

const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Threads.Worker };
export const alive = new Set<Threads.Worker>();

// piscina asks the module for its class each time that it starts a thread.
threads.Worker = class extends threads.Worker {
  constructor(...args: ConstructorParameters<typeof Threads.Worker>) {
    super(...args);
    alive.add(this);
    this.once('exit', () => alive.delete(this));
  }
};
