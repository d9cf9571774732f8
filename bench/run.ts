/**
 * `npm run bench`: urnic between two hosts joined by a veth pair, beside iperf3, UCX over TCP and qperf on the same wire in the same run: a table, and JSON with
 * `--json FILE`. Needs root.
 *
 *     --only ID,ID    some lines (bench/lines.ts)          --rounds N    medians of N; 5
 *     --no-peers      no peers, so no ratios               --sweep       also figures by size, for the plots
 *     --minute        also a minute of WRITEs: is memory flat?
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Lab } from './host.ts';
import { LINES, type Line, PEERS, type PeerName, type Sample, SETTINGS, type Setting } from './lines.ts';
import { machine } from './machine.ts';
import { quiet, undisturbed } from './quiet.ts';
import { type PeerRow, type Row, report } from './report.ts';
import { type Minute, minute, type Sweep, sweep } from './sweep.ts';

const { values: options } = parseArgs({
  options: {
    inside: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'string' },
    'no-peers': { type: 'boolean', default: false },
    sweep: { type: 'boolean', default: false },
    minute: { type: 'boolean', default: false },
  },
});

const wanted = options.only?.split(',');
const lines = LINES.filter(({ id }) => wanted?.includes(id) ?? true);
const names = Object.keys(PEERS) as PeerName[];
const peers = options['no-peers']
  ? []
  : names.filter((name) => !wanted || lines.some(({ peer }) => peer?.name === name));
const samples = new Map<string, Sample[]>();
const peerValues = new Map<PeerName, number[]>();
let sizes: Sweep[] = [];
let long: Minute | undefined;

function add<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const known = map.get(key);
  if (known) known.push(value);
  else map.set(key, [value]);
}

/** One round on one wire: each setting in turn, and the peers beside the first. */
async function round(lab: Lab): Promise<void> {
  const others = peers.filter((name) => PEERS[name]?.mtu === lab.mtu);
  for (const [i, [name, setting]] of settingsFor(lab.mtu).entries()) {
    await lab.connect(setting);
    if (i === 0) await askPeers(lab, others);
    for (const line of lines) if (line.setting === name) add(samples, line.id, await measured(lab, line));
    await lab.drop();
  }
}

const settingsFor = (mtu: number): [string, Setting][] =>
  Object.entries<Setting>(SETTINGS).filter(
    ([name, setting]) => setting.mtu === mtu && lines.some((line) => line.setting === name),
  );

/** The first time, V8 has not compiled what the line runs, and each of many new QPs has its state still to be made: that once does not count. */
async function measured(lab: Lab, line: Line): Promise<Sample> {
  console.error(`  ${line.title} …`);
  if (!samples.has(line.id) || SETTINGS[line.setting].qps > 1000) await line.measure(lab);
  return undisturbed(lab, line.measure);
}

async function askPeers(lab: Lab, others: readonly PeerName[]): Promise<void> {
  for (const name of others) {
    await quiet();
    const value = await PEERS[name]!.measure(lab);
    if (value !== undefined) add(peerValues, name, value);
  }
}

async function withLab<T>(mtu: number, work: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = new Lab(mtu);
  try {
    await lab.plug();
    return await work(lab);
  } finally {
    await lab.end();
  }
}

async function main(): Promise<void> {
  const rounds = Number(options.rounds);
  for (const mtu of [9000, 1500]) {
    if (settingsFor(mtu).length === 0) continue;
    await withLab(mtu, async (lab) => {
      for (let i = 0; i < rounds; i++) {
        console.error(`MTU ${mtu}, round ${i + 1} of ${rounds} …`);
        await round(lab);
      }
    });
  }
  if (options.sweep) sizes = await withLab(9000, sweep);
  if (options.minute) long = await withLab(9000, minute);
  for (const [name, id] of [
    ['16 QPs', 'qps-16'],
    ['one QP', 'write1m'],
  ] as const) {
    const own = samples.get(id)?.map(({ value }) => value);
    if (own) peerValues.set(name, own);
  }
  const rows: Row[] = lines.map((line: Line) => ({ line, samples: samples.get(line.id) ?? [] }));
  const peerRows: PeerRow[] = peers
    .filter((name) => PEERS[name] !== null)
    .map((name) => ({ name, unit: PEERS[name]!.unit, values: peerValues.get(name) ?? [] }));
  const result = report(machine(), rounds, rows, peerRows, peerValues);
  if (options.json) {
    writeFileSync(options.json, `${JSON.stringify({ ...result, sizes, minute: long }, null, 2)}\n`);
  }
}

if (options.inside) await main();
else if (process.getuid?.() === 0) {
  const argv = ['-n', process.execPath, fileURLToPath(import.meta.url), '--inside', ...process.argv.slice(2)];
  process.exit(spawnSync('unshare', argv, { stdio: 'inherit' }).status ?? 1);
} else {
  console.error('npm run bench needs root, to make network namespaces');
  process.exitCode = 1;
}
