/**
 * What the ports alone move over a veth pair, without an engine: bandwidth with super-frames and single frames, and the one-way time of a small frame when both
 * sides poll. `node dist/bench/ports.js [--json]`, as root.
 */
import { execFileSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { ReceiveBurst, TransmitBurst } from '../rnic/burst.ts';
import { PacketWriter } from '../rnic/packet-writer.ts';
import type { Path } from '../rnic/path.ts';
import * as Bth from '../wire/bth.ts';
import { enterNetworkNamespace } from '../workers/linux/namespace.ts';
import { toGid } from '../workers/linux/netdev.ts';
import { buildPath } from '../workers/path-builder.ts';
import type { Port } from '../workers/port.ts';
import { AfPacketPort } from '../workers/ports/af-packet.ts';
import { UdpVxlanPort } from '../workers/ports/udp-vxlan.ts';

const SECONDS = 2;
const PINGS = 20_000;
const GIDS = [toGid('10.98.0.1'), toGid('10.98.0.2')] as const;
const MACS = [Uint8Array.of(2, 0, 0, 0, 0, 1), Uint8Array.of(2, 0, 0, 0, 0, 2)] as const;
const ENCAPSULATION = Uint8Array.of(8, 0, 0, 0, 0, 0, 42, 0);

interface Case {
  readonly kind: 'af_packet' | 'udp_vxlan';
  readonly superFrames: boolean;
  readonly payloadBytes: number;
}

interface Side {
  readonly index: 0 | 1;
  readonly namespace: string;
  readonly what: Case;
  readonly task: 'send' | 'count' | 'ping' | 'pong';
}

function openPort({ index, what, namespace }: Side): Port {
  enterNetworkNamespace(`/var/run/netns/${namespace}`);
  if (what.kind === 'af_packet') {
    return new AfPacketPort({ netdev: `b${index}`, addresses: [GIDS[index]], superFrames: what.superFrames });
  }
  const port = new UdpVxlanPort({ local: GIDS[index], mtu: 9000 - 50 });
  port.setVtep(0, GIDS[index === 0 ? 1 : 0]);
  return port;
}

function pathFrom(port: Port, index: 0 | 1): Path {
  const other = index === 0 ? 1 : 0;
  const av = { dgid: GIDS[other], sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
  const ends = { sourceMac: MACS[index], destinationMac: MACS[other], localQpn: 1, remoteQpn: 2, portIndex: 0 };
  const isPacket = port instanceof AfPacketPort;
  const macs = isPacket ? { sourceMac: port.netdev.mac, destinationMac: peerMac(index) } : {};
  const outer = isPacket ? {} : { encapsulation: ENCAPSULATION };
  return buildPath({ av, sgid: GIDS[index], ...ends, ...macs, ...outer, port });
}

/** Set by hand when the pair is made, so that nobody has to ask. */
const peerMac = (index: 0 | 1): Uint8Array => MACS[index === 0 ? 1 : 0];

function fill(burst: TransmitBurst, path: Path, payloadBytes: number, count: number): void {
  const writer = new PacketWriter([burst]);
  for (let i = 0; i < count && writer.begin({ ...path }, Bth.BYTES, payloadBytes); i++) {
    writer.view.setUint32(writer.bthAt, 0x2400_ffff);
    writer.end();
  }
}

/** One flow, so that neighbours join. */
function fillRun(burst: TransmitBurst, path: Path, payloadBytes: number, bytes: number): void {
  const writer = new PacketWriter([burst]);
  while (burst.end < bytes && writer.begin(path, Bth.BYTES, payloadBytes)) {
    writer.view.setUint32(writer.bthAt, 0x2400_ffff);
    writer.end();
  }
}

function send(port: Port, side: Side): void {
  const burst = new TransmitBurst();
  const path = pathFrom(port, side.index);
  if (side.what.superFrames) fillRun(burst, path, side.what.payloadBytes, 500_000);
  else fill(burst, path, side.what.payloadBytes, 128);
  for (const end = performance.now() + (SECONDS + 0.5) * 1000; performance.now() < end; burst.sent = 0) {
    while (!port.transmit(burst) && performance.now() < end);
  }
}

function count(port: Port): number {
  const burst = new ReceiveBurst();
  while (port.receive(burst) === 0);
  const before = { ...port.counters };
  const begin = performance.now();
  while (performance.now() < begin + SECONDS * 1000) port.receive(burst);
  return ((port.counters.rxBytes - before.rxBytes) * 8) / (performance.now() - begin) / 1e6;
}

/** One-way times in microseconds, sorted. */
function ping(port: Port, side: Side): number[] {
  const [out, back] = [new TransmitBurst(), new ReceiveBurst()];
  fill(out, pathFrom(port, side.index), side.what.payloadBytes, 1);
  const times: number[] = [];
  for (let i = 0; i < PINGS; i++) {
    const begin = performance.now();
    out.sent = 0;
    port.transmit(out);
    while (port.receive(back) === 0) if (performance.now() > begin + 100) break;
    if (i >= PINGS / 10) times.push(((performance.now() - begin) * 1000) / 2);
  }
  return times.sort((a, b) => a - b);
}

function pong(port: Port, side: Side): void {
  const [out, back] = [new TransmitBurst(), new ReceiveBurst()];
  fill(out, pathFrom(port, side.index), side.what.payloadBytes, 1);
  for (let last = performance.now(); performance.now() < last + 1000; ) {
    if (port.receive(back) === 0) continue;
    last = performance.now();
    out.sent = 0;
    port.transmit(out);
  }
}

function runSide(side: Side): unknown {
  const port = openPort(side);
  try {
    if (side.task === 'send') return send(port, side);
    if (side.task === 'count') return count(port);
    return side.task === 'ping' ? ping(port, side) : pong(port, side);
  } finally {
    port.close();
  }
}

function start(side: Side): Promise<unknown> {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: side });
  return new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
}

async function measure(
  namespaces: readonly [string, string],
  what: Case,
): Promise<{ gbps: number; p50: number; p99: number }> {
  const side = (index: 0 | 1, task: Side['task'], of = what): Side => ({
    index,
    task,
    what: of,
    namespace: namespaces[index],
  });
  const counting = start(side(1, 'count'));
  await new Promise((resolve) => setTimeout(resolve, 300));
  await start(side(0, 'send'));
  const gbps = Number(await counting);
  const small = { ...what, superFrames: false, payloadBytes: 64 };
  const answering = start(side(1, 'pong', small));
  await new Promise((resolve) => setTimeout(resolve, 300));
  const times = (await start(side(0, 'ping', small))) as number[];
  await answering;
  const at = (share: number): number => times[Math.floor(times.length * share)] ?? Number.NaN;
  return { gbps, p50: at(0.5), p99: at(0.99) };
}

function makePair(namespaces: readonly [string, string]): void {
  const ip = (text: string): Buffer => execFileSync('ip', text.split(' '));
  const [left, right] = namespaces;
  ip(`netns add ${left}`);
  ip(`netns add ${right}`);
  ip(
    `link add b0 netns ${left} mtu 9000 address 02:00:00:00:00:01 type veth peer name b1 netns ${right} mtu 9000 address 02:00:00:00:00:02`,
  );
  for (const [i, name] of namespaces.entries()) {
    ip(`-n ${name} addr add 10.98.0.${i + 1}/24 dev b${i}`);
    ip(`-n ${name} link set b${i} up`);
  }
}

async function main(): Promise<void> {
  const namespaces = [`urnic-bench-${process.pid}-0`, `urnic-bench-${process.pid}-1`] as const;
  try {
    makePair(namespaces);
    const rows: object[] = [];
    for (const kind of ['af_packet', 'udp_vxlan'] as const) {
      for (const [superFrames, payloadBytes] of [
        [true, 4096],
        [true, 1024],
        [false, 4096],
        [false, 1024],
        [false, 64],
      ] as const) {
        const { gbps, p50, p99 } = await measure(namespaces, { kind, superFrames, payloadBytes });
        const round = (value: number): number => Math.round(value * 10) / 10;
        rows.push({
          kind,
          superFrames,
          payloadBytes,
          'Gb/s': round(gbps),
          '64 B p50 us': round(p50),
          '64 B p99 us': round(p99),
        });
      }
    }
    if (process.argv.includes('--json')) console.log(JSON.stringify(rows));
    else console.table(rows);
  } finally {
    for (const name of namespaces) execFileSync('ip', ['netns', 'delete', name]);
  }
}

if (isMainThread) await main();
else parentPort?.postMessage(runSide(workerData as Side));
