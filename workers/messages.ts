/**
 * What threads say to a worker and it to them, by MessagePort. Whoever posts rings the bell after it (workers/bell.ts); the worker never waits for an answer.
 *
 *     supervisor ⇄ worker    ControlMessage → ControlAnswer with the same id; ControlNotice at any time
 *     application ⇄ worker   open → opened; LinkRequest → LinkAnswer with the same id, in any order; LinkNotice at any time; `close` ends it
 */
import type { Result } from '../rnic/commands.ts';
import type { Tenant } from '../vswitch/model.ts';
import type { LinkCommand, LinkEvent } from './device-link.ts';
import type { Member } from './overlay/elsewhere.ts';
import type { SwitchPortConfig } from './overlay/switch-port.ts';
import type { LinkEnd } from './overlay/worker-link.ts';
import type { CaptureTarget } from './ports/capture-file.ts';
import type { VrnicConfig } from './vrnic-config.ts';

export type ControlMessage =
  | { readonly id: number; readonly kind: 'start'; readonly config: VrnicConfig }
  | { readonly id: number; readonly kind: 'startPort'; readonly config: SwitchPortConfig }
  /** A vRNIC, or a port. */
  | { readonly id: number; readonly kind: 'stop'; readonly name: string }
  /** `port` speaks LinkMessage from now on. */
  | {
      readonly id: number;
      readonly kind: 'attach';
      readonly name: string;
      readonly port: import('node:worker_threads').MessagePort;
    }
  | { readonly id: number; readonly kind: 'statistics'; readonly name: string }
  /** Writes all frames of the wire port to a pcapng file from now on; no file: ends that. */
  | { readonly id: number; readonly kind: 'capture'; readonly name: string; readonly target?: CaptureTarget }
  /** The GID table changed; index = sgid_index. */
  | { readonly id: number; readonly kind: 'setGids'; readonly name: string; readonly gids: Uint8Array[] }
  /** The tenant of a vRNIC has changed; answers how many connections that ended. */
  | {
      readonly id: number;
      readonly kind: 'setTenant';
      readonly name: string;
      readonly tenant: Tenant;
      readonly mtu?: number;
    }
  /** Another worker shares a VTEP with this one: a link to it, and whom it has there. */
  | { readonly id: number; readonly kind: 'meet'; readonly link: LinkEnd; readonly members: readonly Member[] }
  /** A vRNIC or switch port of that worker has come, or gone. */
  | {
      readonly id: number;
      readonly kind: 'came' | 'went';
      readonly worker: number;
      readonly member: Member;
    }
  /** That worker has ended. */
  | { readonly id: number; readonly kind: 'part'; readonly worker: number }
  | { readonly id: number; readonly kind: 'shutdown' };

/** A message before it has its number. */
export type WithoutId<M> = M extends { id: number } ? Omit<M, 'id'> : never;

export type ControlAnswer =
  | { readonly id: number; readonly ok: true; readonly value?: unknown }
  | { readonly id: number; readonly ok: false; readonly reason: string };

/** The interface of this vRNIC has gone, and another one has its name: said until the vRNIC is stopped. */
export interface ControlNotice {
  readonly stale: string;
}

/** What a worker shares with a program of another process. Descriptors belong to the worker from here on. */
export interface HostedProgram {
  /** The sealed queue file (workers/hosted/queue-file.ts) and its size. */
  readonly queueFd: number;
  readonly queueBytes: number;
  /** The eventfd that the program writes when the worker sleeps. */
  readonly wakeFd: number;
}

export type LinkMessage =
  | { readonly kind: 'open'; readonly program?: HostedProgram }
  | ProgramMessage
  | { readonly kind: 'command'; readonly id: number; readonly command: LinkCommand }
  | { readonly kind: 'close' };

/** Where asynchronous events of a hosted program go: no channel has this handle. */
export const ASYNC_CHANNEL = -1;

/** About a hosted program. */
export type ProgramMessage =
  /** Events of a channel (or ASYNC_CHANNEL) are written to this pipe; without `fd` no longer. */
  | { readonly kind: 'pipe'; readonly channel: number; readonly fd?: number }
  /** A process that may register memory; without `pidfd` no longer. */
  | { readonly kind: 'process'; readonly pid: number; readonly pidfd?: number }
  /** Events that the program took out while it destroyed another object go back. */
  | { readonly kind: 'requeue'; readonly channel: number; readonly events: Uint8Array };

export type LinkReply =
  /** The context is open: its doorbell page, for `slots` QPs, and the vRNIC's bit of the bell's (-1: none); a hosted program's lies in its queue file. */
  | {
      readonly kind: 'opened';
      readonly context: number;
      readonly doorbell: SharedArrayBuffer | null;
      readonly slots: number;
      readonly summons: number;
    }
  | { readonly kind: 'result'; readonly id: number; readonly result: Result }
  | { readonly kind: 'event'; readonly event: LinkEvent }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'closed' };
