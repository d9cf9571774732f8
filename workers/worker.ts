/** What piscina runs, once for each worker thread and for as long as it lives. */
import { ENGINE_PARTS } from './engine-parts.ts';
import { WorkerLoop, type WorkerTask } from './worker-loop.ts';

export default async function run(task: WorkerTask): Promise<void> {
  const loop = new WorkerLoop(task, ENGINE_PARTS);
  try {
    await loop.run();
  } finally {
    loop.close();
  }
}
