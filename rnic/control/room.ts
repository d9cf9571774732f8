/** Room for what is made: within a vRNIC's own limits, and in what is left of those that it shares with others. SPEC-CHECKLIST T-40. */
import { Errno, type Refusal } from '../commands.ts';
import type { SharedKind } from '../config.ts';
import { full, refuse } from '../refusal.ts';
import type { Control } from './control.ts';

const WORDS = { qps: 'queue pairs', cqs: 'completion queues', mrs: 'memory regions' } as const;

/** Takes it, or says why there is none: then nothing was taken. */
export function takeRoom({ totals, config }: Control, kind: SharedKind, count = 1): Refusal | undefined {
  const { limits, shared } = config;
  if (totals[kind] + count > limits[kind]) return noRoom(kind, count, 'this vRNIC', limits[kind]);
  if (shared && !shared.take(kind, count)) return noRoom(kind, count, shared.holder, shared.most(kind));
  totals[kind] += count;
  return undefined;
}

export function giveRoom({ totals, config }: Control, kind: SharedKind, count = 1): void {
  totals[kind] -= count;
  config.shared?.giveBack(kind, count);
}

/** As many as there can be when nobody else has any. */
export const mostOf = ({ config: { limits, shared } }: Control, kind: SharedKind): number =>
  Math.min(limits[kind], shared?.most(kind) ?? Number.POSITIVE_INFINITY);

function noRoom(kind: SharedKind, count: number, holder: string, most: number): Refusal {
  if (kind !== 'registeredBytes') return full(WORDS[kind], most, holder);
  const reason = `registering ${count} octets more would pass the limit of ${most} of ${holder}`;
  return refuse(Errno.ENOMEM, reason, 'length');
}
