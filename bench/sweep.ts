/** Figures by size and by QPs, for the plots; and a minute of WRITEs, for the memory that they leave. */
import type { Lab } from './host.ts';
import { type Sample, SETTINGS } from './lines.ts';
import { type Flow, flow, latency, type Verb } from './measure.ts';
import { ucx } from './peers.ts';
import { quiet, undisturbed } from './quiet.ts';

export interface Sweep {
  readonly series: string;
  readonly of: 'bandwidth' | 'latency' | 'scaling';
  /** Octets of a message; for `scaling`, QPs. */
  readonly x: number;
  /** Gigabits a second, or microseconds. */
  readonly y: number;
}

const SECONDS = 0.7;
const SIZES = [64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
const PING_SIZES = [64, 256, 1024, 4096, 16_384, 65_536];
const QPS = [1, 2, 4, 8, 16];
const UNDER_WAY_BYTES = 4 << 20;

/** Gigabits a second, undisturbed. */
const bandwidth = async (lab: Lab, wanted: Omit<Flow, 'seconds'>): Promise<number> => {
  const measure = async (): Promise<Sample> => {
    const { gigabits } = await flow(lab, { ...wanted, seconds: SECONDS });
    return { value: gigabits, more: {} };
  };
  return (await undisturbed(lab, measure)).value;
};

export async function sweep(lab: Lab): Promise<Sweep[]> {
  const found: Sweep[] = [];
  await lab.connect(SETTINGS.polled);
  for (const verb of ['WRITE', 'READ', 'SEND'] as Verb[]) await flow(lab, { verb, bytes: 65_536, seconds: SECONDS });
  for (const verb of ['WRITE', 'READ', 'SEND'] as Verb[]) {
    for (const bytes of SIZES) {
      const depth = Math.max(8, Math.min(256, UNDER_WAY_BYTES / bytes));
      const gigabits = await bandwidth(lab, { verb, bytes, depth, moderation: depth / 8 });
      found.push({ series: `urnic ${verb}`, of: 'bandwidth', x: bytes, y: gigabits });
    }
  }
  for (const bytes of PING_SIZES) {
    await quiet();
    const { p50 } = await latency(lab, SECONDS, false, bytes);
    found.push({ series: 'urnic WRITE', of: 'latency', x: bytes, y: p50 });
  }
  for (const qps of QPS) {
    const gigabits = await bandwidth(lab, { verb: 'WRITE', bytes: 65_536, qps, depth: 32, moderation: 8 });
    found.push({ series: '64 KiB WRITE', of: 'scaling', x: qps, y: gigabits });
  }
  await lab.drop();
  for (const bytes of SIZES) {
    await quiet();
    const figures = await ucx(lab, 'ucp_put_bw', bytes, Math.ceil(200_000 / Math.sqrt(bytes)));
    if (figures)
      found.push({ series: 'UCX over TCP put_bw', of: 'bandwidth', x: bytes, y: (figures.bytesPerSecond * 8) / 1e9 });
  }
  for (const bytes of PING_SIZES) {
    await quiet();
    const figures = await ucx(lab, 'ucp_put_lat', bytes, 10_000);
    if (figures) found.push({ series: 'UCX over TCP put_lat', of: 'latency', x: bytes, y: figures.p50Micros });
  }
  return found;
}

export interface Minute {
  /** Resident octets of the sending host after each 5 s. */
  readonly residentBytes: number[];
  readonly minorCollections: number[];
  readonly gigabits: number[];
}

/** 64 KiB WRITEs for a minute, by a worker: minor collections are those of both hosts. */
export async function minute(lab: Lab): Promise<Minute> {
  const found: Minute = { residentBytes: [], minorCollections: [], gigabits: [] };
  await lab.connect(SETTINGS.polled);
  for (let i = 0; i < 12; i++) {
    const figures = await flow(lab, { verb: 'WRITE', bytes: 65_536, seconds: 5 });
    found.residentBytes.push(figures.residentBytes);
    found.minorCollections.push(figures.minorsSender + figures.minorsReceiver);
    found.gigabits.push(figures.gigabits);
  }
  await lab.drop();
  return found;
}
