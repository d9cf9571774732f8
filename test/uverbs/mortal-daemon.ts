/** `urnic`, in whose process a worker thread ends by itself, at whatever point it has reached, each time that SIGUSR2 comes. */
import { createRequire } from 'node:module';
import type * as Threads from 'node:worker_threads';

const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Threads.Worker };
const alive = new Set<Threads.Worker>();

// piscina asks the module for its class each time that it starts a thread.
threads.Worker = class extends threads.Worker {
  constructor(...args: ConstructorParameters<typeof Threads.Worker>) {
    super(...args);
    alive.add(this);
    this.once('exit', () => alive.delete(this));
  }
};
process.on('SIGUSR2', () => {
  const all = [...alive];
  void all[Math.floor(Math.random() * all.length)]?.terminate();
});
await import('../../daemon/cli.ts');
