/** Addresses and keys as people write them. */
import { Address6 } from 'ip-address';

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** `52:54:00:00:00:01`, from the first two octets and the last four. */
export const mac = (hi: number, lo: number): string => (hex(hi, 4) + hex(lo, 8)).replace(/..(?=.)/g, '$&:');

/** `192.0.2.1`, from a 32-bit number. */
export const ipv4 = (address: number): string =>
  [address >>> 24, (address >>> 16) & 0xff, (address >>> 8) & 0xff, address & 0xff].join('.');

/** `fe80::1`, from 16 octets; `::ffff:192.0.2.1` for an IPv4-mapped one. */
export function ipv6(octets: ArrayLike<number>): string {
  const address = Address6.fromByteArray(Array.from(octets));
  return address.isMapped4() ? address.to4in6() : address.correctForm();
}

/** `0x0123…`, 8 hexadecimal digits. */
export const hex32 = (value: number): string => `0x${hex(value, 8)}`;

/** `0x0123…`, 16 hexadecimal digits, from two halves. */
export const hex64 = (hi: number, lo: number): string => `0x${hex(hi, 8)}${hex(lo, 8)}`;
