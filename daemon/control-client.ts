/** Asks a running daemon: one JSON line each way over its unix socket. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
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
  const socket = connect(socketPath);
  try {
    await once(socket, 'connect');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const advice = code === 'EACCES' ? 'ask as its user or as root' : 'start one with urnic up, or give its --socket';
    throw new Error(`no daemon answers at ${socketPath} (${code}): ${advice}`);
  }
  socket.end(`${JSON.stringify(request)}\n`);
  for await (const line of createInterface({ input: socket })) {
    const answer = JSON.parse(line) as { ok: boolean; value?: unknown; reason?: string };
    if (!answer.ok) throw new Error(answer.reason);
    return answer.value;
  }
  throw new Error('the daemon closed the connection without an answer');
}
