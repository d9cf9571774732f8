/** How a command is refused: errno, the reason in words, the argument's name. And the checks that every handler needs. */
import type { Refusal } from './commands.ts';
import { Errno } from './commands.ts';

export function refuse(errno: number, reason: string, argument?: string): Refusal {
  return argument === undefined ? { ok: false, errno, reason } : { ok: false, errno, reason, argument };
}

export const invalid = (argument: string, reason: string): Refusal => refuse(Errno.EINVAL, reason, argument);
export const noSuch = (what: string, argument: string): Refusal =>
  refuse(Errno.EINVAL, `no such ${what} in this context`, argument);
export const busy = (what: string, why: string): Refusal => refuse(Errno.EBUSY, `the ${what} is in use: ${why}`);
export const full = (what: string, limit: number, holder = 'this vRNIC'): Refusal =>
  refuse(Errno.ENOMEM, `${holder} holds ${limit} ${what} already, its limit`);

/** A whole number in least … most. */
export const isWhole = (value: unknown, least: number, most: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;

export const isWide = (value: unknown): value is bigint =>
  typeof value === 'bigint' && value >= 0n && value < 2n ** 64n;
