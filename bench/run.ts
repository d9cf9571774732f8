/**
 * `npm run bench`: 64 KiB WRITE and READ bandwidth and 64 B WRITE latency between two hosts joined by a veth pair, beside iperf3 on the same wire in the same
 * run. Medians of five rounds; `--json FILE` keeps them. Needs root.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { HostAddress } from '../daemon/demo/host.ts';
import { RemoteHost } from '../daemon/demo/remote-host.ts';
import { WrOpcode } from '../verbs/index.ts';

const ROUNDS = 5;
const SECONDS = 2;
const MTU = 9000;
const CLI = fileURLToPath(new URL('../daemon/cli.js', import.meta.url));

/** Runs this file again in a network namespace of its own. */
function enterNamespace(): never {
  const self = fileURLToPath(import.meta.url);
  const { status } = spawnSync('unshare', ['-n', process.execPath, self, '--inside', ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  process.exit(status ?? 1);
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
const inside = (host: RemoteHost, ...command: string[]): string[] => ['-t', String(host.pid), '-n', ...command];

/** One iperf3 TCP stream, Gb/s; undefined where it is not installed. */
function iperf3(client: RemoteHost): number | undefined {
  const args = inside(client, 'iperf3', '-J', '-c', '192.0.2.2', '-t', String(SECONDS));
  const { status, stdout } = spawnSync('nsenter', args, { encoding: 'utf8' });
  if (status !== 0) return undefined;
  return (
    (JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received.bits_per_second /
    1e9
  );
}

async function main(): Promise<void> {
  execFileSync('ip', ['link', 'add', 'wire-a', 'type', 'veth', 'peer', 'name', 'wire-b']);
  const [a, b] = [new RemoteHost('host A', CLI), new RemoteHost('host B', CLI)];
  await a.plug('wire-a');
  await b.plug('wire-b');
  const atA = await a.do<HostAddress>({ do: 'start', address: '192.0.2.1/24', mtu: MTU });
  const atB = await b.do<HostAddress>({ do: 'start', address: '192.0.2.2/24', mtu: MTU });
  await Promise.all([a.do({ do: 'connect', peer: atB }), b.do({ do: 'connect', peer: atA })]);
  const server = spawn('nsenter', inside(b, 'iperf3', '-s'), { stdio: 'ignore' });
  server.on('error', () => {});
  await sleep(500);

  const figures: Record<string, number[]> = {
    'WRITE 64 KiB, Gb/s': [],
    'READ 64 KiB, Gb/s': [],
    'WRITE 64 B, post to completion, µs': [],
    'iperf3 TCP, one stream, Gb/s': [],
  };
  const [write, read, latency, tcp] = Object.values(figures) as [number[], number[], number[], number[]];
  for (let round = 0; round < ROUNDS; round++) {
    write.push(await a.do<number>({ do: 'bandwidth', opcode: WrOpcode.RDMA_WRITE, bytes: 65_536, seconds: SECONDS }));
    const stream = iperf3(a);
    if (stream !== undefined) tcp.push(stream);
    read.push(await a.do<number>({ do: 'bandwidth', opcode: WrOpcode.RDMA_READ, bytes: 65_536, seconds: SECONDS }));
    latency.push(await a.do<number>({ do: 'latency', bytes: 64, seconds: 1 }));
  }
  server.kill();
  if (server.exitCode === null) await once(server, 'close').catch(() => {});
  for (const host of [a, b]) {
    await host.do({ do: 'end' });
    host.end();
  }
  report(figures, tcp);
}

function report(figures: Record<string, number[]>, tcp: number[]): void {
  const peer = tcp.length > 0 ? median(tcp) : undefined;
  const machine = `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, veth MTU ${MTU}`;
  console.log(`${machine}; medians of ${ROUNDS} (least … most)`);
  const rows = Object.entries(figures).map(([name, values]) => {
    if (values.length === 0) return { name, median: null };
    const ratio = name.endsWith('Gb/s') && peer !== undefined ? median(values) / peer : null;
    const range = `${Math.min(...values).toFixed(1)} … ${Math.max(...values).toFixed(1)}`;
    console.log(
      `${name.padEnd(48)} ${median(values).toFixed(1).padStart(7)}  (${range})${ratio === null ? '' : `  ${ratio.toFixed(2)} × iperf3`}`,
    );
    return { name, median: median(values), values, ratio };
  });
  if (peer === undefined) console.log('iperf3 is not installed: no ratios');
  const at = process.argv.indexOf('--json');
  if (at !== -1)
    writeFileSync(
      process.argv[at + 1]!,
      `${JSON.stringify({ machine, date: new Date().toISOString(), rows }, null, 2)}\n`,
    );
}

if (process.argv[2] === '--inside') await main();
else if (process.getuid?.() === 0) enterNamespace();
else {
  console.error('npm run bench needs root, to make network namespaces');
  process.exitCode = 1;
}
