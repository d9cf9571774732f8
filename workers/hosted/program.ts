/** A program of another process that uses a vRNIC: its queue file, its event pipes, its processes (a forked child is one more). Worker side. */
import { Errno, type Refusal } from '../../rnic/commands.ts';
import type { Memory } from '../../rnic/memory/memory.ts';
import type { LinkEvent, ProcessMemoryName } from '../device-link.ts';
import { Arena } from '../linux/arena.ts';
import { closeOwned, own } from '../linux/descriptors.ts';
import * as Libc from '../linux/libc.ts';
import { ASYNC_CHANNEL, type HostedProgram, type ProgramMessage } from '../messages.ts';
import { type BreathClock, Process } from './process.ts';
import { ProcessMemory } from './process-memory.ts';
import { QueueFile } from './queue-file.ts';

/** `ib_uverbs_comp_event_desc`, `ib_uverbs_async_event_desc`. */
const COMPLETION_BYTES = 8;
const ASYNC_BYTES = 16;
const WAKE_BYTES = 8;
/** User addresses of a 64-bit process end here. */
const ADDRESSES_END = 2 ** 47;

const event = new Arena(ASYNC_BYTES);

export class Program {
  readonly queues: QueueFile;
  /** Written by the program when the doorbell page says that the worker sleeps. */
  readonly wakeFd: number;
  /** Events that found their pipe full: the program does not read them. */
  lostEvents = 0;
  readonly #clock: BreathClock;
  readonly #pipes = new Map<number, number>();
  readonly #processes = new Map<number, Process>();

  /** Takes the descriptors over. @throws SystemError of mmap. */
  constructor({ queueFd, queueBytes, wakeFd }: HostedProgram, slots: number, clock: BreathClock) {
    this.wakeFd = own(wakeFd);
    this.#clock = clock;
    try {
      this.queues = new QueueFile(queueFd, queueBytes, slots);
    } catch (error) {
      closeOwned(wakeFd);
      throw error;
    }
  }

  handleMessage(message: ProgramMessage): void {
    if (message.kind === 'requeue') return this.#requeue(message.channel, message.events);
    if (message.kind === 'pipe') {
      this.removePipe(message.channel);
      if (message.fd !== undefined) this.#pipes.set(message.channel, own(message.fd));
      return;
    }
    this.#processes.get(message.pid)?.close();
    if (message.pidfd === undefined) this.#processes.delete(message.pid);
    else this.#processes.set(message.pid, new Process(message.pid, message.pidfd, this.#clock));
  }

  removePipe(channel: number): void {
    const fd = this.#pipes.get(channel);
    if (fd !== undefined) closeOwned(fd);
    this.#pipes.delete(channel);
  }

  /** The memory that a registration names; EFAULT when its first or last octet cannot be read. */
  memory({ pid, address }: ProcessMemoryName, length: number): Memory | Refusal {
    const process = this.#processes.get(pid);
    if (!process) return refused(Errno.EFAULT, 'no such process');
    if (address + length > ADDRESSES_END) return refused(Errno.EFAULT, 'the range passes the end of the address space');
    const memory = new ProcessMemory(process, address, length);
    const probe = event.bytes;
    const isThere = length === 0 || (memory.read(0, probe, 0, 1) && memory.read(length - 1, probe, 0, 1));
    return isThere ? memory : refused(Errno.EFAULT, 'the memory cannot be read');
  }

  notify(what: LinkEvent): void {
    if (what.kind === 'completion') this.#write(what.channel, what.cookie, COMPLETION_BYTES);
    else if (what.kind === 'async') {
      event.view.setUint32(8, what.code, true);
      event.view.setUint32(12, 0, true);
      this.#write(ASYNC_CHANNEL, what.cookie, ASYNC_BYTES);
    }
  }

  #requeue(channel: number, events: Uint8Array): void {
    const size = channel === ASYNC_CHANNEL ? ASYNC_BYTES : COMPLETION_BYTES;
    const fd = this.#pipes.get(channel);
    if (fd === undefined) return;
    for (let at = 0; at + size <= events.length; at += size) {
      event.bytes.set(events.subarray(at, at + size));
      if (Libc.write(fd, event.address, size) !== size) this.lostEvents++;
    }
  }

  /** The worker is awake again: empties the eventfd. */
  drain(): void {
    Libc.read(this.wakeFd, event.address, WAKE_BYTES);
  }

  close(): void {
    for (const channel of [...this.#pipes.keys()]) this.removePipe(channel);
    for (const process of this.#processes.values()) process.close();
    this.#processes.clear();
    closeOwned(this.wakeFd);
    this.queues.close();
  }

  #write(channel: number, element: bigint, bytes: number): void {
    const fd = this.#pipes.get(channel);
    if (fd === undefined) return;
    event.view.setBigUint64(0, element, true);
    if (Libc.write(fd, event.address, bytes) !== bytes) this.lostEvents++;
  }
}

const refused = (errno: number, reason: string): Refusal => ({ ok: false, errno, reason });
