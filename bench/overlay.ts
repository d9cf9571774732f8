/**
 * What a tenant's network costs: `node dist/bench/overlay.js [--rounds N] [--ways plain,vxlan] [--pairs 1,8,128] [--slots 128] [--no-hosts] [--seconds 2] [--json FILE]`, as root. Plain RoCEv2, VXLAN,
 * translation and memory in the same run, in turn in short slices, for a shared machine changes its speed from minute to minute; ratios are of one slice, medians of
 * all.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Crowd, type Ends, type Way } from './crowd.ts';
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
/** In each round every way is measured so often, in turn. */
const SLICES = 8;
const CONNECTIONS = 100;
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

/** Each of them so often, in turn; the first is the second the next time. Who is idle meanwhile sleeps. */
async function inTurn<T>(all: T[], measure: (one: T) => Promise<void>): Promise<void> {
  await quiet();
  for (let slice = 0; slice < SLICES; slice++) {
    for (const one of all) await measure(one);
    all.unshift(all.pop()!);
  }
}

/** A polled device on each host, and V8 has compiled what is measured. */
async function prepare(lab: Lab, way: Wired): Promise<void> {
  await lab.plug();
  const underlay = way === 'plain' ? {} : { underlay: way };
  await lab.connect({ mode: 'polled', spin: 0, qps: 1, depth: 128, ...underlay });
  await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: WARM_SECONDS });
  await latency(lab, WARM_SECONDS, false);
  await lab.a.do({ do: 'setUp', count: WARM_CONNECTIONS });
}

const MEASURES: Record<What, (lab: Lab) => Promise<number>> = {
  'write64k (Gb/s)': async (lab) =>
    (await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: SECONDS / SLICES })).gigabits,
  'latency (µs)': async (lab) => (await latency(lab, SECONDS / SLICES, false)).p50,
  'set-up (µs)': (lab) => lab.a.do<number>({ do: 'setUp', count: CONNECTIONS }),
};

async function measureHosts(): Promise<void> {
  const labs = wired.map((way) => ({ way, lab: new Lab(MTU) }));
  try {
    for (const { way, lab } of labs) await prepare(lab, way);
    for (const what of Object.keys(GOALS) as What[])
      await inTurn(labs, async ({ way, lab }) => note(`${way} ${what}`, await MEASURES[what](lab)));
    for (const { lab } of labs) await lab.drop();
  } finally {
    for (const { lab } of labs) await lab.end();
  }
}

function makeEnds(count: number): Ends & { remove(): void } {
  const [a, b] = [1, 2].map((i) => `bench-${process.pid}-${count}-${i}`) as [string, string];
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

/** So many pairs, and so many. Each on a wire of their own: the kernel asks all packet sockets of an interface about every packet. */
async function measureCrowds(way: Way): Promise<void> {
  const open: { count: number; crowd: Crowd }[] = [];
  const undo: (() => unknown)[] = [];
  try {
    for (const count of pairs) {
      const ends = makeEnds(count);
      undo.unshift(() => ends.remove());
      const crowd = await Crowd.open(way, count, ends, slotsOf(count));
      undo.unshift(() => crowd.close());
      open.push({ count, crowd });
    }
    await inTurn(open, async ({ count, crowd }) => {
      const { gigabits, gigabitsPerCpuSecond } = await crowd.run(SECONDS / SLICES);
      note(`${way}, ${count} pairs (Gb/s)`, gigabits);
      note(`${way}, ${count} pairs (Gb per CPU second)`, gigabitsPerCpuSecond);
    });
  } finally {
    for (const step of undo) await step();
  }
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
  if (wired.length > 0) await measureHosts();
  for (const way of ways) await measureCrowds(way);
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
  const share = Math.min(
    ...pairs.map((n) => ratio(`${way}, ${pairs.at(-1)!} pairs (Gb/s)`, `${way}, ${n} pairs (Gb/s)`)),
  );
  console.log(`| ${way} | ${found.map((rate) => rate.toFixed(1)).join(' | ')} | ${share.toFixed(2)} |`);
}
/** As bench/plots.ts draws them. */
const crowds = ways.flatMap((series) =>
  pairs.map((x) => ({ series, x, y: median(figures[`${series}, ${x} pairs (Gb/s)`]!) })),
);
if (options.json)
  writeFileSync(options.json, `${JSON.stringify({ machine: machine(), rounds, figures, crowds }, null, 2)}\n`);
