/** What an application holds of a vRNIC: commands go in, answers and events come out, doorbells are shared memory. The verbs stand on nothing else. */
import type { CmEvent } from '../rnic/cm/commands.ts';
import type { AnyCommand, Handle, Result } from '../rnic/commands.ts';
import type { AsyncEvent } from '../rnic/constants.ts';
import type { DoorbellPage } from '../rnic/queue/doorbell.ts';

/** Memory that an application of this process registers: octets `byteOffset` … of a buffer that the worker can see too. */
export interface SharedMemoryName {
  readonly sab: SharedArrayBuffer;
  readonly byteOffset: number;
}

/** Memory of a program in another process: octets from `address` on. */
export interface ProcessMemoryName {
  readonly pid: number;
  readonly address: number;
}

export type MemoryName = SharedMemoryName | ProcessMemoryName;

type WithName<C> = C extends { memory: unknown }
  ? Omit<C, 'memory'> & { memory: MemoryName }
  : C extends { memory?: unknown }
    ? Omit<C, 'memory'> & { memory?: MemoryName }
    : C;
type WithoutPath<C> = C extends { path?: unknown } ? Omit<C, 'path'> : C;

/** A command as an application gives it: memory by name (`start` counts from `byteOffset`), never a path (the worker resolves it). */
export type LinkCommand<Op extends AnyCommand['op'] = AnyCommand['op']> = Op extends AnyCommand['op']
  ? WithoutPath<WithName<Extract<AnyCommand, { op: Op }>>>
  : never;

export type LinkEvent =
  /** CQ `cq` completed something while armed. One for each arming. */
  | { readonly kind: 'completion'; readonly channel: Handle; readonly cq: Handle; readonly cookie: bigint }
  | { readonly kind: 'async'; readonly code: AsyncEvent; readonly handle: Handle; readonly cookie: bigint }
  /** Of the connection manager. */
  | { readonly kind: 'cm'; readonly event: CmEvent }
  /** The worker is gone: nothing of this link works any more, every later call is refused with EIO. The last event. */
  | { readonly kind: 'fatal'; readonly reason: string };

/** Moves a vRNIC that has no worker of its own. */
export interface Driver {
  /** One breath: sends, receives, acknowledges. True when there was something to do. */
  progress(): boolean;
  /** Polls as long as the device was told to, then blocks the thread until frames come, a deadline of the vRNIC passes, or so long. True when there was something to do. */
  sleep(micros: number): boolean;
}

/** The control half of a link. */
export interface ControlLink {
  readonly deviceName: string;
  /** One control verb. Never rejects: a refusal is a value (EIO once the link is closed or the worker gone). A command may overtake one that still waits for a neighbour. */
  call<C extends LinkCommand>(command: C): Promise<Result<C['op']>>;
  onEvent: ((event: LinkEvent) => void) | null;
  /** Destroys everything that the link's context owned. Idempotent. */
  close(): Promise<void>;
}

export interface DeviceLink extends ControlLink {
  /** Only of a vRNIC that the program's own thread has to move. */
  readonly driver?: Driver;
  readonly doorbell: DoorbellPage;
  /** To be called when `doorbell.ring()` said that the worker sleeps. One write to an eventfd. */
  wake(): void;
}

/** The half of a link that crosses threads: give it to one thread by postMessage with `port` in the transfer list, then `connect` there. */
export interface LinkEndpoint {
  readonly deviceName: string;
  readonly port: import('node:worker_threads').MessagePort;
  /** The worker's bell (workers/bell.ts). */
  readonly bell: SharedArrayBuffer;
  /** A duplicate of the worker's eventfd; belongs to whoever connects, who closes it with the link. */
  readonly wakeFd: number;
  /** The worker's descriptors (workers/linux/descriptors.ts), for those that are sent to it. */
  readonly ledger?: SharedArrayBuffer;
}
