/**
 * The first half of a sandboxed program's life, in its own process: it dials the daemon, so that the kernel knows the sockets as this process's, puts the filter before
 * itself, gives both to the supervisor (descriptor 3), and becomes the program. Argument: a JSON `Launch`.
 */
import koffi from 'koffi';
import { Arena } from '../../workers/linux/arena.ts';
import * as Linux from '../../workers/linux/constants.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { sendDescriptors } from '../../workers/linux/unix-socket.ts';
import { filterOctets, INSTRUCTION_COUNT } from './filter.ts';
import { SECCOMP } from './syscalls.ts';

export interface Launch {
  /** The daemon's socket in the vRNIC's directory. */
  readonly socket: string;
  readonly path: string;
  readonly args: readonly string[];
  /** LD_PRELOAD of what the program starts. */
  readonly preload: string;
}

/** Where the supervisor listens, and what it is told first. */
const SUPERVISOR_DESCRIPTOR = 3;
/** uverbs contexts and rdma_cm channels that the program can open. */
const CONNECTION_COUNT = 8;

const SET_MODE_FILTER = 1;
const NEW_LISTENER = 8;
const WAIT_KILLABLE_RECV = 32;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SIGKILL = 9;
const SIGPIPE = 13;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const ADDRESS_BYTES = 110;
const HERE = Uint8Array.of(0);

function dial(path: string): number {
  const address = new Arena(ADDRESS_BYTES);
  const text = new TextEncoder().encode(path);
  if (text.length + 3 > ADDRESS_BYTES) throw new Error(`${path} is too long for a socket's address`);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(text, 2);
  const fd = Libc.check(Libc.socket(AF_UNIX, SOCK_STREAM | Linux.SOCK_CLOEXEC, 0), 'socket');
  Libc.check(Libc.connect(fd, address.address, text.length + 3), `connect to ${path}`);
  return fd;
}

/** The listener. Where the kernel can (5.19), a notified call is not broken off by signals once the supervisor has begun it. */
function setFilter(): number {
  const instructions = new Arena(8 * INSTRUCTION_COUNT);
  instructions.bytes.set(filterOctets());
  const program = new Arena(16);
  program.view.setUint16(0, INSTRUCTION_COUNT, true);
  program.setPointer(8, instructions.address);
  Libc.check(Libc.prctl(Linux.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'no_new_privs');
  const flags = NEW_LISTENER | WAIT_KILLABLE_RECV;
  const listener = Libc.syscall6(SECCOMP, SET_MODE_FILTER, flags, program.address, 0, 0, 0);
  if (listener !== -1) return listener;
  return Libc.check(Libc.syscall6(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, program.address, 0, 0, 0), 'seccomp');
}

const { socket, path, args, preload } = JSON.parse(process.argv[2]!) as Launch;
// Everything is bound before the filter stands: nothing but the message and the exec comes after it.
const execve = koffi.load(null).func('int execve(str path, str *arguments, str *environment)');
const environment = Object.entries({ ...process.env, LD_PRELOAD: preload }).map(([name, value]) => `${name}=${value}`);
for (const fd of [0, 1, 2]) Libc.fcntl(fd, F_SETFD, 0); // Node has them close on exec
Libc.check(Libc.fcntl(SUPERVISOR_DESCRIPTOR, F_SETFD, FD_CLOEXEC), 'fcntl');
const connections = Array.from({ length: CONNECTION_COUNT }, () => dial(socket));
sendDescriptors(SUPERVISOR_DESCRIPTOR, HERE, connections);
Libc.prctl(Linux.PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); // without its supervisor it would hear ENOSYS where it asks for files
Libc.signal(SIGPIPE, 0); // Node ignores it
const listener = setFilter();
sendDescriptors(SUPERVISOR_DESCRIPTOR, HERE, [listener]);
execve(path, [path, ...args, null], [...environment, null]);
process.stderr.write(`urnic: ${path}: cannot be executed (errno ${koffi.errno()})\n`);
process.exit(126);
