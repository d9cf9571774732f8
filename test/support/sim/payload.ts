/** Random payloads out of a source that never changes. */
import { SendFlag } from '../../../rnic/constants.ts';
import type { SimHost } from './host.ts';
import type { Random } from './random.ts';
import type { SendRequest, SgeValue } from './work.ts';

const MOST_INLINE_BYTES = 100;

export interface Payload {
  readonly parts: Pick<SendRequest, 'sges' | 'inline' | 'flags'>;
  readonly octets: Uint8Array;
}

/** Up to three elements, some of them empty. */
export function splitSges(host: SimHost, at: number, length: number, random: Random): SgeValue[] {
  const first = random.below(length + 1);
  const second = random.below(length - first + 1);
  const third = length - first - second;
  return [host.sge(at, first), host.sge(at + first, second), host.sge(at + first + second, third)];
}

/** `length` octets from somewhere in the source: inline when they are few, sometimes. */
export function payloadOf(
  host: SimHost,
  sourceAt: number,
  sourceBytes: number,
  length: number,
  flags: number,
  random: Random,
): Payload {
  const at = sourceAt + random.below(sourceBytes - length);
  const octets = host.bytes.subarray(at, at + length);
  if (length > MOST_INLINE_BYTES || random.chance(0.5))
    return { parts: { sges: splitSges(host, at, length, random), flags }, octets };
  return { parts: { inline: octets.slice(), flags: flags | SendFlag.INLINE }, octets };
}

/** Lengths at which something changes, and some between. */
export function lengthOf(mtu: number, most: number, random: Random): number {
  const lengths = [0, 1, 3, 8, 64, mtu - 1, mtu, mtu + 1, 3 * mtu, random.below(300), random.below(5000)];
  lengths.push(random.below(Math.max(1, most)));
  return Math.min(random.pick(lengths), most);
}
