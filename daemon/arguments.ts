/** Arguments of the command, checked: what is wrong is said in the words of the flag. */
import { InvalidArgumentError } from 'commander';
import { isAddress } from './address-syntax.ts';
import { parseRate, parseSize } from './rates.ts';

/** A whole number in least … most, decimal or 0x-hexadecimal. */
export const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (/^(0x[0-9a-f]+|\d+)$/i.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`must be a whole number, ${least} … ${most}`);
  };

/** A number in least … most. */
export const number =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text !== '' && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`must be a number, ${least} … ${most}`);
  };

export function addressArgument(text: string): string {
  if (isAddress(text)) return text;
  throw new InvalidArgumentError('must be an IPv4 or IPv6 address');
}

/** Which tenant a command looks at: names begin with a letter. */
export const tenantOrVni = (text: string): { tenant: string } | { vni: number } =>
  /^\d+$/.test(text) ? { vni: Number(text) } : { tenant: text };

const parsed =
  (parse: (text: string) => number, example: string) =>
  (text: string): number => {
    const value = parse(text);
    if (value > 0) return value;
    throw new InvalidArgumentError(`must be such as ${example}`);
  };
export const rateArgument = parsed(parseRate, '100mbit');
export const sizeArgument = parsed(parseSize, '64kb');
