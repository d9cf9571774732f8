/**
 * A link to a vRNIC of another process: what `connect` (workers/client.ts) is within one. Commands go over the socket of the vRNIC's directory, queues and doorbells lie in
 * the queue file that both sides map, events come by pipes that the worker writes, and the worker reaches registered octets by process_vm_readv and process_vm_writev.
 */
import { Socket } from 'node:net';
import { Errno, type Result } from '../../rnic/commands.ts';
import { DoorbellPage, doorbellBytes } from '../../rnic/queue/doorbell.ts';
import type { QueueMemory } from '../../rnic/queue/ring.ts';
import { Bell, newBellMemory } from '../../workers/bell.ts';
import type { DeviceLink, LinkCommand, LinkEvent, SharedMemoryName } from '../../workers/device-link.ts';
import { addressOf } from '../../workers/linux/arena.ts';
import { type Greeted, greet } from './greeting.ts';
import { decode, encode } from './link-codec.ts';
import { encodeRequest, NoticeOp, type Request, RequestOp, RequestReader } from './protocol.ts';
import { QueuePlaces } from './queue-places.ts';

/** Commands under way at once: half of what the daemon takes. */
const CALLS_MAX = 32;
/** `ib_uverbs_comp_event_desc`, `ib_uverbs_async_event_desc`. */
const COMPLETION_BYTES = 8;
const ASYNC_BYTES = 16;

interface Call {
  readonly command: LinkCommand;
  settle(result: Result): void;
}

/** What an event means: it tells the cookie that we gave when we made the object. Cookies are ours; the verbs have no use for any of their own. */
interface Element {
  readonly handle: number;
  /** Of CQs. */
  readonly channel: number;
}

/** Opens a context on the vRNIC of this directory. @throws Error that says why not. */
export const attach = async (directory: string): Promise<DeviceLink> => new AttachedLink(await greet(directory));

class AttachedLink implements DeviceLink {
  readonly deviceName: string;
  readonly doorbell: DoorbellPage;
  onEvent: ((event: LinkEvent) => void) | null = null;
  readonly #socket: Socket;
  readonly #bell: Bell;
  readonly #places: QueuePlaces;
  readonly #pipes: readonly Socket[];
  readonly #calls = new Map<bigint, Call>();
  readonly #waiting: Call[] = [];
  readonly #elements = new Map<bigint, Element>();
  /** By kind and handle. */
  readonly #cookies = new Map<string, bigint>();
  /** By MR: octets that the daemon may reach must not be given to anybody else. */
  readonly #memories = new Map<number, SharedArrayBuffer>();
  #nextId = 1n;
  #nextCookie = 1n;
  #isOpen = true;
  #closing: Promise<void> | null = null;

  constructor({ name, socket, slots, queueFd, wakeFd, completionFd, asyncFd }: Greeted) {
    this.deviceName = name;
    this.#socket = socket;
    this.#bell = new Bell(newBellMemory(), wakeFd);
    this.#places = new QueuePlaces(queueFd);
    const { buffer } = this.#places.at(0, doorbellBytes(slots));
    this.doorbell = new DoorbellPage(new Int32Array(buffer), slots);
    this.#pipes = [
      openEvents(completionFd, COMPLETION_BYTES, (octets) => this.#handleCompletion(octets)),
      openEvents(asyncFd, ASYNC_BYTES, (octets) => this.#handleAsync(octets)),
    ];
    const reader = new RequestReader();
    socket.on('data', (octets) => {
      for (const notice of reader.take(octets as Buffer)) this.#handleNotice(notice);
    });
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#handleClose());
    socket.resume();
  }

  call<C extends LinkCommand>(command: C): Promise<Result<C['op']>> {
    if (!this.#isOpen || this.#closing) return Promise.resolve(this.#gone());
    return new Promise((resolve) => {
      const call = { command: this.#withCookie(command), settle: resolve as (result: Result) => void };
      if (this.#calls.size < CALLS_MAX) this.#send(call);
      else this.#waiting.push(call);
    });
  }

  wake(): void {
    if (this.#isOpen) this.#bell.wake();
  }

  close(): Promise<void> {
    if (!this.#isOpen) return Promise.resolve();
    this.#closing ??= new Promise((resolve) => {
      this.#socket.once('close', () => resolve());
      // The answer says that nothing reaches our memory any more.
      this.#post(RequestOp.LEAVE, 0n);
    });
    return this.#closing;
  }

  #send(call: Call): void {
    const id = this.#nextId++;
    this.#calls.set(id, call);
    this.#post(RequestOp.CALL, id, encode(byAddress(call.command)));
  }

  #post(op: number, id: bigint, payload?: Uint8Array): void {
    this.#socket.write(encodeRequest(op, id, payload));
  }

  #withCookie(command: LinkCommand): LinkCommand {
    if (command.op !== 'createCq' && command.op !== 'createQp' && command.op !== 'createSrq') return command;
    return { ...command, cookie: this.#nextCookie++ };
  }

  #handleNotice({ op, argument, payload }: Request): void {
    if (op === NoticeOp.EVENT) return this.onEvent?.(decode(payload) as LinkEvent);
    if (argument === 0n) return void this.#socket.end();
    const call = this.#calls.get(argument);
    if (!call) return;
    this.#calls.delete(argument);
    const next = this.#waiting.shift();
    if (next) this.#send(next);
    call.settle(this.#learn(call.command, decode(payload) as Result));
  }

  /** Notes what an answer changes; its queues become memory. */
  #learn(command: LinkCommand, result: Result): Result {
    if (!result.ok) return result;
    this.#learnElement(command, result);
    const answer = result as Result & Record<string, unknown>;
    if ('memory' in command && command.memory && 'sab' in command.memory)
      this.#memories.set((answer.mr as number | undefined) ?? (command as { mr: number }).mr, command.memory.sab);
    if (command.op === 'deregMr') this.#memories.delete(command.mr);
    for (const name of ['queue', 'sq', 'rq']) {
      const place = answer[name] as QueueMemory | undefined;
      if (place) answer[name] = this.#places.at(place.mapOffset, place.byteLength);
    }
    return answer;
  }

  #learnElement(command: LinkCommand, result: Result): void {
    const [, verb, kind] = /^(create|destroy)(Cq|Qp|Srq)$/.exec(command.op) ?? [];
    if (!verb || !kind) return;
    const member = kind.toLowerCase();
    const handle = ((verb === 'create' ? result : command) as unknown as Record<string, number>)[member]!;
    const name = `${kind}${handle}`;
    if (verb === 'destroy') {
      this.#elements.delete(this.#cookies.get(name)!);
      this.#cookies.delete(name);
      return;
    }
    const { cookie, channel = -1 } = command as { cookie: bigint; channel?: number };
    this.#cookies.set(name, cookie);
    this.#elements.set(cookie, { handle, channel });
  }

  #handleCompletion(octets: Buffer): void {
    const element = this.#elements.get(octets.readBigUInt64LE(0));
    if (!element) return;
    this.onEvent?.({ kind: 'completion', channel: element.channel, cq: element.handle, cookie: 0n });
  }

  #handleAsync(octets: Buffer): void {
    const { handle } = this.#elements.get(octets.readBigUInt64LE(0)) ?? { handle: 0 };
    const code = octets.readUInt32LE(8) as Extract<LinkEvent, { kind: 'async' }>['code'];
    this.onEvent?.({ kind: 'async', code, handle, cookie: 0n });
  }

  /** We have left, or the daemon, or the vRNIC's worker, is gone. */
  #handleClose(): void {
    this.#isOpen = false;
    for (const pipe of this.#pipes) pipe.destroy();
    this.#bell.close();
    this.#places.close();
    this.#memories.clear();
    for (const { settle } of [...this.#calls.values(), ...this.#waiting.splice(0)]) settle(this.#gone());
    this.#calls.clear();
    if (!this.#closing)
      this.onEvent?.({ kind: 'fatal', reason: `${this.deviceName}: the vRNIC, its worker or its daemon has ended` });
  }

  #gone() {
    return { ok: false, errno: Errno.EIO, reason: `${this.deviceName}: this link is closed` } as const;
  }
}

/** Records of one size out of a pipe. */
function openEvents(fd: number, bytes: number, handle: (octets: Buffer) => void): Socket {
  const pipe = new Socket({ fd, readable: true, writable: false });
  let rest: Buffer = Buffer.alloc(0);
  pipe.on('error', () => pipe.destroy());
  pipe.on('data', (data) => {
    rest = rest.length === 0 ? (data as Buffer) : Buffer.concat([rest, data as Buffer]);
    let at = 0;
    for (; at + bytes <= rest.length; at += bytes) handle(rest.subarray(at, at + bytes));
    rest = rest.subarray(at);
  });
  return pipe;
}

/** Memory named as the daemon knows it: by where it lies in this process. */
function byAddress(command: LinkCommand): object {
  if (!('memory' in command) || !command.memory) return command;
  const { sab, byteOffset } = command.memory as SharedMemoryName;
  return { ...command, memory: { address: addressOf(new Uint8Array(sab)) + byteOffset } };
}
