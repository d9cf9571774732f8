/**
 * Draws the plots of docs/performance.md from what the benches wrote, by Vega-Lite: `node dist/bench/plots.js RUN.json DIRECTORY [--pairs OVERLAY.json] [GOODPUT.json …]`. RUN.json is
 * `npm run bench -- --sweep --json RUN.json`; each GOODPUT.json what bench/loss.ts or bench/goodput.ts wrote, OVERLAY.json what
 * bench/overlay.ts did. `-` for RUN.json: the others alone.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Sweep } from './sweep.ts';

interface Goodput {
  readonly series: string;
  readonly lossPercent: number;
  readonly share: number;
}

interface Point {
  readonly series: string;
  readonly x: number;
  readonly y: number;
}

interface Plot {
  readonly file: string;
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly isLogarithmic: boolean;
  readonly points: readonly Point[];
}

function specOf({ title, x, y, isLogarithmic, points }: Plot): TopLevelSpec {
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    title,
    width: 560,
    height: 300,
    background: 'white',
    data: { values: [...points] },
    mark: { type: 'line', point: true },
    encoding: {
      x: {
        field: 'x',
        type: 'quantitative',
        title: x,
        scale: isLogarithmic ? { type: 'log', base: 2 } : {},
        axis: { format: isLogarithmic ? '.3~s' : '' },
      },
      y: { field: 'y', type: 'quantitative', title: y, scale: { zero: true } },
      color: { field: 'series', type: 'nominal', title: null },
    },
  };
}

async function draw(plot: Plot, directory: string): Promise<void> {
  if (plot.points.length === 0) return;
  const view = new View(parse(compile(specOf(plot)).spec), { renderer: 'none' });
  writeFileSync(join(directory, plot.file), `${await view.toSVG()}\n`);
  console.log(plot.file);
}

const { values: options, positionals } = parseArgs({ options: { pairs: { type: 'string' } }, allowPositionals: true });
const [run, directory, ...lossy] = positionals;
if (run === undefined || directory === undefined) {
  console.error(
    'which figures, and where to? node dist/bench/plots.js RUN.json DIRECTORY [--pairs OVERLAY.json] [GOODPUT.json …]',
  );
  process.exit(1);
}
const read = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T;
const { sizes } = run === '-' ? { sizes: [] } : read<{ sizes: Sweep[] }>(run);
/** Of what comes without loss, by the loss in percent. */
const GOAL: readonly (readonly [number, number])[] = [
  [0, 1],
  [0.1, 0.95],
  [1, 0.8],
  [5, 0.55],
  [10, 0.4],
];
const goal = GOAL.map(([lossPercent, share]): Goodput => ({ series: 'goal', lossPercent, share }));
const goodput = lossy.length === 0 ? [] : [...goal, ...lossy.flatMap((file) => read<Goodput[]>(file))];
const { crowds } = options.pairs === undefined ? { crowds: [] } : read<{ crowds: Point[] }>(options.pairs);
const of = (kind: Sweep['of']): Point[] => sizes.filter((point) => point.of === kind);
const PLOTS: readonly Plot[] = [
  {
    file: 'bandwidth.svg',
    title: 'Bandwidth against message size, one QP, MTU 9000',
    x: 'octets',
    y: 'Gb/s',
    isLogarithmic: true,
    points: of('bandwidth'),
  },
  {
    file: 'latency.svg',
    title: 'One-way latency against message size, p50, spinning',
    x: 'octets',
    y: 'µs',
    isLogarithmic: true,
    points: of('latency'),
  },
  {
    file: 'scaling.svg',
    title: 'Bandwidth against QPs, 64 KiB WRITE',
    x: 'QPs',
    y: 'Gb/s',
    isLogarithmic: true,
    points: of('scaling'),
  },
  {
    file: 'pairs.svg',
    title: 'Bandwidth of all pairs of vRNICs together, 64 KiB WRITE',
    x: 'pairs',
    y: 'Gb/s',
    isLogarithmic: true,
    points: crowds,
  },
  {
    file: 'goodput.svg',
    title: 'Goodput against random loss each way, 64 KiB messages, as a share of that without loss',
    x: 'loss, %',
    y: '% of loss-free',
    isLogarithmic: false,
    points: goodput.map(({ series, lossPercent, share }) => ({ series, x: lossPercent, y: share * 100 })),
  },
];
for (const plot of PLOTS) await draw(plot, directory);
