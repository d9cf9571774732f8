/** `urnic sim`: two engines on a bad virtual wire, seed after seed (docs/simulation.md). The simulation is part of the tests, and runs as a process of its own. */
import { type Command, Option } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { runTool } from '../run-tool.ts';

const MODES = ['safety', 'liveness'];
const TRANSPORTS = ['all', 'rc', 'uc', 'ud', 'cm'];
const MOST_SEED = 2 ** 31;
const MOST_SEEDS = 10_000_000;
const MOST_JOBS = 64;

interface Flags {
  readonly seeds: number;
  readonly from: number;
  readonly mode: string;
  readonly transport: string;
  readonly jobs: number;
  readonly replay?: number;
  readonly json?: boolean;
}

export function addSim(program: Command): void {
  program
    .command('sim')
    .description('simulate two engines on a wire that loses, doubles, reorders and spoils packets; check all they do')
    .option('--seeds <n>', 'how many seeds to run', wholeNumber(1, MOST_SEEDS), 100)
    .option('--from <seed>', 'the first of them', wholeNumber(0, MOST_SEED), 1)
    .addOption(new Option('--mode <mode>', 'liveness: faults are heavy, then stop').choices(MODES).default('safety'))
    .addOption(
      new Option('--transport <transport>', 'all: rc, uc or ud, by the seed; cm: connections')
        .choices(TRANSPORTS)
        .default('all'),
    )
    .option('--jobs <n>', 'threads at most', wholeNumber(1, MOST_JOBS), 2)
    .option('--replay <seed>', 'run one seed again and print its trace', wholeNumber(0, MOST_SEED))
    .option('--json', 'JSON instead of words')
    .action((flags: Flags) =>
      runTool('test/support/sim/main.js', [JSON.stringify({ ...flags, json: flags.json ?? false })]),
    );
}
