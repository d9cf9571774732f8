/** What a verb throws when it is refused: errno as libibverbs would return it, and in words what was wrong. */
import { Errno, type Refusal } from '../rnic/commands.ts';

const NAMES = new Map<number, string>(Object.entries(Errno).map(([name, value]) => [value, name]));

export class VerbsError extends Error {
  /** As in <errno.h>, positive. */
  readonly errno: number;
  /** `EINVAL`. */
  readonly code: string;
  /** `createQp`. */
  readonly verb: string;
  /** The argument that was refused, where one was. */
  readonly argument: string | undefined;
  /** postSend and postRecv of a list: index of the first work request that was not posted. The ones before it were. */
  badWr = -1;

  constructor(verb: string, errno: number, reason: string, argument?: string) {
    const code = NAMES.get(errno) ?? `errno ${errno}`;
    super(`${verb}: ${argument === undefined ? '' : `${argument}: `}${reason} (${code})`);
    this.name = 'VerbsError';
    this.errno = errno;
    this.code = code;
    this.verb = verb;
    this.argument = argument;
  }
}

/** The answer, or throws. */
export function granted<Answer extends { ok: true }>(verb: string, result: Answer | Refusal): Omit<Answer, 'ok'> {
  if (!result.ok) throw new VerbsError(verb, result.errno, result.reason, result.argument);
  const { ok: _, ...answer } = result;
  return answer;
}
