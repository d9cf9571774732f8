/** Whether two addresses of a tenant may talk: its rules, asked once for each connection and once more whenever they change. */
import type { Prefix, Rule } from './model.ts';

export interface Verdict {
  readonly isAllowed: boolean;
  /** Which rule said so; absent where none matched. */
  readonly rule?: string;
}

export function contains({ address, bits }: Prefix, other: Uint8Array): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== other[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((address[whole]! ^ other[whole]!) & (0xff << (8 - rest)) & 0xff) === 0;
}

/** Of two rules of one priority that both match, a denial counts. */
export function judge(rules: readonly Rule[], source: Uint8Array, destination: Uint8Array): Verdict {
  let best: Rule | undefined;
  for (const rule of rules) {
    if (best && (rule.priority < best.priority || (rule.priority === best.priority && rule.action === 'allow')))
      continue;
    if (contains(rule.source, source) && contains(rule.destination, destination)) best = rule;
  }
  return best ? { isAllowed: best.action === 'allow', rule: best.id } : { isAllowed: true };
}
