/** Figures are worth something only while the machine does nothing else: waits for that, and tells how much else it did. */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Host, Lab } from './host.ts';
import type { Sample } from './lines.ts';
import type { Usage } from './side.ts';

const WINDOW_MILLIS = 300;
const PATIENCE_MILLIS = 5000;
const IDLE_SHARE = 0.85;
/** A figure taken while other programs had more of the cores than this is taken again, so many times. */
const OTHERS_SHARE = 0.1;
const TRIES = 2;
const MICROS_PER_TICK = 10_000;

/** Microseconds that all cores have been busy since the start: not idle, not waiting for disks. */
function busyMicros(): number {
  const [user, nice, system, , , irq, softIrq, steal] = readFileSync('/proc/stat', 'utf8')
    .split('\n')[0]!
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number) as [number, number, number, number, number, number, number, number];
  return (user + nice + system + irq + softIrq + steal) * MICROS_PER_TICK;
}

/** Waits until the machine is idle, or for so long. */
export async function quiet(): Promise<void> {
  for (const until = performance.now() + PATIENCE_MILLIS; performance.now() < until; ) {
    const before = busyMicros();
    await sleep(WINDOW_MILLIS);
    if (busyMicros() - before < (1 - IDLE_SHARE) * WINDOW_MILLIS * 1000 * cpus().length) return;
  }
}

async function cpuMicros(hosts: readonly Host[]): Promise<number> {
  const used = await Promise.all(hosts.map((host) => host.do<Usage>({ do: 'usage' })));
  return used.reduce((sum, usage) => sum + usage.cpuMicros, 0);
}

/** The figure of the try that other programs disturbed least; `others` is their share of the cores meanwhile. */
export async function undisturbed(lab: Lab, measure: (lab: Lab) => Promise<Sample>): Promise<Sample> {
  const hosts = [lab.a, lab.b];
  let best: Sample | undefined;
  for (let i = 0; i < TRIES; i++) {
    await quiet();
    const [begin, busy, own] = [performance.now(), busyMicros(), await cpuMicros(hosts)];
    const sample = await measure(lab);
    const micros = (performance.now() - begin) * 1000 * cpus().length;
    const others = Math.max(0, (busyMicros() - busy - ((await cpuMicros(hosts)) - own)) / micros);
    if (best === undefined || others < best.more['others']!) best = { ...sample, more: { ...sample.more, others } };
    if (others <= OTHERS_SHARE) break;
  }
  return best!;
}
