/** One simulated run of two engines, all of it drawn from a seed: what they are, what the wire does to them, what work they have. */
import { mtuBytes, QpType } from '../../../rnic/constants.ts';
import { Framing } from '../../../rnic/path.ts';
import { judge } from '../../referee/referee.ts';
import { AREA_BYTES, Broken, FLOW_ACCESS, Flow, type FlowEnd, type Tally } from './flow.ts';
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

/** What a seed means. */
export interface Options {
  readonly seed: number;
  readonly faults: Faults;
  readonly isIpv6: boolean;
  readonly framing: Framing;
  readonly strictTimers: boolean;
  readonly reorderWindow: number;
  readonly burstFrames: number;
  readonly pathMtu: number;
  readonly pairs: number;
  readonly work: number;
  readonly depth: number;
  readonly rdAtomic: number;
  readonly minRnrTimer: number;
  /** The wire is cut for so long, once; 0 when it is not. */
  readonly cutMicros: number;
}

export interface Outcome {
  readonly options: Options;
  readonly micros: number;
  readonly packets: number;
  readonly completions: number;
  readonly retransmitted: number;
  readonly held: number;
}

export function optionsOf(seed: number): Options {
  const random = new Random(seed);
  const strictTimers = random.chance(0.2);
  const losses = strictTimers ? [0, 0.001, 0.01] : [0, 0, 0.001, 0.01, 0.05, 0.1, 0.2];
  return {
    seed,
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
export function simulate(seed: number): Outcome {
  const options = optionsOf(seed);
  const random = new Random(seed ^ 0x5eed);
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
  const { flows, tallies, pairs } = connectAll(a, b, options, random);
  const cutAt = random.below(5000);
  const done = world.run(
    LIMIT_MICROS,
    () => {
      world.wire.isCut = world.now > cutAt && world.now < cutAt + options.cutMicros;
      for (const flow of flows) flow.act();
      return flows.every((flow) => flow.isDone);
    },
    ACT_MICROS,
  );
  if (!done) throw new Broken(`not done after ${LIMIT_MICROS / 1e6} s: ${flows.map((flow) => flow.state).join('; ')}`);
  // What is still under way must change nothing.
  world.run(world.now + 50_000, () => false, 50_000);
  for (const flow of flows) flow.finish();
  for (const tally of tallies) checkTally(tally);
  checkTrace(world, options, pairs);
  checkHosts(a, b);
  const count = (name: 'retransmitted_pkts' | 'reorder_held'): number =>
    a.rnic.counters.get(name) + b.rnic.counters.get(name);
  return {
    options,
    micros: world.now,
    packets: world.wire.sent,
    completions: flows.reduce((sum, flow) => sum + flow.completed, 0),
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
  const pairs: { a: SimQp; b: SimQp }[] = [];
  for (let i = 0; i < options.pairs; i++) {
    const sqSigAll = random.chance(0.2);
    const qpA = a.createQp(QpType.RC, options.depth, sqSigAll, 4096);
    const qpB = b.createQp(QpType.RC, options.depth, sqSigAll, 4096);
    const [psnA, psnB] = [psnOf(random), psnOf(random)];
    b.connect(qpB, QpType.RC, A, qpA.qpNum, psnA, connectionOf(options, psnB));
    a.connect(qpA, QpType.RC, B, qpB.qpNum, psnB, connectionOf(options, psnA));
    const endA: FlowEnd = { host: a, qp: qpA, area: i * AREA_BYTES };
    const endB: FlowEnd = { host: b, qp: qpB, area: i * AREA_BYTES };
    const mtu = mtuBytes(options.pathMtu);
    flows.push(new Flow(endA, endB, tallies[1]!, mtu, options.work, sqSigAll, random));
    if (random.chance(0.6)) flows.push(new Flow(endB, endA, tallies[0]!, mtu, options.work, sqSigAll, random));
    pairs.push({ a: qpA, b: qpB });
  }
  return { flows, tallies, pairs };
}

const connectionOf = (options: Options, sqPsn: number): Connection => ({
  pathMtu: options.pathMtu,
  timeout: 14,
  retryCnt: 7,
  rnrRetry: 7,
  minRnrTimer: options.minRnrTimer,
  maxRdAtomic: options.rdAtomic,
  maxDestRdAtomic: options.rdAtomic,
  accessFlags: FLOW_ACCESS,
  sqPsn,
});

/** each addition of one happened once: they found 0, 1, 2 … in some order. */
function checkTally(tally: Tally & { host: SimHost }): void {
  const found = tally.found.toSorted((x, y) => (x < y ? -1 : 1));
  const total = tally.host.view.getBigUint64(tally.wordAt, true);
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

/** Nothing is held for ever, and nobody was told of an error. */
function checkHosts(...hosts: readonly SimHost[]): void {
  for (const { rnic, events } of hosts) {
    if (rnic.reorderPool.held !== 0) throw new Broken(`${rnic.reorderPool.held} early packets are still held`);
    const errors = events.filter((event) => event.code !== COMM_EST);
    if (errors.length !== 0) throw new Broken(`asynchronous event ${errors[0]!.code}`);
  }
}

const COMM_EST = 4;
