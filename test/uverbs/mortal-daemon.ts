/** `urnic`, in whose process a worker thread ends by itself, at whatever point it has reached, each time that SIGUSR2 comes. */
import { alive } from '../support/mortal-threads.ts';

process.on('SIGUSR2', () => {
  const all = [...alive];
  void all[Math.floor(Math.random() * all.length)]?.terminate();
});
await import('../../daemon/cli.ts');
