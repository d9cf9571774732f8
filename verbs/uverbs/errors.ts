/** How a command of a program ends when it does not succeed: an errno, as from the kernel. */
import { Errno, type Result } from '../../rnic/commands.ts';

export class CommandError extends Error {
  readonly errno: number;

  constructor(errno: number, reason: string) {
    super(reason);
    this.errno = errno;
  }
}

export const invalid = (reason: string): CommandError => new CommandError(Errno.EINVAL, reason);

/** The answer, or what refused it. */
export function granted<R extends Result>(result: R): Extract<R, { ok: true }> {
  if (!result.ok) throw new CommandError(result.errno, result.reason);
  return result as Extract<R, { ok: true }>;
}
