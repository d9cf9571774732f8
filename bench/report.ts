/** The table of the bench, and the same as plain values. */
import type { Line, PeerName, Sample } from './lines.ts';
import type { Machine } from './machine.ts';

export interface Row {
  readonly line: Line;
  readonly samples: readonly Sample[];
}

export interface PeerRow {
  readonly name: PeerName;
  readonly unit: Line['unit'];
  readonly values: readonly number[];
}

export interface Figure {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly values: readonly number[];
  readonly median: number | null;
  readonly peer: string | null;
  readonly ratio: number | null;
  /** The ratio or the value that is aimed at, in words; null where there is none. */
  readonly goal: string | null;
  readonly reached: boolean | null;
  readonly more: Readonly<Record<string, number>>;
}

export interface Report {
  readonly machine: Machine;
  readonly rounds: number;
  readonly figures: readonly Figure[];
  readonly peers: readonly {
    readonly name: string;
    readonly unit: string;
    readonly median: number | null;
    readonly values: readonly number[];
  }[];
}

/** NaN of none. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const medianOrNull = (values: readonly number[]): number | null => (values.length === 0 ? null : median(values));

const number = (value: number | null): string => (value === null ? '–' : value.toFixed(value < 10 ? 2 : 1));

function figureOf({ line, samples }: Row, peerValues: ReadonlyMap<PeerName, readonly number[]>): Figure {
  const values = samples.map(({ value }) => value);
  const own = medianOrNull(values);
  const other = line.peer ? medianOrNull(peerValues.get(line.peer.name) ?? []) : null;
  const ratio = own === null || other === null ? null : own / other;
  const isTime = line.unit === 'µs';
  const within = (value: number, goal: number): boolean => (isTime ? value <= goal : value >= goal);
  const goals: string[] = [];
  const verdicts: boolean[] = [];
  if (line.goal !== undefined) {
    goals.push(`${isTime ? '≤' : '≥'} ${line.goal} ${line.unit}`);
    if (own !== null) verdicts.push(within(own, line.goal));
  }
  if (line.peer?.factor !== undefined) {
    goals.push(`${isTime ? '≤' : '≥'} ${line.peer.factor} ×`);
    if (ratio !== null) verdicts.push(within(ratio, line.peer.factor));
  }
  const more: Record<string, number> = {};
  for (const name of Object.keys(samples[0]?.more ?? {})) more[name] = median(samples.map((one) => one.more[name]!));
  return {
    id: line.id,
    title: line.title,
    unit: line.unit,
    values,
    median: own,
    peer: line.peer?.name ?? null,
    ratio,
    goal: goals.length === 0 ? null : goals.join(', '),
    reached: verdicts.length === 0 ? null : verdicts.every(Boolean),
    more,
  };
}

/** Prints, and returns what it printed. */
export function report(
  on: Machine,
  rounds: number,
  rows: readonly Row[],
  peerRows: readonly PeerRow[],
  peerValues: ReadonlyMap<PeerName, readonly number[]>,
): Report {
  const figures = rows.map((row) => figureOf(row, peerValues));
  console.log(`${on.cores} × ${on.cpu}, ${on.kernel}, Node ${on.node}, CRC by ${on.crc32}, ${on.date}`);
  console.log(`medians of ${rounds} (least … most)\n`);
  console.log('| what | urnic | ratio | goal | |\n|---|---|---|---|---|');
  for (const figure of figures) {
    const { title, unit, values, ratio, peer, goal, reached, more } = figure;
    const range = values.length > 1 ? ` (${number(Math.min(...values))} … ${number(Math.max(...values))})` : '';
    const also = Object.entries(more).map(([name, value]) => `${name} ${number(value)}`);
    const against = ratio === null ? '' : `${ratio.toFixed(2)} × ${peer}`;
    const verdict = reached === null ? '' : reached ? 'reached' : 'short';
    console.log(
      `| ${title} | ${number(figure.median)} ${unit}${range} ${also.join(', ')} | ${against} | ${goal ?? ''} | ${verdict} |`,
    );
  }
  const peers = peerRows.map(({ name, unit, values }) => ({ name, unit, median: medianOrNull(values), values }));
  for (const { name, unit, median: value } of peers) {
    console.log(`| ${name} | ${value === null ? 'not installed' : `${number(value)} ${unit}`} | 1 × | | |`);
  }
  return { machine: on, rounds, figures, peers };
}
