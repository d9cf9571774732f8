/** Asks a running daemon: one JSON line each way over its unix socket. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface, type Interface } from 'node:readline';
import type { TenantOp } from './tenant-edits.ts';

export const DEFAULT_SOCKET = process.env.URNIC_SOCKET ?? '/run/urnic/control.sock';

export interface ControlRequest {
  readonly op:
    | (
        | 'list'
        | 'switchPorts'
        | 'device'
        | 'port'
        | 'statistics'
        | 'resources'
        | 'capture'
        | 'captureTenant'
        | 'tenants'
        | 'connections'
        | 'store'
      )
    | ('vrnics' | 'wake' | 'addVrnic' | 'deleteVrnic')
    | TenantOp;
  readonly tenant?: string;
  readonly vni?: number;
  readonly settings?: Record<string, unknown>;
  readonly rule?: object;
  readonly endpoint?: object;
  readonly limit?: object;
  readonly key?: string;
  readonly vrnic?: string;
  readonly definition?: object;
  readonly take?: boolean;
  readonly file?: string;
}

/** @throws Error that says that no daemon listens there, or why it refused. */
export async function ask(socketPath: string, request: ControlRequest): Promise<unknown> {
  const socket = await reach(socketPath);
  socket.end(`${JSON.stringify(request)}\n`);
  return answerIn(createInterface({ input: socket }));
}

/** What was asked for lasts until `release`, which waits until the daemon has ended it, or until this process ends. */
export interface Hold {
  release(): Promise<void>;
  /** The daemon has gone, and what was asked for with it. */
  readonly lost: Promise<void>;
}

/** @throws Error as `ask`. */
export async function hold(socketPath: string, request: ControlRequest): Promise<Hold> {
  const socket = await reach(socketPath);
  const lost = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => socket.destroy());
  const lines = createInterface({ input: socket });
  socket.write(`${JSON.stringify(request)}\n`);
  try {
    await answerIn(lines);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  socket.resume();
  const release = (): Promise<void> => {
    socket.end();
    return lost;
  };
  return { release, lost };
}

async function reach(socketPath: string): Promise<Socket> {
  const socket = connect(socketPath);
  try {
    await once(socket, 'connect');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const advice = code === 'EACCES' ? 'ask as its user or as root' : 'start one with urnic up, or give its --socket';
    throw new Error(`no daemon answers at ${socketPath} (${code}): ${advice}`);
  }
  return socket;
}

async function answerIn(lines: Interface): Promise<unknown> {
  for await (const line of lines) {
    const answer = JSON.parse(line) as { ok: boolean; value?: unknown; reason?: string };
    if (!answer.ok) throw new Error(answer.reason);
    return answer.value;
  }
  throw new Error('the daemon closed the connection without an answer');
}
