/**
 * Answers the system calls of a sandboxed program that are about RDMA, as the shim would have in its process (native/urnic-shim.c): for programs that no shim reaches,
 * because they are statically linked or make system calls of their own. A thread of `urnic run`, blocked in ppoll most of the time.
 *
 * The device belongs to the program itself: processes that it forks see the files, use what they have inherited, and open nothing, for the daemon knows the sockets as
 * the program's; they register no memory either, for it would be looked for in the program.
 */
import { lstatSync, readFileSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { Errno } from '../../rnic/commands.ts';
import { type Action, ActionType, CHANNEL_ASYNC, EventPipe, RequestOp, Role } from '../../verbs/uverbs/protocol.ts';
import { Arena } from '../../workers/linux/arena.ts';
import * as Linux from '../../workers/linux/constants.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { DESCRIPTORS_END, FIRST_DESCRIPTOR } from './filter.ts';
import { GuestContext } from './guest-context.ts';
import { readGuest, readGuestString, writeGuest } from './guest-memory.ts';
import { type Notification, Notifications } from './notifications.ts';
import * as Call from './syscalls.ts';

export interface Supervision {
  /** The program. */
  readonly pid: number;
  /** The vRNIC's. */
  readonly directory: string;
  readonly listener: number;
  /** Connections to the daemon, made by the program's process. */
  readonly connections: readonly number[];
}

type Kind = 'uverbs' | 'cm' | 'completions' | 'async';

/** One that the program got from us. */
interface Descriptor {
  readonly kind: Kind;
  readonly context: GuestContext;
  readonly channel: number;
  /** Our own, of the same file. */
  readonly fd: number;
}

/** A read that waits for an event. */
interface Waiting {
  readonly notification: Notification;
  readonly fd: number;
  retry(): boolean;
}

const NODES = new Map<string, { readonly kind: 'uverbs' | 'cm'; readonly major: number; readonly minor: number }>([
  ['/dev/infiniband/uverbs0', { kind: 'uverbs', major: 231, minor: 192 }],
  ['/dev/infiniband/rdma_cm', { kind: 'cm', major: 10, minor: 58 }],
]);
const REDIRECTED = /^\/(sys\/class\/infiniband|sys\/class\/misc\/rdma_cm|dev\/infiniband)/;
/** _IB_USER_VERBS_CMD_…, RDMA_USER_CM_CMD_… */
const REG_MR = 9;
const REREG_MR = 10;
const CREATE_COMP_CHANNEL = 17;
const CREATE_CQ = 18;
const REQ_NOTIFY_CQ = 23;
const POST_SEND = 28;
const CM_GET_EVENT = 12;
const CM_SET_OPTION = 14;
const CM_MIGRATE_ID = 18;
const EXTENDED = 0x8000_0000;
/** What brings memory or descriptors, which would not be those of the child that asks. */
const PROGRAMS_OWN: ReadonlySet<number> = new Set([REG_MR, REREG_MR, CREATE_COMP_CHANNEL]);
const COMPLETION_BYTES = 8;
const ASYNC_BYTES = 16;
const EMPTY_PATH = 0x1000;
const READ_ONLY = 0;
const POLL_BYTES = 8;
const PURGE_BYTES_MAX = 4096;
const OPTION_BYTES_MAX = 32;
const AT_FDCWD = -100;
const ENOENT = 2;
const EPERM = 1;
const EBADF = 9;
const ROOM_BYTES = 4096;
/** After an execve: so often, and every so many nanoseconds, it is looked whether it has closed what the program had. */
const EXEC_LOOKS = 100;
const EXEC_NANOSECONDS = 1_000_000;

const room = new Arena(ROOM_BYTES);
const text = new Arena(2 * ROOM_BYTES);
const none = new Arena(16);
/** struct timespec. */
const execPause = new Arena(16);
execPause.view.setUint32(8, EXEC_NANOSECONDS, true);
const polls = new Arena(POLL_BYTES * (1 + DESCRIPTORS_END - FIRST_DESCRIPTOR));

function isReadable(fd: number): boolean {
  room.view.setInt32(0, fd, true);
  room.view.setInt32(4, Linux.POLLIN, true);
  return Libc.ppoll(room.address, 1, none.address, 0) === 1;
}

export class Sandbox {
  readonly #pid: number;
  readonly #directory: string;
  readonly #notifications: Notifications;
  readonly #connections: number[];
  readonly #descriptors = new Map<number, Descriptor>();
  #waiting: Waiting[] = [];
  /** Looks that are left. */
  #execLooks = 0;

  constructor({ pid, directory, listener, connections }: Supervision) {
    this.#pid = pid;
    this.#directory = directory;
    this.#notifications = new Notifications(listener);
    this.#connections = [...connections];
  }

  /** Until no process has the filter any more. */
  run(): void {
    for (;;) {
      const contexts = this.#contextsAlive();
      // Answers are read where requests are made: what comes of itself is the connection's end.
      const all = [
        this.#notifications.fileDescriptor,
        ...contexts.map(({ control }) => control),
        ...this.#waiting.map(({ fd }) => fd),
      ];
      for (const [i, fd] of all.entries()) {
        polls.view.setInt32(POLL_BYTES * i, fd, true);
        polls.view.setInt32(POLL_BYTES * i + 4, Linux.POLLIN, true); // events, and revents 0
      }
      Libc.ppoll(polls.address, all.length, this.#execLooks > 0 ? execPause.address : 0, 0);
      for (const [i, context] of contexts.entries())
        if (polls.view.getUint16(POLL_BYTES * (i + 1) + 6, true) !== 0) context.fail();
      const events = polls.view.getUint16(6, true);
      if ((events & Linux.POLLIN) !== 0) this.#next();
      else if (events !== 0) return;
      if (this.#execLooks > 0) this.#lookAfterExec();
      this.#waiting = this.#waiting.filter((waiting) => !waiting.retry());
    }
  }

  #contextsAlive(): GuestContext[] {
    const all = [...this.#descriptors.values()].filter(({ kind }) => kind === 'uverbs').map(({ context }) => context);
    return [...new Set(all)].filter(({ hasFailed }) => !hasFailed);
  }

  #next(): void {
    const notification = this.#notifications.receive();
    if (!notification) return;
    const { number } = notification;
    const call = Call.PATH_CALLS.get(number);
    if (call) this.#handlePath(notification, call);
    else if (number === Call.EXECVE || number === Call.EXECVEAT) this.#handleExec(notification);
    else if (number === Call.DUP2 || number === Call.DUP3) this.#replace(notification);
    else this.#handleDescriptor(notification);
  }

  // ── Paths ──

  #handlePath(of: Notification, call: Call.PathCall): void {
    const { number, args, tid } = of;
    const path = readGuestString(tid, args[call.path]!);
    const flags = number === Call.STATX ? args[2]! : args[3]!;
    if (path === '' && (number === Call.NEWFSTATAT || number === Call.STATX) && (flags & EMPTY_PATH) !== 0)
      return this.#describe(of, this.#descriptors.get(args[0]!)?.kind, args[call.out!]!);
    if (path === undefined || !REDIRECTED.test(path)) return this.#notifications.proceed(of);
    const node = NODES.get(path);
    if (number === Call.OPEN || number === Call.OPENAT) {
      const mode = number === Call.OPEN ? args[1]! : args[2]!;
      return node ? this.#openNode(of, node.kind, mode) : this.#openFile(of, path, mode);
    }
    if (node)
      return call.out === undefined ? this.#notifications.succeed(of) : this.#describe(of, node.kind, args[call.out]!);
    this.#forward(of, call, path);
  }

  /** The same call on the file in the vRNIC's directory, by us. */
  #forward(of: Notification, call: Call.PathCall, path: string): void {
    const args = of.args.map((value) => (value > 2 ** 47 ? AT_FDCWD : value)); // descriptors are 32 bits; these paths are absolute
    args[call.path] = this.#place(path);
    const wanted = call.bytes === 'result' ? Math.min(of.args[call.out! + 1]!, ROOM_BYTES) : (call.bytes ?? 0);
    if (call.bytes === 'result') args[call.out! + 1] = wanted;
    const out = call.out === undefined ? 0 : of.args[call.out]!;
    if (call.out !== undefined) args[call.out] = room.address;
    const result = Libc.syscall6(of.number, ...args);
    if (result === -1) return this.#notifications.fail(of, Libc.errno());
    const length = call.bytes === 'result' ? result : wanted;
    if (!writeGuest(of.tid, out, room.bytes.subarray(0, length))) return this.#notifications.fail(of, Errno.EFAULT);
    this.#notifications.succeed(of, result);
  }

  /** Address of the path in the vRNIC's directory. */
  #place(path: string): number {
    const octets = Buffer.from(`${this.#directory}${path}\0`, 'latin1');
    if (octets.length > text.bytes.length) return 0;
    text.bytes.set(octets);
    return text.address;
  }

  #openFile(of: Notification, path: string, flags: number): void {
    const place = this.#place(path);
    const fd = Libc.syscall6(Call.OPENAT, AT_FDCWD, place, READ_ONLY | Linux.O_CLOEXEC, 0, 0, 0);
    if (fd === -1) return this.#notifications.fail(of, place === 0 ? ENOENT : Libc.errno());
    this.#notifications.answerWith(of, fd, flags & Linux.O_CLOEXEC);
    Libc.close(fd);
  }

  #describe(of: Notification, kind: Kind | undefined, out: number): void {
    const node = [...NODES.values()].find((one) => one.kind === kind);
    if (!node) return this.#notifications.proceed(of);
    const octets = Call.nodeStatus(node.major, node.minor, of.number === Call.STATX);
    if (writeGuest(of.tid, out, octets)) this.#notifications.succeed(of);
    else this.#notifications.fail(of, Errno.EFAULT);
  }

  #openNode(of: Notification, kind: 'uverbs' | 'cm', flags: number): void {
    if (!this.#isProgram(of)) return this.#notifications.fail(of, Errno.ENODEV);
    this.#prune();
    const number = this.#freeNumber();
    const connection = this.#connections.pop();
    if (connection === undefined || number === undefined) return this.#notifications.fail(of, Errno.EMFILE);
    const context = new GuestContext(connection, kind === 'cm');
    const opened = context.open(kind === 'cm' ? Role.CM : Role.CONTEXT);
    if (typeof opened === 'number') {
      context.close();
      return this.#notifications.fail(of, -opened);
    }
    const fd = opened[0]!;
    if ((flags & Linux.O_NONBLOCK) !== 0) Libc.fcntl(fd, Linux.F_SETFL, Linux.O_NONBLOCK);
    this.#learn(number, { kind, context, channel: 0, fd });
    this.#notifications.answerWith(of, fd, flags & Linux.O_CLOEXEC, number);
  }

  // ── Descriptors ──

  #handleDescriptor(of: Notification): void {
    const known = this.#descriptors.get(of.args[0]!);
    if (!known) return this.#notifications.proceed(of);
    if (of.number === Call.FSTAT) return this.#describe(of, known.kind, of.args[1]!);
    const isProgram = this.#isProgram(of);
    if (of.number === Call.CLOSE && !isProgram) return this.#notifications.proceed(of);
    if (of.number === Call.DUP) return this.#duplicate(of, known, this.#freeNumber(), 0);
    if (of.number === Call.FCNTL)
      return this.#duplicate(
        of,
        known,
        this.#freeNumber(of.args[2]),
        of.args[1] === Linux.F_DUPFD ? 0 : Linux.O_CLOEXEC,
      );
    if (of.number === Call.CLOSE) {
      this.#forget(of.args[0]!, known);
      return this.#notifications.proceed(of);
    }
    if (of.number === Call.READ) return this.#read(of, known);
    if (known.kind !== 'uverbs' && known.kind !== 'cm') return this.#notifications.fail(of, EBADF);
    const octets = readGuest(of.tid, of.args[1]!, of.args[2]!);
    if (!octets || octets.length < 8) return this.#notifications.fail(of, Errno.EINVAL);
    if (!isProgram && known.kind === 'uverbs' && PROGRAMS_OWN.has(octets[0]!))
      return this.#notifications.fail(of, EPERM);
    if (known.kind === 'cm') this.#writeCm(of, known, octets);
    else this.#writeUverbs(of, known.context, octets);
  }

  #writeUverbs(of: Notification, context: GuestContext, octets: Buffer): void {
    const word = octets.readUInt32LE(0);
    const word32 = (at: number): number => (octets.length >= at + 4 ? octets.readUInt32LE(at) : 0);
    if (word === POST_SEND && octets.length >= 24 && word32(20) === 0)
      return this.#answer(of, context.ring(word32(16)));
    if (word === REQ_NOTIFY_CQ && octets.length >= 16)
      return this.#answer(of, context.arm(word32(8), word32(12) !== 0));
    // CREATE_CQ names its completion channel by descriptor; the daemon knows it by number.
    const at = word >= EXTENDED ? 40 : 32;
    if ((word & 0xff) === CREATE_CQ && octets.length >= at + 4 && octets.readInt32LE(at) >= 0) {
      const channel = this.#descriptors.get(octets.readInt32LE(at));
      if (channel?.kind !== 'completions' || channel.context !== context) return this.#notifications.fail(of, EBADF);
      octets.writeUInt32LE(channel.channel, at);
    }
    this.#answer(of, this.#command(of, context, octets));
  }

  #writeCm(of: Notification, { context, fd }: Descriptor, octets: Buffer): void {
    const word = octets.readUInt32LE(0);
    if (word === CM_GET_EVENT) return this.#when(of, fd, () => this.#getCmEvent(of, context, fd, octets));
    if (word === CM_MIGRATE_ID && octets.length >= 24) {
      const other = this.#descriptors.get(octets.readUInt32LE(20));
      if (other?.kind !== 'cm') return this.#notifications.fail(of, Errno.EINVAL);
      octets.writeUInt32LE(other.context.number, 20);
    }
    if (word !== CM_SET_OPTION || octets.length !== 32 || octets.readUInt32LE(28) > OPTION_BYTES_MAX)
      return this.#answer(of, this.#command(of, context, octets));
    // The option's value lies elsewhere in memory: it goes along.
    const value = readGuest(of.tid, Number(octets.readBigUInt64LE(8)), octets.readUInt32LE(28));
    if (!value) return this.#notifications.fail(of, Errno.EFAULT);
    this.#answer(of, this.#command(of, context, Buffer.concat([octets, value])));
  }

  /** One octet waits in the pipe for each event. False: the event went with its id, wait for the next. */
  #getCmEvent(of: Notification, context: GuestContext, fd: number, octets: Buffer): boolean {
    if (Libc.read(fd, room.address, 1) !== 1) {
      this.#notifications.fail(of, Errno.EIO);
      return true;
    }
    const result = this.#command(of, context, octets);
    if (result !== -Errno.EAGAIN) this.#answer(of, result);
    return result !== -Errno.EAGAIN;
  }

  /** An event, as the kernel gives them: one at a time, counted. */
  #read(of: Notification, { kind, context, fd }: Descriptor): void {
    if (kind !== 'completions' && kind !== 'async') return this.#notifications.fail(of, Errno.EINVAL);
    const bytes = kind === 'async' ? ASYNC_BYTES : COMPLETION_BYTES;
    if (of.args[2]! < bytes) return this.#notifications.fail(of, Errno.EINVAL);
    this.#when(of, fd, () => {
      if (Libc.read(fd, room.address, bytes) !== bytes) this.#notifications.fail(of, Errno.EIO);
      else if (!writeGuest(of.tid, of.args[1]!, room.bytes.subarray(0, bytes)))
        this.#notifications.fail(of, Errno.EFAULT);
      else {
        context.count(kind === 'async' ? EventPipe.ASYNC : EventPipe.COMPLETION, room.view.getBigUint64(0, true));
        this.#notifications.succeed(of, bytes);
      }
      return true;
    });
  }

  /** Does it when there is something to read: now, or, unless the descriptor does not block, later. `act` says whether it is done. */
  #when(notification: Notification, fd: number, act: () => boolean): void {
    const retry = (): boolean => isReadable(fd) && act();
    if (retry()) return;
    if ((Libc.fcntl(fd, Linux.F_GETFL, 0) & Linux.O_NONBLOCK) === 0) this.#waiting.push({ notification, fd, retry });
    else this.#notifications.fail(notification, Errno.EAGAIN);
  }

  /** Answers a write of the whole. */
  #answer(of: Notification, result: number): void {
    if (result < 0) this.#notifications.fail(of, -result);
    else this.#notifications.succeed(of, of.args[2]);
  }

  #command(of: Notification, context: GuestContext, octets: Buffer): number {
    const { result, actions, fds } = context.request(RequestOp.WRITE, 0n, octets);
    if (result === 0) for (const action of actions) this.#obey(of, context, action, fds);
    for (const fd of fds) Libc.close(fd);
    return result;
  }

  /** Does what the reply says, in the program's memory and descriptors. */
  #obey(of: Notification, context: GuestContext, action: Action, fds: number[]): void {
    const { type, address, argument, payload } = action;
    const at = Number(address);
    if (context.learn(action)) return;
    if (type === ActionType.POKE) writeGuest(of.tid, at, payload);
    else if (type === ActionType.NEW_FD) this.#handOver(of, context, action, fds.shift());
    else if (type === ActionType.COMP_COUNT)
      writeGuest(of.tid, at, word(context.takeCount(EventPipe.COMPLETION, argument)));
    else if (type === ActionType.ASYNC_COUNT)
      writeGuest(of.tid, at, word(context.takeCount(EventPipe.ASYNC, argument)));
    else if (type === ActionType.PURGE) this.#purge(context, at, argument);
  }

  #handOver(of: Notification, context: GuestContext, { address, argument }: Action, fd: number | undefined): void {
    const number = this.#freeNumber();
    const isGiven =
      fd !== undefined && number !== undefined && this.#notifications.give(of, fd, number, Linux.O_CLOEXEC);
    writeGuest(of.tid, Number(address), word(isGiven ? number : -1));
    if (!isGiven) return void (fd !== undefined && Libc.close(fd));
    const kind = Number(argument >> 32n) === EventPipe.ASYNC ? 'async' : 'completions';
    this.#learn(number, { kind, context, channel: Number(argument & 0xffff_ffffn), fd });
  }

  /** Drops the unread events of one element, and puts the others back in their order. */
  #purge(context: GuestContext, channel: number, element: bigint): void {
    const found = [...this.#descriptors.values()].find(
      (one) =>
        one.context === context && one.channel === channel && (one.kind === 'completions' || one.kind === 'async'),
    );
    if (!found) return;
    const bytes = found.kind === 'async' ? ASYNC_BYTES : COMPLETION_BYTES;
    const kept: Buffer[] = [];
    while (kept.length * bytes < PURGE_BYTES_MAX && isReadable(found.fd)) {
      if (Libc.read(found.fd, room.address, bytes) !== bytes) break;
      if (room.view.getBigUint64(0, true) !== element) kept.push(Buffer.from(room.bytes.subarray(0, bytes)));
    }
    if (kept.length > 0) context.request(RequestOp.REQUEUE, BigInt(channel), Buffer.concat(kept));
  }

  // ── Duplicates, and execve ──

  /** The same file under another number, which must be one that the filter knows: elsewhere nobody would notice what is done with it. */
  #duplicate(of: Notification, known: Descriptor, number: number | undefined, flags: number): void {
    if (!this.#isProgram(of)) return this.#notifications.fail(of, EPERM);
    if (number === undefined) return this.#notifications.fail(of, Errno.EMFILE);
    const fd = Libc.fcntl(known.fd, Linux.F_DUPFD_CLOEXEC, 0);
    if (fd === -1) return this.#notifications.fail(of, Errno.EMFILE);
    this.#learn(number, { ...known, fd });
    this.#notifications.answerWith(of, fd, flags, number);
  }

  /** dup2, dup3: from one of ours, or onto one. */
  #replace(of: Notification): void {
    const [from, to] = of.args as [number, number];
    const known = this.#descriptors.get(from);
    const replaced = this.#descriptors.get(to);
    if (from === to || !this.#holds(from) || !this.#isProgram(of)) return this.#notifications.proceed(of);
    if (known && (to < FIRST_DESCRIPTOR || to >= DESCRIPTORS_END)) return this.#notifications.fail(of, Errno.EINVAL);
    const flags = of.number === Call.DUP3 ? of.args[2]! & Linux.O_CLOEXEC : 0;
    // The new one first: a context may have no other.
    if (known) known.context.uses++;
    if (replaced) this.#forget(to, replaced);
    if (known) {
      this.#duplicate(of, known, to, flags);
      known.context.uses--;
    } else this.#notifications.proceed(of);
  }

  #handleExec(of: Notification): void {
    if (this.#isProgram(of)) this.#execLooks = EXEC_LOOKS;
    this.#notifications.proceed(of);
  }

  /** A program that becomes another one loses its device, but for what it keeps open on purpose: nobody may reach into the new one's memory. */
  #lookAfterExec(): void {
    const before = this.#descriptors.size;
    this.#prune();
    this.#execLooks = this.#descriptors.size < before || before === 0 ? 0 : this.#execLooks - 1;
  }

  /** Forgets what has been closed without a word: by execve. */
  #prune(): void {
    for (const [number, descriptor] of this.#descriptors) if (!this.#holds(number)) this.#forget(number, descriptor);
  }

  /** Whether the program has this descriptor open. */
  #holds(number: number): boolean {
    return lstatSync(`/proc/${this.#pid}/fd/${number}`, { throwIfNoEntry: false }) !== undefined;
  }

  // ── What the program holds ──

  #learn(number: number, descriptor: Descriptor): void {
    descriptor.context.uses++;
    this.#descriptors.set(number, descriptor);
  }

  #forget(number: number, { kind, context, channel, fd }: Descriptor): void {
    this.#descriptors.delete(number);
    // Who still reads it reads on, as from a kernel device: programs that end so must not hear of an error.
    this.#waiting = this.#waiting.filter((waiting) => waiting.fd !== fd);
    Libc.close(fd);
    const isLast = ![...this.#descriptors.values()].some((one) => one.context === context && one.channel === channel);
    if (kind === 'completions' && channel !== CHANNEL_ASYNC && isLast)
      context.request(RequestOp.CLOSE_CHANNEL, BigInt(channel));
    if (--context.uses === 0) context.close();
  }

  #freeNumber(least = FIRST_DESCRIPTOR): number | undefined {
    for (let number = Math.max(least, FIRST_DESCRIPTOR); number < DESCRIPTORS_END; number++)
      if (!this.#descriptors.has(number) && !this.#holds(number)) return number;
    return undefined;
  }

  #isProgram({ tid }: Notification): boolean {
    if (tid === this.#pid) return true;
    try {
      return readFileSync(`/proc/${tid}/status`, 'latin1').includes(`\nTgid:\t${this.#pid}\n`);
    } catch {
      return false; // it has gone
    }
  }
}

function word(value: number): Uint8Array {
  const octets = Buffer.alloc(4);
  octets.writeInt32LE(value);
  return octets;
}

new Sandbox(workerData as Supervision).run();
