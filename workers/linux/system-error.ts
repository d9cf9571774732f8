/** A system call that failed, said in words. */
import { getSystemErrorMap } from 'node:util';

export class SystemError extends Error {
  /** Positive, as in <errno.h>. */
  readonly errno: number;

  constructor(what: string, errno: number) {
    const [code, text] = getSystemErrorMap().get(-errno) ?? [`errno ${errno}`, 'unknown error'];
    super(`${what}: ${text} (${code})`);
    this.name = 'SystemError';
    this.errno = errno;
  }
}
