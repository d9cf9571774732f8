/** What the daemon does for one TypeScript program of another process: its commands to the worker, answers and events back. Answers come in any order, as they do in process. */
import { Errno, type Refusal } from '../../rnic/commands.ts';
import type { QueueMemory } from '../../rnic/queue/ring.ts';
import { duplicateDescriptor } from '../../workers/bell.ts';
import type { LinkCommand } from '../../workers/device-link.ts';
import { closeOwned, own } from '../../workers/linux/descriptors.ts';
import type { Connection, Session } from './connection.ts';
import type { UverbsContext } from './context.ts';
import { decode, encode } from './link-codec.ts';
import { checkCommand } from './link-commands.ts';
import { encodeRequest, NoticeOp, type Request, RequestOp } from './protocol.ts';

/** Commands under way at once; a program that gives more loses its connection. */
export const CALLS_MAX = 64;
/** What is said of a command that names all its wrong members may be longer than any request: the program would not take it. */
const REASON_LENGTH_MAX = 500;

export class LinkSession implements Session {
  readonly #connection: Connection;
  readonly #context: UverbsContext;
  /** Where all completion channels of the program write to. */
  readonly #completionPipe: number;
  readonly #onClose: () => void;
  #calls = 0;

  /** Takes the pipe's write end over. */
  constructor(connection: Connection, context: UverbsContext, completionPipe: number, onClose: () => void) {
    this.#connection = connection;
    this.#context = context;
    this.#completionPipe = own(completionPipe);
    this.#onClose = onClose;
  }

  receive(request: Request): void {
    if (++this.#calls > CALLS_MAX) return this.#connection.destroy();
    this.#answer(request).then(
      (answer) => {
        this.#calls--;
        this.#connection.push(encodeRequest(NoticeOp.ANSWER, request.argument, encode(answer)));
      },
      () => this.#connection.destroy(), // no descriptor is left for an event pipe
    );
  }

  close(): void {
    closeOwned(this.#completionPipe);
    this.#onClose();
  }

  async #answer({ op, payload }: Request): Promise<object> {
    const { link } = this.#context;
    if (op === RequestOp.LEAVE) {
      await link.close();
      return { ok: true };
    }
    if (op !== RequestOp.CALL) return refusal('no such request');
    let command: LinkCommand;
    try {
      command = checkCommand(decode(payload), this.#connection.credentials.pid);
    } catch (error) {
      return refusal(`malformed command: ${(error as Error).message}`);
    }
    const answer = await link.call(command);
    if (answer.ok && 'channel' in answer) {
      const fd = duplicateDescriptor(this.#completionPipe);
      link.tell({ kind: 'pipe', channel: answer.channel as number, fd });
    }
    return withPlaces(answer);
  }
}

const refusal = (reason: string): Refusal => ({
  ok: false,
  errno: Errno.EINVAL,
  reason: reason.slice(0, REASON_LENGTH_MAX),
});

/** Queues by where they lie in the queue file. */
function withPlaces(answer: object): object {
  const plain = { ...answer } as Record<string, unknown>;
  for (const name of ['queue', 'sq', 'rq']) {
    const queue = plain[name] as QueueMemory | undefined;
    if (queue) plain[name] = { mapOffset: queue.mapOffset, byteLength: queue.byteLength };
  }
  return plain;
}
