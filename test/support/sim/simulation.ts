/** One simulated run of two engines, all of it drawn from a seed: what they are, what the wire does to them, what work they have. */
import type { CounterName } from '../../../rnic/counters.ts';
import type { Micros } from '../../../wire/types.ts';
import type { TracedFrame } from '../../referee/pcap-frames.ts';
import { judge } from '../../referee/referee.ts';
import { Broken } from './broken.ts';
import { CmScenario } from './cm-scenario.ts';
import { SimHost } from './host.ts';
import { type Mode, type Options, optionsOf, type Transport } from './options.ts';
import { Random } from './random.ts';
import { RcScenario, rcMemoryBytes } from './rc-scenario.ts';
import { A, B, type Scenario } from './scenario.ts';
import { UcScenario } from './uc-scenario.ts';
import { UdScenario, udMemoryBytes } from './ud-scenario.ts';
import { Wire } from './wire.ts';
import { World } from './world.ts';

/** An application looks at its queues at least this often. */
const ACT_MICROS = 200;
const CM_ACT_MICROS = 20_000;
/** No frame stays longer on the slowest wire behind the longest queue. */
const QUIET_MICROS = 60_000;
/** Virtual time that no run needs. */
const LIMIT_MICROS = 600e6;
/** Sixteen messages 4.8 s apart, each of which an MRA may put off by 68.7 s more, for the request, for its answer and for the end. */
const CM_LIMIT_MICROS = 4000e6;
const CALM = { loss: 0, duplicate: 0, reorder: 0, corrupt: 0 };
/** BTH's place behind an Ethernet, an IP and a UDP header. */
const HEADERS_V4 = 14 + 20 + 8;
const HEADERS_V6 = 14 + 40 + 8;

/** Liveness: time after the last fault that a run needs besides its retries. Every octet of it fits into that on the slowest wire. */
const SETTLE_MICROS = 5e6;

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

/** Runs a seed. Throws what was broken. */
export function simulate(seed: number, mode: Mode = 'safety', transport: Transport = 'rc'): Outcome {
  const run = prepare(optionsOf(seed, mode, transport));
  runToEnd(run);
  check(run);
  return outcomeOf(run);
}

/** Runs a seed for its trace: every frame as it was sent, and what was broken, if anything was. */
export function replay(
  seed: number,
  mode: Mode,
  transport: Transport,
): { options: Options; trace: TracedFrame[]; broken: string | null } {
  const options = optionsOf(seed, mode, transport);
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

/** Two hosts, and the work that they will do. */
interface Run {
  readonly options: Options;
  readonly world: World;
  readonly scenario: Scenario;
  readonly cutAt: Micros;
}

function prepare(options: Options): Run {
  const random = new Random(options.seed ^ 0x5eed);
  const { transport, pairs } = options;
  const hostOptions = {
    isIpv6: options.isIpv6,
    framing: options.framing,
    isByMemory: options.isByMemory,
    memoryBytes: transport === 'ud' ? udMemoryBytes(pairs) : rcMemoryBytes(pairs),
    mtu: 4500,
    // UC: what ends a QP is tested elsewhere; here each wrong packet is one drop.
    ...(transport === 'uc' && { violations: 2 ** 20 }),
    managesConnections: transport === 'cm',
    strictTimers: options.strictTimers,
    reorderWindow: options.reorderWindow,
    burstFrames: options.burstFrames,
  };
  const a = new SimHost({ ...hostOptions, address: A }, random);
  const b = new SimHost({ ...hostOptions, address: B }, random);
  const world = new World(a, b, new Wire(random, options.faults), true);
  const scenario = new SCENARIOS[transport](world, options, random);
  return { options, world, scenario, cutAt: random.below(transport === 'cm' ? 60_000_000 : 5000) };
}

const SCENARIOS = { rc: RcScenario, uc: UcScenario, ud: UdScenario, cm: CmScenario };

function runToEnd({ options, world, scenario, cutAt }: Run): void {
  const { calmMicros, transport } = options;
  const act = (): boolean => {
    const isCalm = world.now >= calmMicros;
    if (isCalm) world.wire.faults = { ...options.faults, ...CALM };
    world.wire.isCut = !isCalm && world.now > cutAt && world.now < cutAt + options.cutMicros;
    scenario.act();
    return scenario.isDone;
  };
  const bound = calmMicros === Number.POSITIVE_INFINITY ? LIMIT_MICROS : calmMicros + boundAfterCalm(options);
  const until = transport === 'cm' ? CM_LIMIT_MICROS : bound;
  if (!world.run(until, act, transport === 'cm' ? CM_ACT_MICROS : ACT_MICROS))
    throw new Broken(`not done after ${until / 1e6} s: ${scenario.state}`);
  // What is still under way must change nothing.
  world.run(world.now + QUIET_MICROS, () => false, QUIET_MICROS);
}

/** Both directions of a connection may give up one after the other, each no later than 4T (retry_cnt + 1) after its last progress. */
const boundAfterCalm = ({ timeout, retryCnt }: Options): Micros =>
  SETTLE_MICROS + 2 * 4 * 4.096 * 2 ** timeout * (retryCnt + 1);

function check({ options, world, scenario }: Run): void {
  scenario.finish();
  checkTrace(world, scenario);
  checkCounters(world, options.transport);
  checkHosts(options.mode, world.a, world.b);
}

function outcomeOf({ options, world, scenario }: Run): Outcome {
  const count = (name: 'retransmitted_pkts' | 'reorder_held'): number =>
    world.a.rnic.counters.get(name) + world.b.rnic.counters.get(name);
  const { lost, duplicated, reordered, corrupted } = world.wire;
  return {
    options,
    micros: world.now,
    packets: world.trace!.length,
    lost,
    duplicated,
    reordered,
    corrupted,
    completions: scenario.completions,
    errors: scenario.errors,
    retransmitted: count('retransmitted_pkts'),
    held: count('reorder_held'),
  };
}

/** The referee, which shares no code with the engine, reads every packet that was sent. */
function checkTrace(world: World, { connections, senders }: Scenario): void {
  const { violations, packets } = judge(world.trace!, connections, senders);
  if (packets !== world.trace!.length)
    throw new Broken(`the referee could not read ${world.trace!.length - packets} packets`);
  if (violations.length !== 0) throw new Broken(`${violations.length} violations; the first: ${violations[0]}`);
}

/** What the engines counted is what was on the wire. */
function checkCounters({ trace, wire, a, b }: World, transport: Transport): void {
  const total = (name: CounterName): number => a.rnic.counters.get(name) + b.rnic.counters.get(name);
  const bytes = wire.sentBytes - wire.sent * (a.options.isIpv6 ? HEADERS_V6 : HEADERS_V4);
  if (total('sent_pkts') !== trace!.length)
    throw new Broken(`sent_pkts is ${total('sent_pkts')}, on the wire ${trace!.length}`);
  if (total('sent_bytes') !== bytes) throw new Broken(`sent_bytes is ${total('sent_bytes')}, on the wire ${bytes}`);
  // A datagram to a group is received by each member.
  if (transport !== 'ud' && total('rcvd_pkts') > a.arrived + b.arrived)
    throw new Broken(`rcvd_pkts is ${total('rcvd_pkts')} of ${a.arrived + b.arrived}`);
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
