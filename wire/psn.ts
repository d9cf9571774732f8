/** PSN arithmetic, modulo 2^24: distances are signed, so order survives the wrap. IBA Vol. 1, §9.7. */
import type { Psn } from './types.ts';

export const MASK = 0xff_ffff;

/** The PSN `count` packets after `psn` (before it when `count` is negative). */
export const add = (psn: Psn, count: number): Psn => ((psn + count) & MASK) as Psn;

export const next = (psn: Psn): Psn => ((psn + 1) & MASK) as Psn;

/** Packets from `b` to `a`, in −2^23 … 2^23−1: negative when `a` comes before `b`. */
export const difference = (a: Psn, b: Psn): number => ((a - b) << 8) >> 8;

/** Negative, zero or positive as `a` comes before, at or after `b`: the shape that `Array.sort` takes. */
export const compare = difference;
