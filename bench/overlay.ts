/**
 * What a tenant's network costs: `node dist/bench/overlay.js [--rounds N] [--ways plain,vxlan] [--pairs 1,8,128] [--slots 128] [--no-hosts] [--seconds 2] [--json FILE]`, as root. Plain RoCEv2, VXLAN,
 * translation and memory on the same wire in the same run; ratios are of one round, medians of all.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { crowd, type Ends, type Way } from './crowd.ts';
import { Lab } from './host.ts';
import { machine } from './machine.ts';
import { flow, latency } from './measure.ts';
import { quiet } from './quiet.ts';
import { median } from './report.ts';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    pairs: { type: 'string', default: '1,2,8,32,128' },
    seconds: { type: 'string', default: '2' },
    ways: { type: 'string', default: 'plain,vxlan,translate,local' },
    /** So many messages of 64 KiB lie in all regions of a host together, however many pairs have them. 0: one in each. */
    slots: { type: 'string', default: '0' },
    /** Only the pairs. */
    'no-hosts': { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});

const MTU = 9000;
const SECONDS = Number(options.seconds);
const CONNECTIONS = 400;
/** V8 compiles what each loop runs meanwhile; on a slow machine for a second and more. */
const WARM_SECONDS = 2.5;
const WARM_CONNECTIONS = 1500;
const ALL_WIRED = ['plain', 'vxlan', 'translate'] as const;
/** What is measured between two hosts with a polled device each, and what the ratio to plain should be. */
const GOALS = {
  'write64k (Gb/s)': { vxlan: 0.95, translate: 0.99 },
  'latency (µs)': { vxlan: 1.1, translate: 1.02 },
  'set-up (µs)': { vxlan: 1.11, translate: 1.11 },
} as const;
type What = keyof typeof GOALS;
const ofRate = (what: What): boolean => what === 'write64k (Gb/s)';

type Wired = (typeof ALL_WIRED)[number];
const ways = options.ways.split(',') as Way[];
const wired = options['no-hosts'] ? [] : ALL_WIRED.filter((way) => ways.includes(way));

const ip = (...args: string[]): void => void execFileSync('ip', args);

async function hosts(way: Wired): Promise<Record<What, number>> {
  const lab = new Lab(MTU);
  try {
    await lab.plug();
    const underlay = way === 'plain' ? {} : { underlay: way };
    await lab.connect({ mode: 'polled', spin: 0, qps: 1, depth: 128, ...underlay });
    await quiet();
    await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: WARM_SECONDS });
    const { gigabits } = await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: SECONDS });
    await latency(lab, WARM_SECONDS, false);
    const { p50 } = await latency(lab, SECONDS / 2, false);
    await lab.a.do({ do: 'setUp', count: WARM_CONNECTIONS });
    const setUp = await lab.a.do<number>({ do: 'setUp', count: CONNECTIONS });
    await lab.drop();
    return { 'write64k (Gb/s)': gigabits, 'latency (µs)': p50, 'set-up (µs)': setUp };
  } finally {
    await lab.end();
  }
}

function makeEnds(): Ends & { remove(): void } {
  const [a, b] = [1, 2].map((i) => `bench-${process.pid}-${i}`) as [string, string];
  for (const name of [a, b]) ip('netns', 'add', name);
  ip('link', 'add', 'eth0', 'netns', a, 'mtu', String(MTU), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', b);
  for (const [i, name] of [a, b].entries()) {
    ip('-n', name, 'link', 'set', 'lo', 'up');
    ip('-n', name, 'link', 'set', 'eth0', 'mtu', String(MTU), 'up');
    ip('-n', name, 'addr', 'add', `192.0.2.${i + 1}/24`, 'dev', 'eth0');
  }
  const end = (name: string, i: number) => ({
    path: `/var/run/netns/${name}`,
    netdev: 'eth0',
    address: `192.0.2.${i}`,
  });
  const remove = (): void => {
    for (const name of [a, b]) ip('netns', 'del', name);
  };
  return { left: end(a, 1), right: end(b, 2), mtu: MTU, remove };
}

const rounds = Number(options.rounds);
const slotsOf = (count: number): number => Math.max(1, Math.floor(Number(options.slots) / count));
const pairs = options.pairs.split(',').map(Number);
const figures: Record<string, number[]> = {};
const note = (name: string, value: number): void => {
  figures[name] = [...(figures[name] ?? []), value];
  console.error(`  ${name}: ${value.toFixed(2)}`);
};

for (let round = 1; round <= rounds; round++) {
  console.error(`round ${round} of ${rounds}`);
  for (const way of wired) {
    const found = await hosts(way);
    for (const what of Object.keys(GOALS) as What[]) note(`${way} ${what}`, found[what]);
  }
  const ends = makeEnds();
  try {
    for (const way of ways)
      for (const count of pairs) {
        await quiet();
        const { gigabits, gigabitsPerCpuSecond } = await crowd(way, count, ends, SECONDS, slotsOf(count));
        note(`${way}, ${count} pairs (Gb/s)`, gigabits);
        note(`${way}, ${count} pairs (Gb per CPU second)`, gigabitsPerCpuSecond);
      }
  } finally {
    ends.remove();
  }
}

const ratio = (one: string, other: string): number =>
  median((figures[one] ?? []).map((value, i) => value / (figures[other]?.[i] ?? Number.NaN)));
const { cpu, cores, kernel, node, crc32, date } = machine();
console.log(`${cores} × ${cpu}, ${kernel}, Node ${node}, CRC by ${crc32}, ${date}`);
if (wired.length > 0) console.log('\n| what | way | | of plain (goal) |\n|---|---|---|---|');
for (const what of Object.keys(GOALS) as What[])
  for (const way of wired) {
    const sign = ofRate(what) ? '≥' : '≤';
    const goal =
      way === 'plain' ? '' : `${ratio(`${way} ${what}`, `plain ${what}`).toFixed(2)} (${sign} ${GOALS[what][way]})`;
    console.log(`| ${what} | ${way} | ${median(figures[`${way} ${what}`]!).toFixed(1)} | ${goal} |`);
  }
const header = `\n| pairs of vRNICs, 64 KiB WRITE, Gb/s | ${pairs.join(' | ')} | last of best |`;
console.log(`${header}\n|---|${pairs.map(() => '---|').join('')}---|`);
for (const way of ways) {
  const found = pairs.map((n) => median(figures[`${way}, ${n} pairs (Gb/s)`]!));
  const share = found.at(-1)! / Math.max(...found);
  console.log(`| ${way} | ${found.map((rate) => rate.toFixed(1)).join(' | ')} | ${share.toFixed(2)} |`);
}
/** As bench/plots.ts draws them. */
const crowds = ways.flatMap((series) =>
  pairs.map((x) => ({ series, x, y: median(figures[`${series}, ${x} pairs (Gb/s)`]!) })),
);
if (options.json)
  writeFileSync(options.json, `${JSON.stringify({ machine: machine(), rounds, figures, crowds }, null, 2)}\n`);
