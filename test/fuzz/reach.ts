/** Which functions of the engine a run never enters: by V8's own count. */
import { Session } from 'node:inspector/promises';

/** Names of functions, by the file of `rnic/` that has them. */
export async function notReached(run: () => void): Promise<Map<string, string[]>> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: false, detailed: false });
  try {
    run();
    const { result } = await session.post('Profiler.takePreciseCoverage');
    const missed = new Map<string, string[]>();
    for (const { url, functions } of result) {
      const file = /\/dist\/rnic\/(.*)\.js$/.exec(url)?.[1];
      if (file === undefined) continue;
      const names = functions.filter(({ ranges }) => ranges[0]!.count === 0).map(({ functionName }) => functionName);
      if (names.length > 0) missed.set(file, names);
    }
    return missed;
  } finally {
    await session.post('Profiler.stopPreciseCoverage');
    session.disconnect();
  }
}
