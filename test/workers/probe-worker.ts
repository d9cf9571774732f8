/** A worker file whose engine is the probe. */
import { WorkerLoop, type WorkerTask } from '../../workers/worker-loop.ts';
import { probeParts } from './probe-engine.ts';

export default async function run(task: WorkerTask): Promise<void> {
  const loop = new WorkerLoop(task, probeParts);
  try {
    await loop.run();
  } finally {
    loop.close();
  }
}
