/** The programs that urnic is measured against, on the same wire in the same run: iperf3, qperf, ucx_perftest. Undefined where one is not installed. */
import { spawnSync } from 'node:child_process';
import type { Host, Lab } from './host.ts';

const isInstalled = (program: string): boolean => spawnSync('which', [program]).status === 0;

export interface UcxFigures {
  readonly p50Micros: number;
  readonly bytesPerSecond: number;
}

/** Gigabits a second of one TCP stream. */
export async function iperf3(lab: Lab, seconds: number): Promise<number | undefined> {
  if (!isInstalled('iperf3')) return undefined;
  return lab.b.serving(['iperf3', '-s'], () => {
    const { end } = JSON.parse(lab.a.run('iperf3', '-J', '-c', lab.b.address, '-t', String(seconds))) as {
      end: { sum_received: { bits_per_second: number } };
    };
    return end.sum_received.bits_per_second / 1e9;
  });
}

const UNITS: Record<string, number> = { ns: 1e-3, us: 1, ms: 1e3 };

/** One-way microseconds of 64 octets between two processes that block in the kernel. */
export async function qperfLatency(lab: Lab, seconds: number): Promise<number | undefined> {
  if (!isInstalled('qperf')) return undefined;
  return lab.b.serving(['qperf'], () => {
    const text = lab.a.run('qperf', lab.b.address, '-t', String(seconds), '-m', '64', 'tcp_lat');
    const [, value, unit] = /latency\s*=\s*([\d.]+) (\w+)/.exec(text) ?? [];
    return Number(value) * UNITS[unit!]!;
  });
}

/** UCX asks /sys which interfaces there are: each side has it mounted for its own network namespace. */
const ucxCommand = (...args: string[]): string[] => [
  'unshare',
  '-m',
  'sh',
  '-c',
  `mount -t sysfs sysfs /sys && UCX_TLS=tcp UCX_NET_DEVICES=eth0 exec ucx_perftest ${args.join(' ')}`,
];

export async function ucx(
  lab: Lab,
  test: 'ucp_put_lat' | 'ucp_put_bw',
  bytes: number,
  count: number,
): Promise<UcxFigures | undefined> {
  if (!isInstalled('ucx_perftest')) return undefined;
  return lab.b.serving(ucxCommand(), () => {
    const argv = ucxCommand(lab.b.address, '-t', test, '-s', String(bytes), '-n', String(count), '-w', '1000', '-f');
    return readUcx(lab.a, argv);
  });
}

/** The last line: iterations, p50, average and overall time, average and overall MiB a second, … */
function readUcx(host: Host, argv: string[]): UcxFigures {
  const [command, ...args] = argv as [string, ...string[]];
  const figures = host
    .run(command, ...args)
    .trim()
    .split('\n')
    .at(-1)!
    .trim()
    .split(/\s+/)
    .map(Number);
  return { p50Micros: figures[1]!, bytesPerSecond: figures[5]! * 2 ** 20 };
}

/** `iperf 3.12`, for the record. */
export function versionOf(program: string, ...args: string[]): string {
  const { stdout, status } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0]!.trim() : 'not installed';
}
