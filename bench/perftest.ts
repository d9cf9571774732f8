/**
 * Unmodified perftest over urnic. `node dist/bench/perftest.js [--json FILE] [--sizes 64,4096] [--only ib_write_bw,ib_write_lat] [--rounds N] [--vm]`, as root, after `npm run build`.
 *
 *     without --vm    two urnic hosts joined by a veth pair, beside ucx_perftest over TCP and iperf3 on the same wire in the same run
 *     --vm            inside the virtual machine of the interoperability tests: one urnic vRNIC that talks to itself, beside the kernel's rxe that does
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Namespace, twoHosts } from '../test/support/netns.ts';
import { ROOT } from '../test/support/root.ts';
import { lacksPeer, RxePeer } from '../test/support/rxe-peer.ts';
import { lacks } from '../test/support/skip.ts';
import { SHIM, UrnicHost } from '../test/uverbs/lab.ts';
import { rowOf } from './perftest-row.ts';
import { median } from './report.ts';

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    sizes: { type: 'string', default: '64,4096,65536,1048576' },
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    vm: { type: 'boolean', default: false },
  },
});
const SIZES = options.sizes.split(',').map(Number);
const ROUNDS = Number(options.rounds);
const ALL = ['ib_write_bw', 'ib_read_bw', 'ib_send_bw', 'ib_write_lat', 'ib_send_lat'];
const PROGRAMS = options.only?.split(',') ?? ALL;
const SERVER = '192.0.2.1';
/** Messages of a measurement at most: a second's worth of small ones. */
const COUNT_MAX = 300_000;
const PATIENCE_MILLIS = 240_000;
const IPERF_SECONDS = 3;

/** One line of the table: program and size, and what each of those measured needs or moves. */
interface Row {
  readonly what: string;
  readonly [system: string]: string | number;
}

const isLatency = (program: string): boolean => program.endsWith('_lat');

/** As many messages as take a second or two. */
function iterations(program: string, bytes: number, bytesUnderWay: number, most: number): number {
  const count = Math.max(50, Math.min(most, Math.round(bytesUnderWay / bytes)));
  return isLatency(program) ? Math.min(count, 2000) : count;
}

/** Gb/s on average, or microseconds of one way (the median); NaN when the program said nothing. */
const figureOf = (output: string, program: string, bytes: number): number =>
  Number(rowOf(output, bytes)[isLatency(program) ? 4 : 3]);

/** @param extent how many messages (`-n`), or for how many seconds (`-D`). */
const perftest = (program: string, bytes: number, extent: string): string =>
  `${program} -d rxe0 -x 1 -m 4096 -F -s ${bytes} ${extent}${isLatency(program) ? '' : ' --report_gbits'}`;

async function medianOf(measure: () => Promise<number>): Promise<number> {
  const found: number[] = [];
  for (let round = 0; round < ROUNDS; round++) found.push(await measure());
  return median(found.filter((value) => !Number.isNaN(value)));
}

/** Two in turn, for a shared machine changes its speed: medians of each, and of the ratios of one turn. */
async function inTurn(one: () => Promise<number>, other: () => Promise<number>) {
  const turns: { own: number; theirs: number; ratio: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const [own, theirs] = [await one(), await other()];
    if (!Number.isNaN(own + theirs)) turns.push({ own, theirs, ratio: own / theirs });
  }
  const of = (what: 'own' | 'theirs' | 'ratio'): number => median(turns.map((turn) => turn[what]));
  return { own: of('own'), theirs: of('theirs'), ratio: of('ratio') };
}

interface Scope {
  teardown(undo: () => unknown): void;
}

// ── Two hosts ──

async function overUrnic(t: Scope, a: UrnicHost, b: UrnicHost, program: string, bytes: number): Promise<number> {
  const command = perftest(program, bytes, `-n ${iterations(program, bytes, 1 << 29, COUNT_MAX)}`);
  const server = a.spawn(t, command.split(' '));
  await server.waits();
  const { output } = await b.run([...command.split(' '), SERVER], { timeoutMillis: PATIENCE_MILLIS });
  await server.stop();
  return figureOf(output, program, bytes);
}

const ucxCommand = (...args: string[]): string[] => [
  ...['env', 'UCX_TLS=tcp', 'UCX_NET_DEVICES=eth0', 'ucx_perftest', ...args],
];

/** The last line: iterations, p50, average and overall time, average and overall MiB a second, … */
async function overUcx(t: Scope, a: Namespace, b: Namespace, test: string, bytes: number): Promise<number> {
  const server = a.spawn(t, ucxCommand());
  await server.waits();
  const count = iterations(test, bytes, 1 << 29, COUNT_MAX);
  const args = [SERVER, '-t', test, '-s', String(bytes), '-n', String(count), '-w', '200', '-f'];
  const { output } = await b.run(ucxCommand(...args), { timeoutMillis: PATIENCE_MILLIS });
  await server.stop();
  const figures = output.trim().split('\n').at(-1)!.trim().split(/\s+/).map(Number);
  return isLatency(test) ? figures[1]! : (figures[5]! * 2 ** 20 * 8) / 1e9;
}

async function overIperf(t: Scope, a: Namespace, b: Namespace): Promise<number> {
  const server = a.spawn(t, ['iperf3', '-s', '-1']);
  await server.waits();
  const { output } = await b.run(['iperf3', '-J', '-c', SERVER, '-t', String(IPERF_SECONDS)]);
  await server.stop();
  const { end } = JSON.parse(output) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e9;
}

async function betweenHosts(t: Scope): Promise<Row[]> {
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here);
  const b = await UrnicHost.start(t, there);
  const rows: Row[] = [];
  for (const program of PROGRAMS) {
    await overUrnic(t, a, b, program, SIZES[0]!); // a daemon that has compiled what it runs, as one has that has been up for a while
    for (const bytes of SIZES) {
      const put = isLatency(program) ? 'ucp_put_lat' : 'ucp_put_bw';
      const { own, theirs, ratio } = await inTurn(
        () => overUrnic(t, a, b, program, bytes),
        () => overUcx(t, here, there, put, bytes),
      );
      rows.push({ what: `${program} ${bytes}`, urnic: own, ucx: theirs, ratio });
      console.error(JSON.stringify(rows.at(-1)));
    }
  }
  rows.push({ what: 'iperf3', iperf3: await medianOf(() => overIperf(t, here, there)) });
  return rows;
}

// ── Beside rxe, in the virtual machine ──

const VRNIC = '/tmp/run/vrnics/v';
const VM_SECONDS = 3;
/** Of large messages fewer are under way at once than perftest's 128: as many must complete before the time is over. */
const UNDER_WAY_BYTES = 8 << 20;
const WARM_UP_SECONDS = 15;
const WARM_UP_PROGRAMS = 2;
const UP = [
  'ip link set lo up',
  'ip link add v0 type veth peer name v1',
  'ip addr add 192.0.2.9/24 dev v0',
  'ip link set v0 mtu 9000 up && ip link set v1 mtu 9000 up',
  'mkdir -p /tmp/run',
  String.raw`printf "vrnics:\n  - name: v\n    netdev: v0\n" > /tmp/urnic.yaml`,
  `exec ${process.execPath} ${join(ROOT, 'dist/daemon/cli.js')} up -c /tmp/urnic.yaml --socket /tmp/run/control.sock`,
].join(' && ');

/** Both ends in the machine; `prefix` says how a program there comes to its device. */
async function both(peer: RxePeer, prefix: string, to: string, program: string): Promise<string> {
  const command = `${prefix} ${program}`;
  const script = `${command} >/dev/null 2>&1 & sleep 2; ${command} ${to}; kill $! 2>/dev/null; wait`;
  return (await peer.exec(script, { timeoutMillis: PATIENCE_MILLIS })).output;
}

/** Bandwidth from the messages counted: perftest measures how fast the processor's clock is, fails at that in there as often as not, and says 0 Gb/s. */
async function loopback(peer: RxePeer, prefix: string, to: string, program: string, bytes: number): Promise<number> {
  if (isLatency(program)) {
    const command = perftest(program, bytes, `-n ${iterations(program, bytes, 24 << 20, 2000)}`);
    return figureOf(await both(peer, prefix, to, command), program, bytes);
  }
  const depth = Math.min(128, UNDER_WAY_BYTES / bytes);
  const output = await both(peer, prefix, to, perftest(program, bytes, `-D ${VM_SECONDS} -t ${depth}`));
  return (Number(rowOf(output, bytes)[1]) * bytes * 8) / VM_SECONDS / 1e9;
}

/**
 * A daemon that has been up for a while: under emulation V8 takes a quarter of a minute of traffic until all is compiled (64 KiB WRITEs move 0.02 Gb/s in the first three
 * seconds, 0.06, 0.11 … 0.24 in the following ones). What is compiled for one program is compiled once more for the next, which has other memory and other queues.
 */
async function warmUp(peer: RxePeer, prefix: string, program: string, bytes: number): Promise<void> {
  const command = perftest(program, bytes, `-D ${WARM_UP_SECONDS}`);
  for (let time = 0; time < WARM_UP_PROGRAMS; time++) await both(peer, prefix, '127.0.0.1', command);
}

async function besideRxe(t: Scope): Promise<Row[]> {
  const namespace = await Namespace.create(t, 'perftest-vm');
  await namespace.addTap('tap0', '192.0.2.1/24', 9000);
  const peer = await RxePeer.start(t, namespace, { address: '192.0.2.2/24', memoryMib: 2048 });
  const start = `setsid unshare -n sh -c '${UP}' > /tmp/up.log 2>&1 & echo $!`;
  const pid = (await peer.must(start)).trim();
  const wait = `for i in $(seq 100); do [ -S ${VRNIC}/uverbs ] && exit 0; sleep 0.5; done; cat /tmp/up.log; exit 1`;
  await peer.must(wait, { timeoutMillis: PATIENCE_MILLIS });
  const urnicPrefix = `nsenter -t ${pid} -n env LD_PRELOAD=${SHIM} URNIC_VRNIC=${VRNIC}`;
  const rows: Row[] = [];
  for (const program of PROGRAMS) {
    for (const bytes of SIZES) {
      await warmUp(peer, urnicPrefix, program, bytes);
      const { own, theirs, ratio } = await inTurn(
        () => loopback(peer, urnicPrefix, '127.0.0.1', program, bytes),
        () => loopback(peer, '', '192.0.2.2', program, bytes),
      );
      rows.push({ what: `${program} ${bytes}`, urnic: own, rxe: theirs, ratio });
      console.error(JSON.stringify(rows.at(-1)));
    }
  }
  return rows;
}

async function main(): Promise<void> {
  const lacking = options.vm ? lacksPeer() : lacks('root', 'ib_write_bw', 'ucx_perftest', 'iperf3');
  if (lacking) throw new Error(lacking);
  // The loader would only warn, and the programs would find rxe instead.
  if (!existsSync(SHIM)) throw new Error(`${SHIM} is not built: npm run build:native`);
  const undo: (() => unknown)[] = [];
  const scope = { teardown: (step: () => unknown) => void undo.unshift(step) };
  try {
    const rows = await (options.vm ? besideRxe(scope) : betweenHosts(scope));
    console.table(rows);
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(rows, null, 2)}\n`);
  } finally {
    for (const step of undo) await step();
  }
}

await main();
