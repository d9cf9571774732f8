/** Loads a package that may be missing (optionalDependencies), with words that say what to do when it is. */
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const require = createRequire(import.meta.url);

/** @param needs what its installation takes, for the message. @throws Error */
export function loadOptional<T>(name: string, needs: string): T {
  // Its handles belong to the main event loop, whichever thread loads it.
  if (!isMainThread) throw new Error(`the package ${name} works in the main thread only`);
  try {
    return require(name) as T;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new Error(`the optional package ${name} is not usable (npm install ${name} needs ${needs}): ${reason}`);
  }
}
