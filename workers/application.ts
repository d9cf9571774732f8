/** One application of a vRNIC, worker side: its message port, its context, and its commands that wait for a neighbour. */
import { type AnyCommand, Errno, type Refusal, type Result } from '../rnic/commands.ts';
import { QpAttr, QpType } from '../rnic/constants.ts';
import type { Memory } from '../rnic/memory/memory.ts';
import type { AddressVector, Path } from '../rnic/path.ts';
import type { DoorbellPage } from '../rnic/queue/doorbell.ts';
import type { QueueMemory } from '../rnic/queue/ring.ts';
import { Transport } from '../vswitch/transport.ts';
import type { Micros } from '../wire/types.ts';
import type { LinkCommand, LinkEvent, MemoryName } from './device-link.ts';
import type { Program } from './hosted/program.ts';
import type { LinkReply } from './messages.ts';

/** Where answers and events go: a message port, or a link in the same thread. */
export interface ReplySink {
  postMessage(reply: LinkReply): void;
}

/** What an application needs of its vRNIC. */
export interface CommandTarget {
  execute(context: number, command: AnyCommand, now: Micros): Result;
  newMemory(buffer: SharedArrayBuffer, byteOffset: number): Memory;
  resolve(
    av: AddressVector,
    transport: Transport,
    localQpn: number,
    remoteQpn: number,
    now: Micros,
  ): { path: Path } | Refusal | null;
  /** Why no connection may be made just now; null when one may. */
  refuseConnection(): Refusal | null;
  /** A QP has got a path to somewhere. */
  opened(qpn: number, destQpn: number, transport: Transport, av: AddressVector, path: Path): void;
}

interface Waiting {
  readonly id: number;
  readonly command: LinkCommand;
}

/** Commands of one application that wait for neighbours at once. */
const WAITING_COUNT_MAX = 4096;

const TRANSPORTS: Readonly<Record<QpType, Transport>> = {
  [QpType.RC]: Transport.RC,
  [QpType.UC]: Transport.UC,
  [QpType.UD]: Transport.UD,
  [QpType.GSI]: Transport.CM,
};

export class Application {
  readonly #port: ReplySink;
  readonly context: number;
  readonly doorbell: DoorbellPage;
  /** Null for a program of this process. */
  readonly program: Program | null;
  readonly #target: CommandTarget;
  #waiting: Waiting[] = [];

  constructor(
    port: ReplySink,
    context: number,
    doorbell: DoorbellPage,
    program: Program | null,
    target: CommandTarget,
  ) {
    this.#port = port;
    this.context = context;
    this.doorbell = doorbell;
    this.program = program;
    this.#target = target;
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  reply(message: LinkReply): void {
    this.#port.postMessage(message);
  }

  /** Events of a program of another process go through its pipes, written from here; those of the connection manager through the main thread. */
  notify(event: LinkEvent): void {
    if (this.program && event.kind !== 'cm') this.program.notify(event);
    else this.reply({ kind: 'event', event });
  }

  /** Runs a command and answers it, now or when the neighbour is known. */
  handleCommand(id: number, command: LinkCommand, now: Micros): void {
    const result = this.#run(command, now);
    if (result) this.#answer(id, command, result);
    else if (this.#waiting.length < WAITING_COUNT_MAX) this.#waiting.push({ id, command });
    else this.reply({ kind: 'result', id, result: refusal(Errno.EAGAIN, 'too many commands wait for neighbours') });
  }

  #answer(id: number, command: LinkCommand, result: Result): void {
    if (!this.program) return this.reply({ kind: 'result', id, result });
    if (result.ok && command.op === 'destroyCompChannel') this.program.removePipe(command.channel);
    this.reply({ kind: 'result', id, result: withoutBuffers(result) });
  }

  /** The neighbour table changed. */
  retry(now: Micros): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { id, command } of waiting) this.handleCommand(id, command, now);
  }

  /** `null`: waits. Whatever a stranger's message makes throw is its own refusal, never the worker's end. */
  #run(command: LinkCommand, now: Micros): Result | null {
    try {
      return this.#translate(command, now);
    } catch (error) {
      return refusal(Errno.EINVAL, `malformed command: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  #translate(command: LinkCommand, now: Micros): Result | null {
    switch (command.op) {
      case 'regMr': {
        const memory = this.#memoryOf(command.memory, command.start + command.length);
        return 'ok' in memory ? memory : this.#execute({ ...command, memory }, now);
      }
      case 'reregMr':
      case 'allocMr': {
        const { memory: name, ...others } = command;
        if (!name) return this.#execute(others as AnyCommand, now);
        const bytes = command.op === 'allocMr' ? command.maxBytes : (command.length ?? 0);
        const memory = this.#memoryOf(name, (command.start ?? 0) + bytes);
        return 'ok' in memory ? memory : this.#execute({ ...others, memory } as AnyCommand, now);
      }
      case 'modifyQp':
        return (command.mask & QpAttr.AV) !== 0 ? this.#connect(command, now) : this.#execute(command, now);
      case 'createAh': {
        const found = this.#target.resolve(command.av, Transport.UD, 0, 0, now);
        return found === null || 'ok' in found ? found : this.#execute({ ...command, path: found.path }, now);
      }
      default:
        return this.#execute(command as AnyCommand, now);
    }
  }

  #memoryOf(name: MemoryName, length: number): Memory | Refusal {
    if ('sab' in name) return this.#target.newMemory(name.sab, name.byteOffset);
    return this.program?.memory(name, length) ?? refusal(Errno.EINVAL, 'this program registers its own memory only');
  }

  #connect(command: LinkCommand<'modifyQp'>, now: Micros): Result | null {
    const { av, destQpNum } = command.attributes;
    if (!av) return this.#execute(command, now);
    const queried = this.#target.execute(this.context, { op: 'queryQp', qp: command.qp }, now);
    if (!queried.ok) return queried;
    const { qpNum, type, attributes } = queried as Extract<Result<'queryQp'>, { ok: true }>;
    const hasPeer = (command.mask & QpAttr.DEST_QPN) !== 0;
    const refused = hasPeer ? this.#target.refuseConnection() : null;
    if (refused) return refused;
    const transport = TRANSPORTS[type];
    const remoteQpn = (hasPeer ? destQpNum : attributes.destQpNum) ?? 0;
    const found = this.#target.resolve(av, transport, qpNum, remoteQpn, now);
    if (found === null || 'ok' in found) return found;
    const done = this.#execute({ ...command, path: found.path }, now);
    if (done.ok) this.#target.opened(qpNum, remoteQpn, transport, av, found.path);
    return done;
  }

  #execute(command: AnyCommand, now: Micros): Result {
    return this.#target.execute(this.context, command, now);
  }
}

const refusal = (errno: number, reason: string): Refusal => ({ ok: false, errno, reason });

/** Queues of a hosted program lie in its file: what crosses to the main thread is where, not the octets. */
function withoutBuffers(result: Result): Result {
  const bare = { ...result } as Record<string, unknown>;
  for (const name of ['queue', 'sq', 'rq']) {
    if (bare[name]) bare[name] = { ...(bare[name] as QueueMemory), buffer: NO_BUFFER };
  }
  return bare as unknown as Result;
}
const NO_BUFFER = new ArrayBuffer(0);
