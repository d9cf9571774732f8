/** What the figures were taken on. */
import { cpus, release, totalmem } from 'node:os';
import { backendName } from '../wire/crc32.ts';
import { versionOf } from './peers.ts';

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  readonly crc32: string;
  readonly iperf3: string;
  readonly qperf: string;
  readonly ucx: string;
}

export function machine(): Machine {
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: `Linux ${release()}`,
    node: process.version,
    crc32: backendName(),
    iperf3: versionOf('iperf3', '--version'),
    qperf: versionOf('qperf', '--version'),
    ucx: versionOf('ucx_info', '-v'),
  };
}
