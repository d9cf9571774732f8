/** What `urnic sim` runs: seeds, or one of them again with its trace. Its argument is a JSON object (daemon/commands/sim.ts). */
import { decode } from '../../../wire/decode.ts';
import { describe, line } from '../../../wire/describe.ts';
import { type Mode, type Transport, transportOf } from './options.ts';
import { runSeeds } from './run-seeds.ts';
import { replay } from './simulation.ts';

interface Asked {
  readonly mode: Mode;
  readonly transport: Transport | 'all';
  readonly from: number;
  readonly seeds: number;
  readonly jobs: number;
  readonly json: boolean;
  /** A seed, to be run again with its trace. */
  readonly replay?: number;
}

const asked = JSON.parse(process.argv[2]!) as Asked;
if (asked.replay === undefined) await runMany();
else runAgain(asked.replay);

async function runMany(): Promise<void> {
  const { mode, transport, from, seeds, jobs } = asked;
  const totals = await runSeeds({ mode, transport, from, count: seeds }, jobs);
  const { failures, ...sums } = totals;
  if (asked.json) console.log(JSON.stringify({ mode, transport, from, ...totals }));
  else {
    for (const [name, value] of Object.entries(sums)) console.log(`${name.padEnd(14)} ${value}`);
    for (const failed of failures) console.log(`FAILED seed ${failed.seed} (${failed.transport}): ${failed.message}`);
  }
  if (failures.length > 0) process.exitCode = 1;
}

function runAgain(seed: number): void {
  const transport = asked.transport === 'all' ? transportOf(seed) : asked.transport;
  const { options, trace, broken } = replay(seed, asked.mode, transport);
  if (!asked.json) console.log(`# ${JSON.stringify(options)}`);
  for (const { timeMicros, octets } of trace) {
    const description = describe(decode(octets));
    console.log(
      asked.json
        ? JSON.stringify({ timeMicros, ...description })
        : `${timeMicros.toFixed(1).padStart(12)} ${line(description)}`,
    );
  }
  console.log(
    asked.json ? JSON.stringify({ seed, broken }) : `# ${broken === null ? 'nothing was broken' : `BROKEN: ${broken}`}`,
  );
  if (broken !== null) process.exitCode = 1;
}
