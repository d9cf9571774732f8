/** `urnic fuzz`: mutated frames into an engine, by seed (docs/fuzzing.md). The campaign is part of the tests, and runs as a process of its own. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError } from 'commander';

const MOST_FRAMES = 1e12;
const MOST_SEED = 2 ** 31;

interface Flags {
  readonly frames: number;
  readonly seed: number;
  readonly careful?: boolean;
  readonly reach?: boolean;
}

export function addFuzz(program: Command): void {
  program
    .command('fuzz')
    .description('throw mutated frames at an engine with QPs of every kind in every state; check what becomes of them')
    .option('--frames <n>', 'how many', whole(1, MOST_FRAMES), 10_000_000)
    .option('--seed <seed>', 'where chance begins: the same frames each time', whole(0, MOST_SEED), 1)
    .option('--careful', 'look at the memory after every frame: slow, and names the frame that did it')
    .option('--reach', 'print which functions of the engine no frame reached')
    .action(run);
}

function run({ frames, seed, careful, reach }: Flags): void {
  const main = fileURLToPath(new URL('../../test/fuzz/campaign.js', import.meta.url));
  const flags = [...(careful ? ['--careful'] : []), ...(reach ? ['--reach'] : [])];
  const argv = [main, '--frames', String(frames), '--seed', String(seed), ...flags];
  const { status, error } = spawnSync(process.execPath, argv, { stdio: 'inherit' });
  if (error) throw error;
  process.exitCode = status ?? 1;
}

const whole =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`a whole number from ${least} to ${most}.`);
    return value;
  };
