/**
 * One uverbs context: what a program (and the children that it forked) has of a vRNIC. It lives as long as one of its connections does. Its objects are the
 * engine's, under the engine's handles; here stands only what the shim needs to know about them.
 */
import { randomBytes } from 'node:crypto';
import { AsyncEvent } from '../../rnic/constants.ts';
import type { Underlay } from '../../rnic/path.ts';
import { duplicateDescriptor } from '../../workers/bell.ts';
import type { ProgramLink } from '../../workers/client.ts';
import type { LinkEvent } from '../../workers/device-link.ts';
import { Arena } from '../../workers/linux/arena.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { openPipe } from '../../workers/linux/unix-socket.ts';
import { ASYNC_CHANNEL } from '../../workers/messages.ts';
import { CHANNEL_ASYNC, EventPipe, type Reply, TOKEN_BYTES } from './protocol.ts';

/** Completion events of 8 octets: 131,072 unread ones of a channel. */
const PIPE_BYTES = 1 << 20;

const ASYNC_BYTES = 16;
const event = new Arena(ASYNC_BYTES);

export interface CqRecord {
  readonly userHandle: bigint;
  /** Handle of its completion channel; null without one. */
  readonly channel: number | null;
}

export interface QpRecord {
  readonly userHandle: bigint;
  readonly slot: number;
  readonly qpNum: number;
}

export class UverbsContext {
  readonly link: ProgramLink;
  /** Whoever knows it (a forked child) may attach to this context. */
  readonly token = randomBytes(TOKEN_BYTES);
  readonly cqs = new Map<number, CqRecord>();
  readonly qps = new Map<number, QpRecord>();
  /** By handle: user_handle. */
  readonly srqs = new Map<number, bigint>();
  /** Channels whose descriptor is closed while CQs still use them. */
  readonly #closing = new Set<number>();
  #asyncPipe = -1;
  #isClosed = false;
  /** Connections by process. */
  readonly #processes = new Map<number, number>();

  /** Of its connections in a tenant's network; undefined: the tenant's own choice. */
  readonly underlay: Underlay | undefined;

  /** @param onEvent hears of the link's end, and of what the connection manager says. */
  constructor(link: ProgramLink, underlay: Underlay | undefined, onEvent: (event: LinkEvent) => void) {
    this.link = link;
    this.underlay = underlay;
    link.onEvent = onEvent;
  }

  get isUsed(): boolean {
    return this.#processes.size > 0;
  }

  get pids(): number[] {
    return [...this.#processes.keys()];
  }

  /** One more connection. Takes the pidfd over. */
  addProcess(pid: number, pidfd: number): void {
    this.#processes.set(pid, (this.#processes.get(pid) ?? 0) + 1);
    this.link.tell({ kind: 'process', pid, pidfd });
  }

  removeProcess(pid: number): void {
    const left = (this.#processes.get(pid) ?? 1) - 1;
    if (left > 0) this.#processes.set(pid, left);
    else {
      this.#processes.delete(pid);
      this.link.tell({ kind: 'process', pid });
    }
  }

  /** The pipe of asynchronous events; its read end goes to the program at `address`. */
  openAsyncPipe(reply: Reply, address: bigint): void {
    this.#openPipe(reply, address, EventPipe.ASYNC, ASYNC_CHANNEL, CHANNEL_ASYNC);
  }

  openChannelPipe(reply: Reply, address: bigint, channel: number): void {
    this.#openPipe(reply, address, EventPipe.COMPLETION, channel, channel);
  }

  /** For a TypeScript program: the read end goes along, the write end is the caller's. @throws SystemError */
  openLinkPipe(reply: Reply): number {
    const [read, write] = openPipe(PIPE_BYTES);
    reply.attach(read);
    return write;
  }

  requeue(channel: number, events: Uint8Array): void {
    this.link.tell({ kind: 'requeue', channel: channel === CHANNEL_ASYNC ? ASYNC_CHANNEL : channel, events });
  }

  /** The program closed the channel's last descriptor; CQs that use it keep it until they go. */
  async closeChannel(channel: number): Promise<void> {
    const { ok } = await this.link.call({ op: 'destroyCompChannel', channel });
    if (ok) this.#closing.delete(channel);
    else this.#closing.add(channel);
  }

  async forgetCq(handle: number): Promise<void> {
    const channel = this.cqs.get(handle)?.channel ?? null;
    this.cqs.delete(handle);
    if (channel !== null && this.#closing.has(channel)) await this.closeChannel(channel);
  }

  /** The worker has died: who waits for asynchronous events hears DEVICE_FATAL. Of the rest the end of the connection tells (native/urnic-shim.c, `fail`), and closed pipes. */
  fail(): void {
    if (this.#asyncPipe < 0) return;
    event.view.setUint32(8, AsyncEvent.DEVICE_FATAL, true);
    Libc.write(this.#asyncPipe, event.address, ASYNC_BYTES);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#asyncPipe >= 0) Libc.close(this.#asyncPipe);
    await this.link.close();
  }

  #openPipe(reply: Reply, address: bigint, kind: number, channel: number, shown: number): void {
    const [read, write] = openPipe(PIPE_BYTES);
    if (kind === EventPipe.ASYNC && this.#asyncPipe < 0) this.#asyncPipe = duplicateDescriptor(write);
    this.link.tell({ kind: 'pipe', channel, fd: write });
    reply.newDescriptor(address, kind, shown, read);
  }
}
