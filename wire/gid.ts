/** A GID: 16 octets, an IPv6 address or an IPv4 address mapped into one (::ffff:a.b.c.d). IBA Vol. 1, A17.4.5.2; RFC 4291. */

export const BYTES = 16;

export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < BYTES; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function isMappedIpv4(gid: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (gid[i] !== 0) return false;
  return gid[10] === 0xff && gid[11] === 0xff;
}

/** Of an IPv4 address, four octets. */
export const ofIpv4 = (address: Uint8Array): Uint8Array =>
  Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address);

/** `::`: no address, or a place in a table that nothing has. */
export function isZero(gid: Uint8Array): boolean {
  for (let i = 0; i < BYTES; i++) if (gid[i] !== 0) return false;
  return true;
}

/** `::` or 0.0.0.0: whatever address there is. */
export function isAny(gid: Uint8Array): boolean {
  for (let i = isMappedIpv4(gid) ? 12 : 0; i < BYTES; i++) if (gid[i] !== 0) return false;
  return true;
}

export const isLinkLocal = (gid: Uint8Array): boolean => gid[0] === 0xfe && (gid[1]! & 0xc0) === 0x80;

/** ff00::/8, or 224.0.0.0/4 mapped. */
export const isMulticast = (gid: Uint8Array): boolean =>
  isMappedIpv4(gid) ? (gid[12]! & 0xf0) === 0xe0 : gid[0] === 0xff;

/** The link-local address that a MAC makes. RFC 4291, appendix A. */
export const linkLocalOf = (mac: Uint8Array): Uint8Array =>
  Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0]! ^ 2, mac[1]!, mac[2]!, 0xff, 0xfe, mac[3]!, mac[4]!, mac[5]!);
