/** What limits mean beside one another. */
import type { Limit } from './model.ts';
import { FLOOD_PER_SECOND, UNBOUNDED } from './stages/flood.ts';

export const sameLimit = (a: Limit, b: Limit): boolean =>
  a.rate === b.rate && a.burst === b.burst && a.guarantee === b.guarantee;

/** Frames a second that a port may send to everybody. @param own of its endpoint. */
export const portFlood = (own: Limit = {}, tenant: Limit = {}): number => own.flood ?? tenant.flood ?? FLOOD_PER_SECOND;

/** The same of a vRNIC: its multicast is what a program sends, and a rate holds it without loss, for every copy counts. So it is bounded where somebody says so. */
export const vrnicFlood = (own: Limit = {}, tenant: Limit = {}): number => own.flood ?? tenant.flood ?? UNBOUNDED;
