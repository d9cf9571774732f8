/** The application's half of a link: usable from any thread of the process that holds its LinkEndpoint. */
import type { MessagePort } from 'node:worker_threads';
import { Errno, type Refusal, type Result } from '../rnic/commands.ts';
import { DoorbellPage } from '../rnic/queue/doorbell.ts';
import { Bell, summonsOf } from './bell.ts';
import type { ControlLink, DeviceLink, LinkCommand, LinkEndpoint, LinkEvent } from './device-link.ts';
import { ownFor } from './linux/descriptors.ts';
import * as Libc from './linux/libc.ts';
import type { HostedProgram, LinkMessage, LinkReply, ProgramMessage } from './messages.ts';

type Opened = Extract<LinkReply, { kind: 'opened' }>;

/** Opens a context on the vRNIC that the endpoint leads to. @throws Error when it is full or its worker is gone. */
export async function connect(endpoint: LinkEndpoint): Promise<DeviceLink> {
  const { client, opened } = await open(endpoint);
  const summons = opened.summons < 0 ? null : summonsOf(endpoint.bell, opened.summons);
  return new InProcessLink(client, new DoorbellPage(new Int32Array(opened.doorbell!), opened.slots, summons));
}

/** The control half of a program of another process. */
export interface ProgramLink extends ControlLink {
  /** QPs that its doorbell page has bits for. */
  readonly slots: number;
  /** The engine's number of its context, as `urnic res` shows it. */
  readonly context: number;
  tell(message: ProgramMessage): void;
}

/** Opens a context for a program of another process. The descriptors are the worker's from now on. @throws Error as `connect`. */
export async function connectProgram(endpoint: LinkEndpoint, program: HostedProgram): Promise<ProgramLink> {
  for (const fd of [program.queueFd, program.wakeFd]) give(endpoint, fd);
  const { client, opened } = await open(endpoint, program);
  return Object.assign(client, { slots: opened.slots, context: opened.context });
}

/** A descriptor is the worker's from now on. */
function give({ ledger }: { readonly ledger?: SharedArrayBuffer }, fd: number): void {
  if (ledger) ownFor(ledger, fd);
}

function open(endpoint: LinkEndpoint, program?: HostedProgram): Promise<{ client: Client; opened: Opened }> {
  const { port } = endpoint;
  const bell = new Bell(endpoint.bell, endpoint.wakeFd);
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => {
      bell.close();
      port.close();
      reject(new Error(`${endpoint.deviceName}: ${reason}`));
    };
    const onClose = (): void => fail('the worker is gone');
    port.once('close', onClose);
    port.once('message', (reply: LinkReply) => {
      port.off('close', onClose);
      if (reply.kind === 'opened') resolve({ client: new Client(endpoint, bell), opened: reply });
      else fail(reply.kind === 'refused' ? reply.reason : `unexpected reply ${reply.kind}`);
    });
    port.postMessage({ kind: 'open', ...(program && { program }) } satisfies LinkMessage);
    bell.announceMail();
  });
}

class Client implements ControlLink {
  readonly deviceName: string;
  onEvent: ((event: LinkEvent) => void) | null = null;
  readonly #endpoint: LinkEndpoint;
  readonly #port: MessagePort;
  readonly #bell: Bell;
  readonly #calls = new Map<number, (result: Result) => void>();
  #nextId = 1;
  #isOpen = true;
  #closing: Promise<void> | null = null;
  #closed: () => void = () => {};

  constructor(endpoint: LinkEndpoint, bell: Bell) {
    const { deviceName, port } = endpoint;
    this.deviceName = deviceName;
    this.#endpoint = endpoint;
    this.#port = port;
    this.#bell = bell;
    port.on('message', (reply: LinkReply) => this.#handleReply(reply));
    port.once('close', () => this.#handleClose());
  }

  call<C extends LinkCommand>(command: C): Promise<Result<C['op']>> {
    if (!this.#isOpen || this.#closing) return Promise.resolve(gone(this.deviceName));
    return new Promise((resolve) => {
      const id = this.#nextId++;
      this.#calls.set(id, resolve as (result: Result) => void);
      this.#post({ kind: 'command', id, command });
    });
  }

  tell(message: ProgramMessage): void {
    const fd = message.kind === 'pipe' ? message.fd : message.kind === 'process' ? message.pidfd : undefined;
    const isLinked = this.#isOpen && !this.#closing;
    if (fd !== undefined && isLinked) give(this.#endpoint, fd);
    else if (fd !== undefined) Libc.close(fd);
    if (isLinked) this.#post(message);
  }

  wake(): void {
    if (this.#isOpen) this.#bell.wake();
  }

  close(): Promise<void> {
    if (!this.#isOpen) return Promise.resolve();
    this.#closing ??= new Promise((resolve) => {
      this.#closed = resolve;
      this.#post({ kind: 'close' });
    });
    return this.#closing;
  }

  #post(message: LinkMessage): void {
    this.#port.postMessage(message);
    this.#bell.announceMail();
  }

  #handleReply(reply: LinkReply): void {
    if (reply.kind === 'event') this.onEvent?.(reply.event);
    else if (reply.kind === 'closed') this.#port.close();
    else if (reply.kind === 'result') {
      const settle = this.#calls.get(reply.id);
      this.#calls.delete(reply.id);
      settle?.(reply.result);
    }
  }

  /** Our own close has been answered, or the worker ended. */
  #handleClose(): void {
    this.#isOpen = false;
    this.#bell.close();
    for (const settle of this.#calls.values()) settle(gone(this.deviceName));
    this.#calls.clear();
    if (this.#closing) this.#closed();
    else this.onEvent?.({ kind: 'fatal', reason: `${this.deviceName}: the vRNIC or its worker has ended` });
  }
}

/** A client with its doorbell page at hand. */
class InProcessLink implements DeviceLink {
  readonly doorbell: DoorbellPage;
  readonly #client: Client;

  constructor(client: Client, doorbell: DoorbellPage) {
    this.#client = client;
    this.doorbell = doorbell;
  }

  get deviceName(): string {
    return this.#client.deviceName;
  }

  get onEvent(): ((event: LinkEvent) => void) | null {
    return this.#client.onEvent;
  }

  set onEvent(handler: ((event: LinkEvent) => void) | null) {
    this.#client.onEvent = handler;
  }

  call<C extends LinkCommand>(command: C): Promise<Result<C['op']>> {
    return this.#client.call(command);
  }

  wake(): void {
    this.#client.wake();
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

const gone = (name: string): Refusal => ({ ok: false, errno: Errno.EIO, reason: `${name}: this link is closed` });
