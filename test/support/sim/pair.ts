/** Two hosts on a good wire with one connected QP each: for scripts that post a few work requests and look at what comes of them. */
import { Access, QpType } from '../../../rnic/constants.ts';
import { Framing } from '../../../rnic/path.ts';
import { type Connection, SimHost, type SimQp } from './host.ts';
import { Random } from './random.ts';
import { type Faults, NO_FAULTS, Wire } from './wire.ts';
import { type Completion, readCompletion } from './work.ts';
import { World } from './world.ts';

export const ADDRESS_A = 0x0a00_0001;
export const ADDRESS_B = 0x0a00_0002;

export const CONNECTION: Connection = {
  pathMtu: 3,
  timeout: 10,
  retryCnt: 7,
  rnrRetry: 7,
  minRnrTimer: 1,
  maxRdAtomic: 4,
  maxDestRdAtomic: 4,
  accessFlags: Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC,
  sqPsn: 0xff_fffe,
};

export interface PairOptions {
  readonly type?: QpType;
  readonly faults?: Partial<Faults>;
  readonly strictTimers?: boolean;
  readonly reorderWindow?: number;
  readonly isByMemory?: boolean;
  readonly isIpv6?: boolean;
  readonly a?: Partial<Connection>;
  readonly b?: Partial<Connection>;
}

export interface Pair {
  readonly world: World;
  readonly a: SimHost;
  readonly b: SimHost;
  readonly qpA: SimQp;
  readonly qpB: SimQp;
}

export function connectedPair(options: PairOptions = {}): Pair {
  const { type = QpType.RC, strictTimers = false, reorderWindow = 128, isByMemory = false, isIpv6 = false } = options;
  const random = new Random(1);
  const host = {
    isIpv6,
    framing: Framing.SINGLE,
    isByMemory,
    memoryBytes: 65_536,
    mtu: 4500,
    strictTimers,
    reorderWindow,
    burstFrames: 256,
  };
  const a = new SimHost({ ...host, address: ADDRESS_A }, random);
  const b = new SimHost({ ...host, address: ADDRESS_B }, random);
  const world = new World(a, b, new Wire(random, { ...NO_FAULTS, ...options.faults }), true);
  const [qpA, qpB] = [a.createQp(type, 31, false), b.createQp(type, 31, false)];
  const [toA, toB] = [
    { ...CONNECTION, ...options.a },
    { ...CONNECTION, ...options.b },
  ];
  b.connect(qpB, type, ADDRESS_A, qpA.qpNum, toA.sqPsn, toB);
  a.connect(qpA, type, ADDRESS_B, qpB.qpNum, toB.sqPsn, toA);
  return { world, a, b, qpA, qpB };
}

/** Lets everything happen that will. */
export const finish = ({ world }: Pair, micros = 1e6): void => {
  world.run(world.now + micros, () => false, micros);
};

export function completionsOf(ring: SimQp['sendCq']): Completion[] {
  const completions: Completion[] = [];
  for (let next = readCompletion(ring); next; next = readCompletion(ring)) completions.push(next);
  return completions;
}
