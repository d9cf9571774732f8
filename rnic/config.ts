/** What one vRNIC is told at birth: who it is on the network, and how much it may hold. */
import type { Micros } from '../wire/types.ts';
import { HANDLES_MAX } from './handles.ts';

export interface GidEntry {
  /** 16 octets: an IPv6 address, or an IPv4-mapped one (::ffff:a.b.c.d). */
  readonly gid: Uint8Array;
}

/** Every table has an end; reaching it is ENOMEM for that vRNIC alone. Whole numbers; objects of one kind at most 2^20, queues at most 2^16 deep. */
export interface RnicLimits {
  contexts: number;
  pds: number;
  qps: number;
  cqs: number;
  srqs: number;
  mrs: number;
  mws: number;
  ahs: number;
  channels: number;
  /** Work requests of one queue, completions of one CQ. */
  queueDepth: number;
  cqDepth: number;
  /** Octets registered at once. */
  registeredBytes: number;
  rdAtomic: number;
  multicastGroups: number;
  multicastMembers: number;
  /** Asynchronous events waiting to be read, per context. */
  asyncEvents: number;
  /** Out-of-order packets held, per vRNIC. */
  reorderPackets: number;
  /** Wrong keys or ranges that one QP may present before it goes to ERR even on UC (SPEC-CHECKLIST T-06). */
  violations: number;
  /** Wrong keys of one peer over all its UC connections, one forgiven each second: after so many each further one ends its QP. */
  peerViolations: number;
}

/** What is counted against limits that several vRNICs share, too; named as in RnicLimits. */
export type SharedKind = 'qps' | 'cqs' | 'mrs' | 'registeredBytes';

/** How much several vRNICs may hold together, in whichever threads they are: a tenant's quotas. */
export interface SharedLimits {
  /** Whose they are, in words. */
  readonly holder: string;
  /** Infinity: there is no such limit. */
  most(kind: SharedKind): number;
  /** False: all would hold more than they may, and nothing is taken. */
  take(kind: SharedKind, count: number): boolean;
  /** As much as was taken, at most. */
  giveBack(kind: SharedKind, count: number): void;
}

const OBJECTS: readonly (keyof RnicLimits)[] = [
  'contexts',
  'pds',
  'qps',
  'cqs',
  'srqs',
  'mrs',
  'mws',
  'ahs',
  'channels',
  'multicastGroups',
  'multicastMembers',
  'asyncEvents',
  'reorderPackets',
  'violations',
  'peerViolations',
];
const MOST: Partial<Record<keyof RnicLimits, number>> = {
  queueDepth: 65_535,
  cqDepth: 2 ** 22,
  rdAtomic: 255,
  registeredBytes: Number.MAX_SAFE_INTEGER,
  ...Object.fromEntries(OBJECTS.map((name) => [name, HANDLES_MAX])),
};

/** @throws RangeError naming the limit that cannot be kept. */
export function checkLimits(limits: RnicLimits): void {
  for (const [name, most] of Object.entries(MOST)) {
    const value = limits[name as keyof RnicLimits];
    if (!Number.isInteger(value) || value < 0 || value > most) {
      throw new RangeError(`limit ${name} is ${value}: it must be a whole number, 0 … ${most}`);
    }
  }
}

export const DEFAULT_LIMITS: RnicLimits = {
  contexts: 1024,
  pds: 32_768,
  qps: 131_072,
  cqs: 131_072,
  srqs: 32_768,
  mrs: 262_144,
  mws: 262_144,
  ahs: 32_767,
  channels: 32_768,
  queueDepth: 16_384,
  cqDepth: 32_767,
  registeredBytes: 2 ** 46,
  rdAtomic: 128,
  multicastGroups: 8192,
  multicastMembers: 56,
  asyncEvents: 256,
  reorderPackets: 4096,
  violations: 16,
  peerViolations: 64,
};

export interface RnicConfig {
  readonly name: string;
  /** 6 octets. */
  readonly mac: Uint8Array;
  /** Index = sgid_index. Entry 0 is the link-local IPv6 GID, as rxe has it. */
  gids: GidEntry[];
  /** IP MTU of the port; the path MTU is the largest enum ibv_mtu that fits with the headers. */
  mtu: number;
  /** QPNs are drawn at random from [qpnBase, qpnBase + qpnCount). The daemon keeps these ranges apart so that a QPN names its vRNIC. */
  readonly qpnBase: number;
  readonly qpnCount: number;
  readonly limits: RnicLimits;
  /** Beside its own limits. */
  readonly shared?: SharedLimits;
  /** SPEC-CHECKLIST §6: `false` uses the RTT-based timer inside the spec's bound, `true` waits T … 4T as the spec says. */
  readonly strictTimers: boolean;
  /** Out-of-order packets a QP may hold (0 = plain go-back-N). */
  readonly reorderWindow: number;
  /** A datagram waits for a receive WQE before it is dropped (waiting-datagrams.ts). Absent: it does not, as the specification has it. */
  readonly datagramsWait?: boolean;
}

/** What the engine asks of its surroundings. Everything else comes in as input. */
export interface RnicHost {
  /** 32 unpredictable bits: keys, QPNs and PSNs come from here. The simulator gives a seeded one. */
  random32(): number;
  /** Zeroed memory for a queue, shared with the application of `context`; undefined when there is none left. */
  allocateQueue(context: number, bytes: number): import('./queue/ring.ts').QueueMemory | undefined;
  freeQueue(context: number, memory: import('./queue/ring.ts').QueueMemory): void;
  /** Places what memories have put off (memory/put-off.ts). Absent: none of them do that. */
  placeRest?(): void;
  /** How many packets may leave that become several on their way (`Path.copies`). Absent: as many as there are. */
  readonly flood?: { hasRoom(now: Micros): boolean; take(now: Micros): boolean };
  /** The way to an address, for the connection manager's own datagrams; null: ask again soon. Absent: this vRNIC manages no connections. */
  resolve?(
    av: import('./path.ts').AddressVector,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): { path: import('./path.ts').Path } | import('./commands.ts').Refusal | null;
}
