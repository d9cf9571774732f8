/**
 * A vRNIC for unmodified programs: a directory with a socket, and the /sys and /dev that its programs see. Whoever can reach the directory can use the vRNIC,
 * and no other: mount it into a container to give that container the device.
 */
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { Errno, type PortAttributes } from '../../rnic/commands.ts';
import type { Underlay } from '../../rnic/path.ts';
import { UNDERLAYS } from '../../vswitch/model.ts';
import { newWakeDescriptor } from '../../workers/bell.ts';
import { connect, connectProgram } from '../../workers/client.ts';
import type { ControlLink, LinkEndpoint, LinkEvent } from '../../workers/device-link.ts';
import * as Linux from '../../workers/linux/constants.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { createSealedFile } from '../../workers/linux/memory-map.ts';
import { peerPidfd } from '../../workers/linux/unix-socket.ts';
import { ASYNC_CHANNEL } from '../../workers/messages.ts';
import { type CmChannel, CmService } from './cm-channel.ts';
import { execute } from './commands.ts';
import { Connection, type Session } from './connection.ts';
import { UverbsContext } from './context.ts';
import { CommandError, granted, invalid } from './errors.ts';
import { encode } from './link-codec.ts';
import { LinkSession } from './link-session.ts';
import {
  CHANNEL_ASYNC,
  encodeRequest,
  NoticeOp,
  type Reply,
  type Request,
  RequestOp,
  Role,
  TOKEN_BYTES,
  UNDERLAY_VARIABLE,
} from './protocol.ts';
import { type DeviceTree, writeTree } from './sysfs.ts';
import { executeCm } from './ucma.ts';

export interface UverbsServerOptions {
  /** Made if need be. */
  readonly directory: string;
  /** The interface that the vRNIC is shown to belong to. */
  readonly netdev: string;
  /** A new way to the vRNIC, after its worker began anew too. */
  endpoint(): Promise<LinkEndpoint>;
  /** The only user, besides root, who may use it; without one, everybody who can reach the directory. */
  readonly user?: number;
  /** Nobody asks for the vRNIC, and nothing but the socket is there, until a program says hello. */
  readonly isLazy?: boolean;
}

/** What `urnic res` shows of one attached program. */
export interface AttachedProgram {
  readonly context: number;
  /** More than one after a fork. */
  readonly processes: readonly { readonly pid: number; readonly name: string }[];
}

/** Sparse: only what queues use takes memory. */
const QUEUE_FILE_BYTES = 2 ** 30;
const CONNECTIONS_MAX = 4096;
const REFRESH_MILLIS = 1000;

/** What may change of a port, to be compared. */
const portText = (port: PortAttributes, gids: readonly Uint8Array[]): string => `${port.state} ${gids.join()}`;

export class UverbsServer {
  readonly #options: UverbsServerOptions;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #contexts = new Map<string, UverbsContext>();
  #cm: Promise<CmService> | null = null;
  #port = '';
  /** What programs see is there. */
  #tree: Promise<void> | null = null;
  #timer: NodeJS.Timeout | undefined;

  /** @throws Error of the directory or the socket. */
  static async start(options: UverbsServerOptions): Promise<UverbsServer> {
    const server = new UverbsServer(options);
    try {
      await server.#begin();
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  private constructor(options: UverbsServerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  get programs(): AttachedProgram[] {
    return [...this.#contexts.values()].map(({ link, pids }) => ({
      context: link.context,
      processes: pids.map((pid) => ({ pid, name: commandOf(pid) })),
    }));
  }

  /** Ends every program's use: their commands fail with EIO from then on. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#server.listening) this.#server.close();
    // Nothing writes the programs' queues any more when they hear of it: they put errors there themselves.
    await Promise.all([...this.#contexts.values()].map((context) => context.close()));
    for (const connection of this.#connections) connection.destroy();
    await (await this.#cm?.catch(() => null))?.close();
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  async #begin(): Promise<void> {
    const { directory, user } = this.#options;
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: user === undefined ? 0o755 : 0o700 });
    if (user !== undefined) chownSync(directory, user, -1);
    if (!this.#options.isLazy) await this.wake();
    const socket = join(directory, 'uverbs');
    this.#server.listen(socket);
    await once(this.#server, 'listening');
    chmodSync(socket, 0o666);
    this.#timer = setInterval(() => void this.#refresh().catch(() => {}), REFRESH_MILLIS);
    this.#timer.unref();
  }

  /** The vRNIC runs, and its files are there. @throws Error of the vRNIC. */
  wake(): Promise<void> {
    this.#tree ??= this.#describe().catch((error: Error) => {
      this.#tree = null;
      throw error;
    });
    return this.#tree;
  }

  /** The vRNIC has ended, and may be another one when it begins anew: who comes next has its files written first. */
  forget(): void {
    this.#tree = null;
  }

  /** The vRNIC has begun anew: what its files say may be otherwise. @throws as wake. */
  renew(): Promise<void> {
    this.forget();
    return this.wake();
  }

  async #describe(): Promise<void> {
    const { directory, netdev } = this.#options;
    const link = await connect(await this.#options.endpoint());
    const { device, port, gids } = await describe(link);
    await link.close();
    writeTree(directory, { device, port, gids, netdev });
    this.#port = portText(port, gids);
  }

  /** Addresses and the link come and go; nobody is asked while no program looks. */
  async #refresh(): Promise<void> {
    const [context] = this.#contexts.values();
    if (!context) return;
    const { directory, netdev } = this.#options;
    const { device, port, gids } = await describe(context.link);
    const text = portText(port, gids);
    if (text !== this.#port) writeTree(directory, { device, port, gids, netdev });
    this.#port = text;
  }

  #accept(socket: Socket): void {
    try {
      const connection = new Connection(socket, (from, request, reply) => this.#greet(from, request, reply));
      this.#connections.add(connection);
      socket.once('close', () => this.#connections.delete(connection));
    } catch {
      socket.destroy();
    }
  }

  async #greet(connection: Connection, { op, argument, payload }: Request, reply: Reply): Promise<Session> {
    if (op !== RequestOp.HELLO) throw invalid('a connection begins with a hello');
    await this.wake().catch((error: Error) => {
      throw new CommandError(Errno.ENODEV, error.message);
    });
    switch (Number(argument)) {
      case Role.CONTEXT:
        return this.#joinNew(connection, await this.#open(connection, reply));
      case Role.ATTACH: {
        const context = payload.length === TOKEN_BYTES ? this.#contexts.get(payload.toString('hex')) : undefined;
        if (!context) throw new CommandError(Errno.EACCES, 'no context has this token');
        return this.#join(connection, context);
      }
      case Role.LINK:
        return this.#openLink(connection, reply);
      case Role.WAKE:
        return { close: () => {} };
      case Role.CM: {
        const channel = (await this.#cmService()).newChannel();
        channel.openPipe(reply);
        return this.#joinChannel(channel);
      }
      case Role.CM_ATTACH: {
        const channel = (await this.#cm)?.withToken(payload);
        if (!channel) throw new CommandError(Errno.EACCES, 'no channel has this token');
        return this.#joinChannel(channel);
      }
      default:
        throw new CommandError(Errno.ENODEV, 'no such role');
    }
  }

  /** The link that serves all rdma_cm channels; a new one after the worker began anew. */
  #cmService(): Promise<CmService> {
    this.#cm ??= this.#openCm();
    return this.#cm;
  }

  async #openCm(): Promise<CmService> {
    try {
      const link = await connect(await this.#options.endpoint());
      const { nodeGuid } = granted(await link.call({ op: 'queryDevice' }));
      return new CmService(link, nodeGuid, () => this.#endCm());
    } catch (error) {
      this.#cm = null;
      throw error;
    }
  }

  #endCm(): void {
    this.#cm = null;
    for (const connection of this.#connections) if (connection.isCm) connection.destroy();
  }

  /** A new context, and in the reply what the program shares with the worker. */
  async #open(connection: Connection, reply: Reply, push?: (event: LinkEvent) => void): Promise<UverbsContext> {
    const queueFd = createSealedFile('urnic-queues', QUEUE_FILE_BYTES);
    const wakeFd = newWakeDescriptor();
    reply.attach(queueFd);
    reply.attach(wakeFd);
    const endpoint = await this.#options.endpoint(); // rejects while the worker begins anew
    const program = { queueFd: duplicate(queueFd), wakeFd: duplicate(wakeFd), queueBytes: QUEUE_FILE_BYTES };
    const link = await connectProgram(endpoint, program);
    const underlay = underlayOf(connection.credentials.pid);
    const context = new UverbsContext(link, underlay, (event) => {
      if (event.kind !== 'fatal') return push?.(event);
      context.fail();
      connection.destroy();
    });
    this.#contexts.set(context.token.toString('hex'), context);
    reply.context(QUEUE_FILE_BYTES, link.slots, context.token);
    return context;
  }

  /** A TypeScript program: two pipes go along, of completion events and of asynchronous ones. */
  async #openLink(connection: Connection, reply: Reply): Promise<Session> {
    const push = (event: LinkEvent): void => connection.push(encodeRequest(NoticeOp.EVENT, 0n, encode(event)));
    const context = await this.#open(connection, reply, push);
    const { close } = this.#joinNew(connection, context);
    try {
      const completions = context.openLinkPipe(reply);
      context.link.tell({ kind: 'pipe', channel: ASYNC_CHANNEL, fd: context.openLinkPipe(reply) });
      return new LinkSession(connection, context, completions, close);
    } catch (error) {
      close();
      throw error;
    }
  }

  #joinNew(connection: Connection, context: UverbsContext): Session {
    try {
      return this.#join(connection, context);
    } catch (error) {
      this.#forget(context); // the program has gone already
      throw error;
    }
  }

  #join(connection: Connection, context: UverbsContext): Session {
    const { pid } = connection.credentials;
    context.addProcess(pid, peerPidfd(connection.fileDescriptor, pid));
    return {
      handle: ({ op, argument, payload }, reply) => {
        if (op === RequestOp.WRITE) return execute(context, pid, payload, reply);
        if (op === RequestOp.REQUEUE) return context.requeue(Number(argument), Uint8Array.from(payload));
        if (op === RequestOp.CLOSE_CHANNEL && argument !== BigInt(CHANNEL_ASYNC))
          return context.closeChannel(Number(argument));
        throw invalid('no such request');
      },
      close: () => {
        context.removeProcess(pid);
        if (!context.isUsed) this.#forget(context);
      },
    };
  }

  #joinChannel(channel: CmChannel): Session {
    channel.connections++;
    return {
      isCm: true,
      handle: ({ op, payload }, reply) => {
        if (op !== RequestOp.WRITE) throw invalid('no such request');
        return executeCm(channel, payload, reply);
      },
      close: () => {
        channel.connections--;
        if (channel.connections === 0) this.#closeChannel(channel);
      },
    };
  }

  /** Without channels nothing of the connection manager is held. */
  #closeChannel(channel: CmChannel): void {
    const { service } = channel;
    channel.close();
    if (!service.isIdle) return;
    this.#cm = null;
    void service.close();
  }

  #forget(context: UverbsContext): void {
    this.#contexts.delete(context.token.toString('hex'));
    void context.close();
  }
}

/** Its name, proc_pid_comm(5); empty when it has gone. */
function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** What a process was started with says which way its connections go: nothing in its verbs could. Nothing that can be read says nothing. */
function underlayOf(pid: number): Underlay | undefined {
  try {
    const given = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    const [, value] = given.find((text) => text.startsWith(`${UNDERLAY_VARIABLE}=`))?.split('=') ?? [];
    return UNDERLAYS.find((underlay) => underlay === value);
  } catch {
    return undefined;
  }
}

const duplicate = (fd: number): number => Libc.check(Libc.fcntl(fd, Linux.F_DUPFD_CLOEXEC, 0), 'dup');

async function describe(link: ControlLink): Promise<Omit<DeviceTree, 'netdev'>> {
  const device = granted(await link.call({ op: 'queryDevice' }));
  const port = granted(await link.call({ op: 'queryPort', portNum: 1 }));
  const gids: Uint8Array[] = [];
  for (let index = 0; index < port.gidTableLength; index++) {
    gids.push(granted(await link.call({ op: 'queryGid', portNum: 1, index })).gid);
  }
  return { device, port, gids };
}
