/** Which texts are addresses and prefixes. */
import { isIP } from 'node:net';

/** Of one interface: neither a prefix nor with a zone. */
export const isAddress = (text: string): boolean => isIP(text) !== 0 && !text.includes('%');

export function isPrefix(text: string): boolean {
  if (text === 'any') return true;
  const [address = '', bits, ...more] = text.split('/');
  if (more.length > 0 || !isAddress(address)) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (address.includes(':') ? 128 : 32));
}
