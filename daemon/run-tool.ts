/** Programs that are part of the tests, and of the command too: each is run as a process of its own. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Ends as it ends. @param file below dist/. @throws Error when it cannot be started. */
export function runTool(file: string, argv: readonly string[]): void {
  const main = fileURLToPath(new URL(`../${file}`, import.meta.url));
  const { status, error } = spawnSync(process.execPath, [main, ...argv], { stdio: 'inherit' });
  if (error) throw error;
  process.exitCode = status ?? 1;
}
