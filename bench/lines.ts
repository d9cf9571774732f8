/** The lines of the bench: what is measured, in which setting, against which peer, and the goal. */
import type { Lab } from './host.ts';
import { type Flow, flow, latency } from './measure.ts';
import { iperf3, qperfLatency, ucx } from './peers.ts';
import type { Mode } from './side.ts';

/** Two hosts with vRNICs that were started alike; lines of one setting share them. */
export interface Setting {
  readonly mtu: number;
  /** `polled`: the program's thread moves the vRNIC. `worker`: a thread of its own does, and the program sleeps for completions. */
  readonly mode: Mode;
  readonly spin: number | 'always';
  readonly qps: number;
  readonly depth: number;
  readonly underlay?: 'vxlan' | 'translate';
}

/** What a figure is set against, in the same run. */
export type PeerName =
  | 'iperf3'
  | 'iperf3 at MTU 1500'
  | 'UCX over TCP'
  | 'UCX put_bw'
  | 'qperf tcp_lat'
  | '16 QPs'
  | 'one QP';

export interface Line {
  readonly id: string;
  readonly title: string;
  readonly unit: 'Gb/s' | 'µs' | 'M/s';
  readonly setting: keyof typeof SETTINGS;
  /** Absent: the figure stands alone. `factor`: what the ratio should be, at least for a rate, at most for a time. */
  readonly peer?: { readonly name: PeerName; readonly factor?: number };
  /** What the figure itself should be: at least for a rate, at most for a time. */
  readonly goal?: number;
  readonly measure: (lab: Lab) => Promise<Sample>;
}

export interface Sample {
  readonly value: number;
  /** Whatever else was seen: p99, collections a second … */
  readonly more: Readonly<Record<string, number>>;
}

const SECONDS = 2;
const MANY_QPS = 10_000;
/** Lines that are set against each other write to as much memory: all of the region, 16 MiB (it has fewer places than this), more than the caches of a core hold. */
const WHOLE_REGION = 1 << 16;

export const SETTINGS = {
  polled: { mtu: 9000, mode: 'polled', spin: 0, qps: 16, depth: 256 },
  worker: { mtu: 9000, mode: 'worker', spin: 50, qps: 1, depth: 128 },
  /** As a program has it that says nothing: it polls for a while before it sleeps. */
  'polled, spin 50': { mtu: 9000, mode: 'polled', spin: 50, qps: 1, depth: 128 },
  'polled, MTU 1500': { mtu: 1500, mode: 'polled', spin: 0, qps: 1, depth: 128 },
  'polled, many QPs': { mtu: 9000, mode: 'polled', spin: 0, qps: MANY_QPS, depth: 4 },
} as const satisfies Record<string, Setting>;

const bandwidth =
  (wanted: Omit<Flow, 'seconds'>) =>
  async (lab: Lab): Promise<Sample> => {
    const { gigabits, minorsSender, minorsReceiver } = await flow(lab, { ...wanted, seconds: SECONDS });
    return { value: gigabits, more: { minorsSender, minorsReceiver } };
  };

const rate =
  (wanted: Omit<Flow, 'seconds'>) =>
  async (lab: Lab): Promise<Sample> => {
    const { messagesPerSecond, minorsSender, minorsReceiver } = await flow(lab, { ...wanted, seconds: SECONDS });
    return { value: messagesPerSecond / 1e6, more: { minorsSender, minorsReceiver } };
  };

const oneWay =
  (sleeping: boolean) =>
  async (lab: Lab): Promise<Sample> => {
    const { p50, p99 } = await latency(lab, 1, sleeping);
    return { value: p50, more: { p99 } };
  };

export const LINES: readonly Line[] = [
  {
    id: 'write64k',
    title: '64 KiB WRITE, one QP',
    unit: 'Gb/s',
    setting: 'polled',
    peer: { name: 'iperf3', factor: 1.5 },
    measure: bandwidth({ verb: 'WRITE', bytes: 65_536 }),
  },
  {
    id: 'read64k',
    title: '64 KiB READ, one QP',
    unit: 'Gb/s',
    setting: 'polled',
    peer: { name: 'iperf3', factor: 1.3 },
    measure: bandwidth({ verb: 'READ', bytes: 65_536 }),
  },
  {
    id: 'send64k',
    title: '64 KiB SEND, one QP',
    unit: 'Gb/s',
    setting: 'polled',
    peer: { name: 'iperf3', factor: 1.3 },
    measure: bandwidth({ verb: 'SEND', bytes: 65_536 }),
  },
  {
    id: 'write1m',
    title: '1 MiB WRITE, one QP',
    unit: 'Gb/s',
    setting: 'polled',
    peer: { name: 'iperf3' },
    measure: bandwidth({ verb: 'WRITE', bytes: 1 << 20, depth: 16, moderation: 1, slots: WHOLE_REGION }),
  },
  {
    id: 'write1m-16qps',
    title: '1 MiB WRITE, 16 QPs',
    unit: 'Gb/s',
    setting: 'polled',
    peer: { name: 'one QP', factor: 1 },
    measure: bandwidth({ verb: 'WRITE', bytes: 1 << 20, qps: 16, depth: 8, moderation: 1, slots: WHOLE_REGION }),
  },
  {
    id: 'write64k-worker',
    title: '64 KiB WRITE, one QP, worker thread',
    unit: 'Gb/s',
    setting: 'worker',
    peer: { name: 'iperf3', factor: 1.5 },
    measure: bandwidth({ verb: 'WRITE', bytes: 65_536 }),
  },
  {
    id: 'write64k-1500',
    title: '64 KiB WRITE, one QP, MTU 1500 (path MTU 1024)',
    unit: 'Gb/s',
    setting: 'polled, MTU 1500',
    peer: { name: 'iperf3 at MTU 1500', factor: 1 },
    measure: bandwidth({ verb: 'WRITE', bytes: 65_536 }),
  },
  {
    id: 'latency-spinning',
    title: '64 B WRITE, one way, spinning',
    unit: 'µs',
    setting: 'polled',
    peer: { name: 'UCX over TCP', factor: 0.5 },
    goal: 4,
    measure: oneWay(false),
  },
  {
    id: 'latency-sleeping',
    title: '64 B WRITE, one way, sleeping at once',
    unit: 'µs',
    setting: 'polled',
    peer: { name: 'qperf tcp_lat', factor: 1 },
    measure: oneWay(true),
  },
  {
    id: 'latency-events',
    title: '64 B WRITE, one way, waiting for events (polls 50 µs, then sleeps)',
    unit: 'µs',
    setting: 'polled, spin 50',
    peer: { name: 'qperf tcp_lat', factor: 1 },
    measure: oneWay(true),
  },
  {
    id: 'rate64',
    title: '64 B WRITE, one QP, many outstanding',
    unit: 'M/s',
    setting: 'polled',
    goal: 1,
    measure: rate({ verb: 'WRITE', bytes: 64, depth: 256, moderation: 32 }),
  },
  {
    id: 'qps-16',
    title: '4 KiB WRITE, 16 QPs round robin',
    unit: 'Gb/s',
    setting: 'polled',
    measure: bandwidth({ verb: 'WRITE', bytes: 4096, qps: 16, depth: 4, moderation: 2, slots: WHOLE_REGION }),
  },
  {
    id: 'qps-10000',
    title: '4 KiB WRITE, 10,000 QPs round robin',
    unit: 'Gb/s',
    setting: 'polled, many QPs',
    peer: { name: '16 QPs', factor: 0.8 },
    measure: bandwidth({ verb: 'WRITE', bytes: 4096, qps: MANY_QPS, depth: 4, moderation: 2, slots: WHOLE_REGION }),
  },
];

/** Figures of the peers, each measured on the wire of a setting. */
export const PEERS: Record<
  PeerName,
  {
    readonly mtu: number;
    readonly unit: Line['unit'];
    readonly measure: (lab: Lab) => Promise<number | undefined>;
  } | null
> = {
  iperf3: { mtu: 9000, unit: 'Gb/s', measure: (lab) => iperf3(lab, SECONDS) },
  'iperf3 at MTU 1500': { mtu: 1500, unit: 'Gb/s', measure: (lab) => iperf3(lab, SECONDS) },
  'UCX over TCP': {
    mtu: 9000,
    unit: 'µs',
    measure: async (lab) => (await ucx(lab, 'ucp_put_lat', 64, 50_000))?.p50Micros,
  },
  'UCX put_bw': {
    mtu: 9000,
    unit: 'Gb/s',
    measure: async (lab) => {
      const figures = await ucx(lab, 'ucp_put_bw', 65_536, 50_000);
      return figures && (figures.bytesPerSecond * 8) / 1e9;
    },
  },
  'qperf tcp_lat': { mtu: 9000, unit: 'µs', measure: (lab) => qperfLatency(lab, 1) },
  /** Lines of our own. */
  '16 QPs': null,
  'one QP': null,
};
