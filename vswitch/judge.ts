/** Whether one address of a tenant may send to another: its rules, asked when a connection is made, for what passes the switch, and once more whenever they change. */
import type { Prefix, Rule, TransportName } from './model.ts';
import { Transport } from './transport.ts';

export interface Verdict {
  readonly isAllowed: boolean;
  /** Which rule said so; absent where none matched. */
  readonly rule?: string;
}

/** Where the question is asked: at the endpoint that the traffic leaves (`out`), or at the one that it comes to (`in`). */
export type Direction = 'in' | 'out';

const KINDS: Readonly<Record<TransportName, Transport>> = {
  rc: Transport.RC,
  uc: Transport.UC,
  ud: Transport.UD,
  cm: Transport.CM,
};

export function contains({ address, bits }: Prefix, other: Uint8Array): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== other[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((address[whole]! ^ other[whole]!) & (0xff << (8 - rest)) & 0xff) === 0;
}

/** What `source` sends to `destination`. Of two rules of one priority that both match, a denial counts. */
export function judge(
  rules: readonly Rule[],
  source: Uint8Array,
  destination: Uint8Array,
  direction: Direction,
  transport: Transport,
): Verdict {
  if (transport === Transport.UNCLEAR) return judgeAll(rules, source, destination, direction);
  let best: Rule | undefined;
  for (const rule of rules) {
    if (best && (rule.priority < best.priority || (rule.priority === best.priority && rule.action === 'allow')))
      continue;
    if (!covers(rule, direction, transport)) continue;
    if (contains(rule.source, source) && contains(rule.destination, destination)) best = rule;
  }
  return best ? { isAllowed: best.action === 'allow', rule: best.id } : { isAllowed: true };
}

function covers(rule: Rule, direction: Direction, transport: Transport): boolean {
  const { direction: side = 'both', transport: kind = 'any' } = rule;
  return (side === 'both' || side === direction) && (kind === 'any' || transport === KINDS[kind]);
}

/** Allowed where every transport is. */
function judgeAll(rules: readonly Rule[], from: Uint8Array, to: Uint8Array, direction: Direction): Verdict {
  let verdict: Verdict = { isAllowed: true };
  for (let transport: number = Transport.RC; transport <= Transport.OTHER && verdict.isAllowed; transport++)
    verdict = judge(rules, from, to, direction, transport as Transport);
  return verdict;
}
