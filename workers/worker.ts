/** What piscina runs, once for each worker thread and for as long as it lives. */
import { SharedMemory } from '../rnic/memory/shared-memory.ts';
import { Rnic } from '../rnic/rnic.ts';
import type { EngineParts } from './engine.ts';
import { WorkerLoop, type WorkerTask } from './worker-loop.ts';

const parts: EngineParts = {
  newEngine: (config, host) => new Rnic(config, host),
  newMemory: (buffer, byteOffset) => new SharedMemory(buffer, byteOffset),
};

export default async function run(task: WorkerTask): Promise<void> {
  const loop = new WorkerLoop(task, parts);
  try {
    await loop.run();
  } finally {
    loop.close();
  }
}
