/** What limits mean beside one another. */
import type { Limit } from './model.ts';
import { FLOOD_PER_SECOND, UNBOUNDED } from './stages/flood.ts';

export const sameLimit = (a: Limit, b: Limit): boolean =>
  a.rate === b.rate && a.burst === b.burst && a.guarantee === b.guarantee;

/** Frames a second that a port may send to everybody. @param own of its endpoint. */
export const portFlood = (own: Limit = {}, tenant: Limit = {}): number => own.flood ?? tenant.flood ?? FLOOD_PER_SECOND;

/** The same of a vRNIC: a rate bounds its multicast as well, for every copy counts, and waits where a bound of frames would drop. */
export function vrnicFlood(own: Limit = {}, tenant: Limit = {}): number {
  const isLimited = own.rate !== undefined || tenant.rate !== undefined;
  return own.flood ?? tenant.flood ?? (isLimited ? UNBOUNDED : FLOOD_PER_SECOND);
}
