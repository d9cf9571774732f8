/** `urnic fuzz`: mutated frames into an engine, by seed (docs/fuzzing.md). The campaign is part of the tests, and runs as a process of its own. */
import type { Command } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { runTool } from '../run-tool.ts';

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
    .option('--frames <n>', 'how many', wholeNumber(1, MOST_FRAMES), 10_000_000)
    .option('--seed <seed>', 'where chance begins: the same frames each time', wholeNumber(0, MOST_SEED), 1)
    .option('--careful', 'look at the memory after every frame: slow, and names the frame that did it')
    .option('--reach', 'print which functions of the engine no frame reached')
    .action(run);
}

function run({ frames, seed, careful, reach }: Flags): void {
  const flags = [...(careful ? ['--careful'] : []), ...(reach ? ['--reach'] : [])];
  runTool('test/fuzz/campaign.js', ['--frames', String(frames), '--seed', String(seed), ...flags]);
}
