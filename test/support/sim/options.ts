/** What a seed means: the engines, the wire, and how much work there is. */
import { Framing } from '../../../rnic/path.ts';
import type { Micros } from '../../../wire/types.ts';
import { Random } from './random.ts';
import type { Faults } from './wire.ts';

/**
 * Safety: faults never stop, nothing may be wrong and all work ends well. Liveness: faults are heavy, connections may break on them, and then they stop: from
 * then on everything ends, well or with an error, within a bound.
 */
export const MODES = ['safety', 'liveness'] as const;
export type Mode = (typeof MODES)[number];

/** `cm`: connections of rdma_cm, no work. */
export const TRANSPORTS = ['rc', 'uc', 'ud', 'cm'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** Of every eight seeds five are RC's, two UC's and one UD's. */
export const transportOf = (seed: number): Transport => (seed % 8 < 5 ? 'rc' : seed % 8 < 7 ? 'uc' : 'ud');

/** What a seed means. */
export interface Options {
  readonly seed: number;
  readonly mode: Mode;
  readonly transport: Transport;
  readonly faults: Faults;
  readonly isIpv6: boolean;
  readonly framing: Framing;
  /** Packets have no ICRC, none is spoilt, and one may stand for several (rnic/span.ts). */
  readonly isByMemory: boolean;
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
  readonly rnrRetry: number;
  /** Work requests that are wrong break connections, which then begin anew. */
  readonly hasHazards: boolean;
  /** Each host has one receive queue for all its QPs. */
  readonly hasSrq: boolean;
  readonly hasChannel: boolean;
  /** The wire is cut for so long, once; 0 when it is not. */
  readonly cutMicros: number;
  /** When faults stop; Infinity for never. */
  readonly calmMicros: Micros;
}

export function optionsOf(seed: number, mode: Mode = 'safety', transport: Transport = 'rc'): Options {
  const random = new Random(seed);
  const options = { ...safetyOptions(seed, random), transport, mostBytes: random.pick([3000, 30_000, 300_000]) };
  return options.isByMemory
    ? unspoilt(modeOptions(options, mode, transport, random))
    : modeOptions(options, mode, transport, random);
}

const unspoilt = (options: Options): Options => ({ ...options, faults: { ...options.faults, corrupt: 0 } });

function modeOptions(options: Options, mode: Mode, transport: Transport, random: Random): Options {
  if (transport === 'cm') return cmOptions(options, mode, random);
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
    rnrRetry: random.pick([0, 3, 7, 7]),
    hasHazards: false,
    cutMicros: random.chance(0.5) ? random.below(1_000_000) : 0,
    calmMicros: 1000 + random.below(1_000_000),
  };
}

/** Connection management counts in seconds. */
function cmOptions(options: Options, mode: Mode, random: Random): Options {
  const isLive = mode === 'liveness';
  const faults = {
    ...options.faults,
    loss: random.pick(isLive ? [0.3, 0.6, 0.9] : [0, 0, 0.05, 0.3, 0.6]),
    corrupt: random.pick([0, 0, 0.05]),
    duplicate: random.pick([0, 0.01, 0.5]),
    reorder: random.pick([0, 0.1, 0.5]),
    lateMicros: random.pick([1000, 1e6, 20e6]),
  };
  const cutMicros = random.chance(0.3) ? random.below(150_000_000) : 0;
  const calmMicros = isLive ? random.below(60_000_000) : Number.POSITIVE_INFINITY;
  return { ...options, mode, faults, cutMicros, calmMicros };
}

function safetyOptions(seed: number, random: Random): Omit<Options, 'mostBytes' | 'transport'> {
  const strictTimers = random.chance(0.2);
  const losses = strictTimers ? [0, 0.001, 0.01] : [0, 0, 0.001, 0.01, 0.05, 0.1, 0.2];
  return {
    seed,
    mode: 'safety',
    timeout: 14,
    retryCnt: 7,
    rnrRetry: 7,
    calmMicros: Number.POSITIVE_INFINITY,
    strictTimers,
    isByMemory: seed % 5 === 4,
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
    hasHazards: random.chance(0.4),
    hasSrq: random.chance(0.4),
    hasChannel: random.chance(0.5),
  };
}
