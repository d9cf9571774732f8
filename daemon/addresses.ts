/** Addresses and prefixes as people write them. */
import type { Prefix } from '../vswitch/model.ts';
import * as Gid from '../wire/gid.ts';
import { gidText, toGid } from '../workers/linux/netdev.ts';

const IPV4_PREFIX_BITS = 96;

/** Of one, not of a group or of nobody. */
export function isUnicast(text: string): boolean {
  const gid = toGid(text);
  return !Gid.isAny(gid) && !Gid.isMulticast(gid);
}

/** Of the many ways to write an address, one. */
export const canonical = (text: string): string => gidText(toGid(text));

/** `any`, an address, or `address/bits`. */
export function toPrefix(text: string): Prefix {
  if (text === 'any') return { address: new Uint8Array(16), bits: 0 };
  const [address = '', bits] = text.split('/');
  const offset = address.includes(':') ? 0 : IPV4_PREFIX_BITS;
  return { address: toGid(address), bits: bits === undefined ? 128 : offset + Number(bits) };
}

export function prefixText({ address, bits }: Prefix): string {
  if (bits === 0) return 'any';
  const text = gidText(address);
  if (bits === 128) return text;
  return `${text}/${text.includes(':') ? bits : bits - IPV4_PREFIX_BITS}`;
}
