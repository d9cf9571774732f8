/** How a TypeScript program comes to a daemon's vRNIC: it dials the socket in the vRNIC's directory, says hello, and gets its queue file and its event pipes. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as Linux from '../../workers/linux/constants.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { SystemError } from '../../workers/linux/system-error.ts';
import { peerCredentials, receiveDescriptors } from '../../workers/linux/unix-socket.ts';
import { decodeReply, encodeRequest, RequestOp, Role } from './protocol.ts';

/** What a program holds of a vRNIC after the hello. */
export interface Greeted {
  readonly name: string;
  /** Nothing of it has been read since the hello. */
  readonly socket: Socket;
  /** QPs that the doorbell page has bits for. */
  readonly slots: number;
  readonly queueFd: number;
  readonly wakeFd: number;
  /** Read ends. */
  readonly completionFd: number;
  readonly asyncFd: number;
}

const REPLY_MILLIS = 30_000;
const LOOK_MILLIS = 2;

/** @throws Error that says that nobody serves the directory, or why the daemon refused. */
export async function greet(directory: string): Promise<Greeted> {
  const socket = await dial(directory);
  try {
    // Where Yama restricts ptrace, the daemon may reach our registered memory all the same.
    Libc.prctl(Linux.PR_SET_PTRACER, peerCredentials(descriptorOf(socket)).pid, 0, 0, 0);
    socket.write(encodeRequest(RequestOp.HELLO, BigInt(Role.LINK)));
    const { slots, fds } = await replyOf(socket, directory);
    const [queueFd, wakeFd, completionFd, asyncFd] = fds;
    if (queueFd === undefined || wakeFd === undefined || completionFd === undefined || asyncFd === undefined) {
      for (const fd of fds) Libc.close(fd);
      throw new Error(`the daemon of ${directory} is of another version`);
    }
    return { name: basename(directory), socket, slots, queueFd, wakeFd, completionFd, asyncFd };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Sees to it that the vRNIC runs and that its files are there. @throws as greet. */
export async function wake(directory: string): Promise<void> {
  const socket = await dial(directory);
  try {
    socket.write(encodeRequest(RequestOp.HELLO, BigInt(Role.WAKE)));
    await replyOf(socket, directory);
  } finally {
    socket.destroy();
  }
}

async function dial(directory: string): Promise<Socket> {
  const socket = connect(join(directory, 'uverbs'));
  socket.pause(); // Node's own reading would lose the descriptors
  try {
    await once(socket, 'connect');
  } catch (error) {
    throw new Error(`no vRNIC at ${directory}: is its daemon up? (${(error as NodeJS.ErrnoException).code})`);
  }
  return socket;
}

const descriptorOf = (socket: Socket): number => {
  const { _handle } = socket as unknown as { _handle: { fd: number } | null };
  return _handle?.fd ?? -1;
};

async function replyOf(socket: Socket, directory: string): Promise<{ slots: number; fds: number[] }> {
  for (const deadline = Date.now() + REPLY_MILLIS; Date.now() < deadline; await sleep(LOOK_MILLIS)) {
    const found = receiveDescriptors(descriptorOf(socket));
    if (!found) continue;
    const { octets, fds } = found;
    if (octets.length === 0) break;
    const { result, actions } = decodeReply(octets);
    if (result < 0) throw new SystemError(`opening ${directory}`, -result);
    return { slots: Number(actions[0]?.argument ?? 0), fds: [...fds] };
  }
  throw new Error(`the daemon of ${directory} did not answer`);
}
