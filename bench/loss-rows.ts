/** What bench/loss.ts finds: goodput at so much loss each way, and how much was lost indeed. */
import type { LossyWire } from '../test/support/lossy-wire.ts';
import { median } from './report.ts';

/** Shares of frames, each way. */
const LOSSES = [0, 0.001, 0.01, 0.05, 0.1] as const;

/** As bench/plots.ts reads it. */
export interface Goodput {
  readonly series: string;
  readonly lossPercent: number;
  /** Of the frames that the wire carried. */
  readonly lostPercent: number;
  readonly frames: number;
  /** The median. */
  readonly gigabits: number;
  readonly values: readonly number[];
  /** Of what comes without loss. */
  readonly share: number;
  /** Why some did not run to their end; they count as nothing. */
  readonly ended: readonly string[];
}

/** Gb/s, or why there is no figure. */
type Measure = () => Promise<number | string>;

interface Found {
  carried: number;
  lost: number;
  readonly values: number[];
  readonly ended: string[];
}

/** A series: the same at each loss, in so many rounds. */
export async function series(
  name: string,
  { wire, sparedTcpPort = 0, rounds }: { wire: LossyWire; sparedTcpPort?: number; rounds: number },
  measure: Measure,
): Promise<Goodput[]> {
  const found = LOSSES.map((): Found => ({ carried: 0, lost: 0, values: [], ended: [] }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, loss] of LOSSES.entries()) {
      const here = found[i]!;
      await wire.lose(loss, sparedTcpPort);
      const value = await measure();
      const { carried, lost } = await wire.counts();
      here.carried += carried;
      here.lost += lost;
      here.values.push(typeof value === 'number' ? value : 0);
      if (typeof value === 'string') here.ended.push(value);
    }
  }
  await wire.lose(0);
  const without = median(found[0]!.values);
  return found.map(({ carried, lost, values, ended }, i) => {
    const gigabits = median(values);
    const counts = { lostPercent: (lost / carried) * 100, frames: carried };
    const row = {
      series: name,
      lossPercent: LOSSES[i]! * 100,
      ...counts,
      gigabits,
      values,
      share: gigabits / without,
      ended,
    };
    print(row);
    return row;
  });
}

function print({ series: name, lossPercent, lostPercent, frames, values, gigabits, share, ended }: Goodput): void {
  const spread = `${Math.min(...values).toPrecision(3)} … ${Math.max(...values).toPrecision(3)}`;
  const cells = [`${lossPercent} %`, `${gigabits.toPrecision(3)} Gb/s`, spread, `${(share * 100).toPrecision(3)} %`];
  cells.push(`lost ${lostPercent.toFixed(2)} %`, `of ${frames}`, ended.join(', '));
  console.log(name.padEnd(16) + cells.map((cell) => cell.padStart(18)).join(''));
}
