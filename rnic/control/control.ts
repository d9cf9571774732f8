/** What the handlers of commands share: the tables of one vRNIC and its counts. */
import type { Micros } from '../../wire/types.ts';
import type { Command, CommandOf, Result } from '../commands.ts';
import type { CompletionQueue } from '../completion-queue.ts';
import type { RnicConfig, RnicHost, RnicLimits } from '../config.ts';
import type { Context } from '../context.ts';
import type { EngineCore } from '../core.ts';
import type { Counters } from '../counters.ts';
import type { Events } from '../events.ts';
import type { RegionTable } from '../memory/regions.ts';
import type { MulticastGroups } from '../multicast.ts';
import type { QueuePair } from '../qp.ts';
import type { QpTable } from '../qp-table.ts';
import type { QueueMemory } from '../queue/ring.ts';

/** How many of each there are on this vRNIC, over all contexts: what the limits are held against, by their names. */
export type Totals = Pick<
  RnicLimits,
  'pds' | 'mrs' | 'mws' | 'channels' | 'cqs' | 'srqs' | 'qps' | 'ahs' | 'registeredBytes'
>;

export interface Control {
  readonly config: RnicConfig;
  readonly host: RnicHost;
  readonly core: EngineCore;
  readonly events: Events;
  readonly counters: Counters;
  readonly regions: RegionTable;
  readonly qps: QpTable;
  readonly groups: MulticastGroups;
  readonly totals: Totals;
  /** Of the port. */
  readonly isUp: boolean;
  /** Octets of the largest path MTU that the port carries. */
  mtuBytes(): number;
  /** Moves a QP to ERR by command or by failure: flushes, and keeps flushing what is posted. */
  enterError(qp: QueuePair): void;
  /** A CQ overran: its QPs are to go to ERR. */
  cqOverran(cq: CompletionQueue): void;
  /** Forgets a QP everywhere. */
  dropQp(qp: QueuePair, now: Micros): void;
}

export type Handler<Op extends Command['op']> = (
  control: Control,
  context: Context,
  command: CommandOf<Op>,
  now: Micros,
) => Result<Op>;

/** Queue memory, or undefined when the host has none. */
export const allocate = (control: Control, context: Context, bytes: number): QueueMemory | undefined =>
  control.host.allocateQueue(context.id, bytes);

export const freeCq = (control: Control, cq: CompletionQueue): void =>
  control.host.freeQueue(cq.context, cq.ring.memory);
