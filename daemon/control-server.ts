/** The daemon's end of its control socket: a line of JSON for a request, one for its answer. */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { toJson } from './json.ts';
import { makeDirectory } from './make-directory.ts';
import { checkSocketPath, isAnswered } from './socket-path.ts';

/** A request is one line; longer ones are refused. */
const REQUEST_BYTES_MAX = 65_536;
const CLIENTS_MAX = 64;
const CLIENT_MILLIS = 10_000;

/** An answer whose subject lasts as long as the connection over which it was asked for: until its client ends it, or dies. */
export class Held {
  readonly value: unknown;
  readonly release: () => Promise<void>;

  constructor(value: unknown, release: () => Promise<void>) {
    this.value = value;
    this.release = release;
  }
}

type Answer = { ok: true; value: unknown } | { ok: false; reason: string };

export class ControlServer {
  readonly #path: string;
  readonly #server: Server;
  /** Clients that hold something. */
  readonly #holders = new Set<Socket>();

  /** @param execute Its Error's message is the answer's reason. */
  constructor(path: string, execute: (request: unknown) => Promise<unknown>) {
    this.#path = path;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket, execute));
    this.#server.maxConnections = CLIENTS_MAX;
  }

  /** A socket file that nobody listens on is a dead daemon's: it is replaced. @throws Error: another daemon listens there; the path is too long, or cannot be made. */
  async listen(): Promise<void> {
    checkSocketPath(this.#path);
    makeDirectory(dirname(this.#path));
    if (await isAnswered(this.#path)) throw new Error(`another daemon listens at ${this.#path}`);
    rmSync(this.#path, { force: true });
    this.#server.listen(this.#path);
    await once(this.#server, 'listening');
    chmodSync(this.#path, 0o600);
  }

  close(): void {
    if (!this.#server.listening) return;
    this.#server.close();
    rmSync(this.#path, { force: true });
    for (const socket of this.#holders) socket.destroy();
  }

  #serve(socket: Socket, execute: (request: unknown) => Promise<unknown>): void {
    let received = '';
    socket.setTimeout(CLIENT_MILLIS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('end', () => {
      if (!received.includes('\n')) socket.end();
    });
    socket.on('data', (data) => {
      received += data;
      const end = received.indexOf('\n');
      if (end === -1 && received.length <= REQUEST_BYTES_MAX) return;
      socket.removeAllListeners('data');
      socket.setTimeout(0); // from here on it is the command that takes its time: three members of etcd may be asked in vain
      if (end === -1) reply(socket, { ok: false, reason: `a request has at most ${REQUEST_BYTES_MAX} octets` }).end();
      else void this.#answer(socket, received.slice(0, end), execute);
    });
  }

  async #answer(socket: Socket, line: string, execute: (request: unknown) => Promise<unknown>): Promise<void> {
    try {
      const value = await execute(JSON.parse(line));
      if (value instanceof Held) await this.#hold(socket, value);
      else reply(socket, { ok: true, value }).end();
    } catch (error) {
      reply(socket, { ok: false, reason: (error as Error).message }).end();
    }
  }

  /** Who waits for the end of the connection knows by it that all is released. */
  async #hold(socket: Socket, { value, release }: Held): Promise<void> {
    const left = new Promise<void>((resolve) => {
      socket.on('end', resolve).on('close', resolve);
      if (socket.readableEnded || socket.destroyed) resolve();
    });
    this.#holders.add(socket);
    reply(socket, { ok: true, value }).resume();
    await left;
    this.#holders.delete(socket);
    await release();
    socket.end();
  }
}

function reply(socket: Socket, answer: Answer): Socket {
  socket.write(`${toJson(answer)}\n`);
  return socket;
}
