/** One simulated run of two engines, all of it drawn from a seed: what they are, what the wire does to them, what work they have. */
import { mtuBytes, QpType } from '../../../rnic/constants.ts';
import type { CounterName } from '../../../rnic/counters.ts';
import { Framing } from '../../../rnic/path.ts';
import type { Micros } from '../../../wire/types.ts';
import type { TracedFrame } from '../../referee/pcap-frames.ts';
import { judge } from '../../referee/referee.ts';
import { AREA_BYTES, Broken, type Fate, FLOW_ACCESS, Flow, type FlowEnd, type Tally } from './flow.ts';
import { type Connection, SimHost, type SimQp } from './host.ts';
import { Random } from './random.ts';
import { type Faults, Wire } from './wire.ts';
import { World } from './world.ts';

const A = 0x0a00_0001;
const B = 0x0a00_0002;
/** An application looks at its queues at least this often. */
const ACT_MICROS = 200;
/** Virtual time that no run needs. */
const LIMIT_MICROS = 600e6;
const COUNTER_BYTES = 64;
const CALM = { loss: 0, duplicate: 0, reorder: 0, corrupt: 0 };
/** BTH's place behind an Ethernet, an IP and a UDP header. */
const HEADERS_V4 = 14 + 20 + 8;
const HEADERS_V6 = 14 + 40 + 8;

/** Liveness: time after the last fault that a run needs besides its retries. Every octet of it fits into that on the slowest wire. */
const SETTLE_MICROS = 5e6;

/**
 * Safety: faults never stop, nothing may be wrong and all work ends well. Liveness: faults are heavy, connections may break on them, and then they stop: from
 * then on everything ends, well or with an error, within a bound.
 */
export const MODES = ['safety', 'liveness'] as const;
export type Mode = (typeof MODES)[number];

/** What a seed means. */
export interface Options {
  readonly seed: number;
  readonly mode: Mode;
  readonly faults: Faults;
  readonly isIpv6: boolean;
  readonly framing: Framing;
  readonly strictTimers: boolean;
  readonly reorderWindow: number;
  readonly burstFrames: number;
  readonly pathMtu: number;
  readonly pairs: number;
  readonly work: number;
  /** Octets of the longest message. */
  readonly mostBytes: number;
  readonly depth: number;
  readonly rdAtomic: number;
  readonly minRnrTimer: number;
  readonly timeout: number;
  readonly retryCnt: number;
  /** The wire is cut for so long, once; 0 when it is not. */
  readonly cutMicros: number;
  /** When faults stop; Infinity for never. */
  readonly calmMicros: Micros;
}

export interface Outcome {
  readonly options: Options;
  readonly micros: number;
  readonly packets: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly corrupted: number;
  readonly completions: number;
  /** Work requests that ended with an error. */
  readonly errors: number;
  readonly retransmitted: number;
  readonly held: number;
}

export function optionsOf(seed: number, mode: Mode = 'safety'): Options {
  const random = new Random(seed);
  const options = { ...safetyOptions(seed, random), mostBytes: random.pick([3000, 30_000, 300_000]) };
  if (mode === 'safety') return options;
  const faults = {
    ...options.faults,
    loss: random.pick([0.1, 0.3, 0.6]),
    reorder: 0.1,
    corrupt: random.pick([0, 0.1]),
  };
  return {
    ...options,
    mode,
    faults,
    timeout: random.pick([8, 12, 14]),
    retryCnt: random.pick([0, 1, 7]),
    cutMicros: random.chance(0.5) ? random.below(1_000_000) : 0,
    calmMicros: 1000 + random.below(1_000_000),
  };
}

function safetyOptions(seed: number, random: Random): Omit<Options, 'mostBytes'> {
  const strictTimers = random.chance(0.2);
  const losses = strictTimers ? [0, 0.001, 0.01] : [0, 0, 0.001, 0.01, 0.05, 0.1, 0.2];
  return {
    seed,
    mode: 'safety',
    timeout: 14,
    retryCnt: 7,
    calmMicros: Number.POSITIVE_INFINITY,
    strictTimers,
    faults: {
      loss: random.pick(losses),
      duplicate: random.pick([0, 0, 0.01, 0.2]),
      reorder: random.pick([0, 0, 0.01, 0.1]),
      corrupt: random.pick([0, 0, 0.001, strictTimers ? 0.001 : 0.05]),
      delayMicros: random.pick([1, 10, 100, 500]),
      lateMicros: random.pick([10, 200, 3000]),
      bytesPerMicro: random.pick([125, 1250, 5000]),
      queueFrames: random.pick([256, 4096]),
    },
    isIpv6: random.chance(0.3),
    framing: random.chance(0.5) ? Framing.HEADER_ONCE : Framing.SINGLE,
    reorderWindow: random.pick([0, 1, 16, 128]),
    burstFrames: random.pick([2, 256]),
    pathMtu: 1 + random.below(5),
    pairs: 1 + random.below(3),
    work: 20 + random.below(40),
    depth: random.pick([1, 4, 31, 100]),
    rdAtomic: random.pick([1, 2, 3, 16]),
    minRnrTimer: random.pick([1, 12, 18]),
    cutMicros: random.chance(0.1) ? random.below(200_000) : 0,
  };
}

/** Runs a seed. Throws what was broken. */
export function simulate(seed: number, mode: Mode = 'safety'): Outcome {
  const run = prepare(optionsOf(seed, mode));
  runToEnd(run);
  check(run);
  return outcomeOf(run);
}

/** Runs a seed for its trace: every frame as it was sent, and what was broken, if anything was. */
export function replay(seed: number, mode: Mode): { options: Options; trace: TracedFrame[]; broken: string | null } {
  const options = optionsOf(seed, mode);
  const run = prepare(options);
  const { trace } = run.world;
  try {
    runToEnd(run);
    check(run);
    return { options, trace: trace!, broken: null };
  } catch (error) {
    return { options, trace: trace!, broken: error instanceof Error ? error.message : String(error) };
  }
}

/** Two hosts, their connections, and the work that each will do. */
interface Run {
  readonly options: Options;
  readonly world: World;
  readonly flows: readonly Flow[];
  readonly tallies: readonly (Tally & { host: SimHost })[];
  readonly pairs: readonly { a: SimQp; b: SimQp; fate: Fate }[];
  readonly cutAt: Micros;
}

function prepare(options: Options): Run {
  const random = new Random(options.seed ^ 0x5eed);
  const hostOptions = {
    isIpv6: options.isIpv6,
    framing: options.framing,
    memoryBytes: options.pairs * AREA_BYTES + COUNTER_BYTES,
    mtu: 4500,
    strictTimers: options.strictTimers,
    reorderWindow: options.reorderWindow,
    burstFrames: options.burstFrames,
  };
  const a = new SimHost({ ...hostOptions, address: A }, random);
  const b = new SimHost({ ...hostOptions, address: B }, random);
  const world = new World(a, b, new Wire(random, options.faults), true);
  return { options, world, ...connectAll(a, b, options, random), cutAt: random.below(5000) };
}

function runToEnd({ options, world, flows, cutAt }: Run): void {
  const { calmMicros } = options;
  const act = (): boolean => {
    const isCalm = world.now >= calmMicros;
    if (isCalm) world.wire.faults = { ...options.faults, ...CALM };
    world.wire.isCut = !isCalm && world.now > cutAt && world.now < cutAt + options.cutMicros;
    for (const flow of flows) flow.act();
    return flows.every((flow) => flow.isDone);
  };
  const until = calmMicros === Number.POSITIVE_INFINITY ? LIMIT_MICROS : calmMicros + boundAfterCalm(options);
  if (!world.run(until, act, ACT_MICROS)) {
    throw new Broken(`not done after ${until / 1e6} s: ${flows.map((flow) => flow.state).join('; ')}`);
  }
  // What is still under way must change nothing.
  world.run(world.now + 50_000, () => false, 50_000);
}

/** Both directions of a connection may give up one after the other, each no later than 4T (retry_cnt + 1) after its last progress. */
const boundAfterCalm = ({ timeout, retryCnt }: Options): Micros =>
  SETTLE_MICROS + 2 * 4 * 4.096 * 2 ** timeout * (retryCnt + 1);

function check({ options, world, flows, tallies, pairs }: Run): void {
  for (const flow of flows) flow.finish();
  for (const tally of tallies)
    checkTally(
      tally,
      pairs.some(({ fate }) => fate.isBroken),
    );
  checkTrace(world, options, pairs);
  checkCounters(world);
  checkHosts(options.mode, world.a, world.b);
}

function outcomeOf({ options, world, flows }: Run): Outcome {
  const count = (name: 'retransmitted_pkts' | 'reorder_held'): number =>
    world.a.rnic.counters.get(name) + world.b.rnic.counters.get(name);
  const { sent, lost, duplicated, reordered, corrupted } = world.wire;
  return {
    options,
    micros: world.now,
    packets: sent,
    lost,
    duplicated,
    reordered,
    corrupted,
    completions: flows.reduce((sum, flow) => sum + flow.completed, 0),
    errors: flows.reduce((sum, flow) => sum + flow.errors, 0),
    retransmitted: count('retransmitted_pkts'),
    held: count('reorder_held'),
  };
}

/** Half of all connections start within 64 of where PSNs wrap. */
const psnOf = (random: Random): number =>
  random.chance(0.5) ? 0xff_ffff - random.below(64) : random.bits() & 0xff_ffff;

function connectAll(a: SimHost, b: SimHost, options: Options, random: Random) {
  const wordAt = options.pairs * AREA_BYTES;
  a.view.setBigUint64(wordAt, 0n, true);
  b.view.setBigUint64(wordAt, 0n, true);
  const tallies: (Tally & { host: SimHost })[] = [a, b].map((host) => ({ host, wordAt, found: [] }));
  const flows: Flow[] = [];
  const pairs: { a: SimQp; b: SimQp; fate: Fate }[] = [];
  for (let i = 0; i < options.pairs; i++) {
    const sqSigAll = random.chance(0.2);
    const qpA = a.createQp(QpType.RC, options.depth, sqSigAll, 4096);
    const qpB = b.createQp(QpType.RC, options.depth, sqSigAll, 4096);
    const [psnA, psnB] = [psnOf(random), psnOf(random)];
    b.connect(qpB, QpType.RC, A, qpA.qpNum, psnA, connectionOf(options, psnB));
    a.connect(qpA, QpType.RC, B, qpB.qpNum, psnB, connectionOf(options, psnA));
    const endA: FlowEnd = { host: a, qp: qpA, area: i * AREA_BYTES };
    const endB: FlowEnd = { host: b, qp: qpB, area: i * AREA_BYTES };
    const fate: Fate = { mayBreak: options.mode === 'liveness', isBroken: false };
    const load = { mtu: mtuBytes(options.pathMtu), work: options.work, mostBytes: options.mostBytes, sqSigAll };
    flows.push(new Flow(endA, endB, tallies[1]!, fate, load, random));
    if (random.chance(0.6)) flows.push(new Flow(endB, endA, tallies[0]!, fate, load, random));
    pairs.push({ a: qpA, b: qpB, fate });
  }
  return { flows, tallies, pairs };
}

const connectionOf = (options: Options, sqPsn: number): Connection => ({
  pathMtu: options.pathMtu,
  timeout: options.timeout,
  retryCnt: options.retryCnt,
  rnrRetry: 7,
  minRnrTimer: options.minRnrTimer,
  maxRdAtomic: options.rdAtomic,
  maxDestRdAtomic: options.rdAtomic,
  accessFlags: FLOW_ACCESS,
  sqPsn,
});

/** each addition of one happened once: they found 0, 1, 2 … in some order. Where a connection broke, the last ones may have been done unheard. */
function checkTally(tally: Tally & { host: SimHost }, isBroken: boolean): void {
  const found = tally.found.toSorted((x, y) => (x < y ? -1 : 1));
  const total = tally.host.view.getBigUint64(tally.wordAt, true);
  if (isBroken) {
    if (new Set(found).size !== found.length) throw new Broken('two additions found the same');
    if (found.some((value) => value >= total)) throw new Broken(`an addition found more than ${total}`);
    return;
  }
  if (total !== BigInt(found.length)) throw new Broken(`${found.length} additions of one make ${total}`);
  for (const [i, value] of found.entries()) if (value !== BigInt(i)) throw new Broken(`two additions found ${value}`);
}

/** The referee, which shares no code with the engine, reads every packet that was sent. */
function checkTrace(world: World, options: Options, pairs: readonly { a: SimQp; b: SimQp }[]): void {
  const mtu = mtuBytes(options.pathMtu);
  const address = (host: number): string =>
    options.isIpv6 ? `fd${'0'.repeat(22)}${host.toString(16).padStart(8, '0')}` : `10.0.0.${host & 0xff}`;
  const connections = pairs.map(({ a, b }) => ({
    a: { address: address(A), qpn: a.qpNum },
    b: { address: address(B), qpn: b.qpNum },
    mtu,
  }));
  const { violations, packets } = judge(world.trace!, connections);
  if (packets !== world.trace!.length)
    throw new Broken(`the referee could not read ${world.trace!.length - packets} packets`);
  if (violations.length !== 0) throw new Broken(`${violations.length} violations; the first: ${violations[0]}`);
}

/** What the engines counted is what was on the wire. */
function checkCounters({ trace, wire, a, b }: World): void {
  const total = (name: CounterName): number => a.rnic.counters.get(name) + b.rnic.counters.get(name);
  let bytes = 0;
  for (const { octets } of trace!)
    bytes += octets.length - (octets.readUInt16BE(12) === 0x86dd ? HEADERS_V6 : HEADERS_V4);
  if (total('sent_pkts') !== wire.sent)
    throw new Broken(`sent_pkts is ${total('sent_pkts')}, on the wire ${wire.sent}`);
  if (total('sent_bytes') !== bytes) throw new Broken(`sent_bytes is ${total('sent_bytes')}, on the wire ${bytes}`);
  if (total('rcvd_pkts') > wire.delivered) throw new Broken(`rcvd_pkts is ${total('rcvd_pkts')} of ${wire.delivered}`);
}

/** Nothing is held for ever, and nobody was told of an error. */
function checkHosts(mode: Mode, ...hosts: readonly SimHost[]): void {
  for (const { rnic, events } of hosts) {
    const errors = events.filter((event) => event.code !== COMM_EST);
    if (errors.length !== 0) throw new Broken(`asynchronous event ${errors[0]!.code}`);
    // A sender that gave up leaves its peer with a gap that nobody closes; destroying the QP does.
    if (mode === 'safety' && rnic.reorderPool.held !== 0)
      throw new Broken(`${rnic.reorderPool.held} early packets are still held`);
  }
}

const COMM_EST = 4;
