/** Runs a program whose system calls about RDMA a thread of ours answers: for programs that no preload reaches. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Arena } from '../../workers/linux/arena.ts';
import * as Linux from '../../workers/linux/constants.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { receiveDescriptors } from '../../workers/linux/unix-socket.ts';
import type { Launch } from './launch.ts';
import type { Supervision } from './supervisor.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const LOOK_MILLIS = 2;

/** @throws Error where the kernel or the machine has no way to do it. */
export async function spawnSupervised(
  launch: Launch,
  directory: string,
  environment: NodeJS.ProcessEnv,
): Promise<ChildProcess> {
  if (process.arch !== 'x64') throw new Error(`--sandbox seccomp is for x86-64, not ${process.arch}`);
  const ends = new Arena(8);
  Libc.check(Libc.socketpair(AF_UNIX, SOCK_STREAM | Linux.SOCK_CLOEXEC, 0, ends.address), 'socketpair');
  const [ours, theirs] = [ends.view.getInt32(0, true), ends.view.getInt32(4, true)];
  try {
    const args = [here('./launch.js'), JSON.stringify(launch)];
    const child = spawn(process.execPath, args, { stdio: ['inherit', 'inherit', 'inherit', theirs], env: environment });
    Libc.close(theirs);
    await once(child, 'spawn');
    const given = await gifts(ours, child);
    if (given)
      supervise(child, { pid: child.pid!, directory, connections: given.slice(0, -1), listener: given.at(-1)! });
    return child;
  } finally {
    Libc.close(ours);
  }
}

/** What the launcher sends: connections, then the listener. Undefined when it ended before. */
async function gifts(socket: number, child: ChildProcess): Promise<number[] | undefined> {
  const all: number[] = [];
  for (let messages = 0; messages < 2; ) {
    const found = receiveDescriptors(socket);
    if (found?.octets.length === 0) return undefined;
    if (found) {
      all.push(...found.fds);
      messages += found.octets.length;
    } else if (child.exitCode !== null || child.signalCode !== null) return undefined;
    else await sleep(LOOK_MILLIS);
  }
  return all;
}

function supervise(child: ChildProcess, supervision: Supervision): void {
  const thread = new Worker(here('./supervisor.js'), { workerData: supervision });
  thread.unref();
  thread.once('error', (error) => {
    console.error(`urnic: the sandbox has failed: ${error.message}`);
    child.kill('SIGKILL'); // its system calls have nobody to answer them
  });
  thread.once('exit', () => {
    Libc.close(supervision.listener);
  });
}
