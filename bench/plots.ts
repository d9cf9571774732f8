/**
 * Draws the plots of docs/performance.md from what the benches wrote, by Vega-Lite: `node dist/bench/plots.js RUN.json DIRECTORY [GOODPUT.json]`. RUN.json is
 * `npm run bench -- --sweep --json RUN.json`; GOODPUT.json a list of { series, lossPercent, gigabits }.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import type { Sweep } from './sweep.ts';

interface Goodput {
  readonly series: string;
  readonly lossPercent: number;
  readonly gigabits: number;
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

const [run, directory, lossy] = process.argv.slice(2);
if (run === undefined || directory === undefined) {
  console.error('which figures, and where to? node dist/bench/plots.js RUN.json DIRECTORY [GOODPUT.json]');
  process.exit(1);
}
const { sizes } = JSON.parse(readFileSync(run, 'utf8')) as { sizes: Sweep[] };
const goodput = lossy === undefined ? [] : (JSON.parse(readFileSync(lossy, 'utf8')) as Goodput[]);
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
    file: 'goodput.svg',
    title: 'Goodput against random loss each way, 64 KiB messages',
    x: 'loss, %',
    y: 'Gb/s',
    isLogarithmic: false,
    points: goodput.map(({ series, lossPercent, gigabits }) => ({ series, x: lossPercent, y: gigabits })),
  },
];
for (const plot of PLOTS) await draw(plot, directory);
