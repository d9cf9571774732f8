/** One control socket of a program: requests in, one reply for each, in order. Who the program is comes from the socket, never from what it says. */
import type { Socket } from 'node:net';
import { Errno } from '../../rnic/commands.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { type PeerCredentials, peerCredentials, sendDescriptors } from '../../workers/linux/unix-socket.ts';
import { CommandError } from './errors.ts';
import { Reply, type Request, RequestReader } from './protocol.ts';

/** What a connection has become by its hello. */
export interface Session {
  /** It is an rdma_cm channel. */
  readonly isCm?: boolean;
  handle?(request: Request, reply: Reply): Promise<void> | void;
  /** In place of `handle`: answers by itself (`push`), whenever it likes. */
  receive?(request: Request): void;
  close(): void;
}

/** Says hello for a connection. @throws CommandError that refuses it. */
export type Greeter = (connection: Connection, request: Request, reply: Reply) => Promise<Session>;

/** Requests that wait while one is handled: a shim sends one at a time. */
const WAITING_MAX = 64;
/** What is pushed and not read. */
const UNREAD_BYTES_MAX = 1 << 20;

export class Connection {
  readonly credentials: PeerCredentials;
  readonly #socket: Socket;
  readonly #greet: Greeter;
  readonly #reader = new RequestReader();
  readonly #waiting: Request[] = [];
  #session: Session | null = null;
  #isBusy = false;
  #isClosed = false;

  /** @throws SystemError when the peer has gone already. */
  constructor(socket: Socket, greet: Greeter) {
    this.#socket = socket;
    this.#greet = greet;
    this.credentials = peerCredentials(this.fileDescriptor);
    socket.on('data', (octets) => this.#receive(octets as Buffer));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#end());
  }

  get fileDescriptor(): number {
    const { _handle } = this.#socket as unknown as { _handle: { fd: number } | null };
    return _handle?.fd ?? -1;
  }

  get isCm(): boolean {
    return this.#session?.isCm ?? false;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Octets that answer no request at once. A program that does not read them loses its connection. */
  push(octets: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#socket.writableLength > UNREAD_BYTES_MAX) this.destroy();
    else this.#socket.write(octets);
  }

  #receive(octets: Buffer): void {
    try {
      for (const request of this.#reader.take(octets)) this.#waiting.push(request);
    } catch {
      return this.destroy(); // not our shim
    }
    if (this.#waiting.length > WAITING_MAX) return this.destroy();
    void this.#work();
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    for (let request = this.#waiting.shift(); request && !this.#isClosed; request = this.#waiting.shift()) {
      if (this.#session?.receive) this.#session.receive(request);
      else this.#send(await this.#answer(request));
    }
    this.#isBusy = false;
    // It closed while its command ran: what that made goes as well.
    if (this.#isClosed) this.#closeSession();
  }

  async #answer(request: Request): Promise<Reply> {
    const reply = new Reply();
    try {
      if (this.#session) await this.#session.handle?.(request, reply);
      else this.#session = await this.#greet(this, request, reply);
    } catch (error) {
      reply.result = -(error instanceof CommandError ? error.errno : Errno.EIO);
    }
    return reply;
  }

  /** A program that does not read its replies loses its connection. */
  #send(reply: Reply): void {
    const octets = reply.encode();
    const { descriptors } = reply;
    const goesWithDescriptors = descriptors.length > 0 && reply.result === 0;
    if (this.#isClosed || this.#socket.writableLength > 0) this.destroy();
    else if (!goesWithDescriptors) this.#socket.write(octets);
    else if (sendDescriptors(this.fileDescriptor, octets, descriptors) < 0) this.destroy();
    for (const fd of descriptors) Libc.close(fd);
  }

  #end(): void {
    this.#isClosed = true;
    if (!this.#isBusy) this.#closeSession();
  }

  #closeSession(): void {
    this.#session?.close();
    this.#session = null;
  }
}
