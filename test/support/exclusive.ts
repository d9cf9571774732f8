/** One at a time among all test processes: virtual machines and benchmarks want the machine for themselves. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Teardown } from './netns.ts';

const WAIT_MILLIS = 1_200_000;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits for the named turn; given back when the test ends. A holder that died does not hold. */
export async function exclusive(t: Teardown, name: string): Promise<void> {
  const folder = join(tmpdir(), `urnic-turn-${name}`);
  const owner = join(folder, 'pid');
  for (const deadline = Date.now() + WAIT_MILLIS; Date.now() < deadline; ) {
    try {
      mkdirSync(folder);
      writeFileSync(owner, String(process.pid));
      t.teardown(() => rmSync(folder, { recursive: true, force: true }));
      return;
    } catch {
      const pid = Number(tryRead(owner));
      if (pid !== 0 && !isAlive(pid)) rmSync(folder, { recursive: true, force: true });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  throw new Error(`no turn for ${name} in ${WAIT_MILLIS / 1000} s`);
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
