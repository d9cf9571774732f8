/** IP addresses in the 16 octets of a GID, as the connection manager compares and chooses them. */
import type { GidEntry } from '../config.ts';

export const isAny = (address: Uint8Array): boolean => {
  for (let i = isIpv4(address) ? 12 : 0; i < 16; i++) if (address[i] !== 0) return false;
  return true;
};

export const isIpv4 = (address: Uint8Array): boolean => {
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
};

const isLinkLocal = (address: Uint8Array): boolean => address[0] === 0xfe && (address[1]! & 0xc0) === 0x80;
export const isMulticast = (address: Uint8Array): boolean =>
  isIpv4(address) ? (address[12]! & 0xf0) === 0xe0 : address[0] === 0xff;
const isIpv4Loopback = (address: Uint8Array): boolean => isIpv4(address) && address[12] === 127;

export const sameAddress = (a: Uint8Array, b: Uint8Array): boolean => {
  for (let i = 0; i < 16; i++) if (a[i] !== b[i]) return false;
  return true;
};

export const gidIndexOf = (gids: readonly GidEntry[], address: Uint8Array): number =>
  gids.findIndex(({ gid }) => sameAddress(gid, address));

/** Which of our addresses goes with a destination: itself where it is ours, else one of its kind. -1: none. */
export function sourceIndexFor(gids: readonly GidEntry[], destination: Uint8Array): number {
  const own = gidIndexOf(gids, destination);
  if (own >= 0) return own;
  return gids.findIndex(({ gid }) => {
    if (isAny(gid) || isIpv4(gid) !== isIpv4(destination)) return false;
    return isIpv4(gid) || isMulticast(destination) || isLinkLocal(gid) === isLinkLocal(destination);
  });
}

/** 127.0.0.1 is where the vRNIC itself is. */
export function withoutLoopback(gids: readonly GidEntry[], address: Uint8Array): Uint8Array {
  if (!isIpv4Loopback(address)) return address;
  return gids.find(({ gid }) => isIpv4(gid) && !isAny(gid))?.gid ?? address;
}

/** As IP private data has it: an IPv4 address in the last four octets, zeros before. */
export function toPrivateData(address: Uint8Array): Uint8Array {
  const octets = Uint8Array.from(address);
  if (isIpv4(address)) octets.fill(0, 0, 12);
  return octets;
}

export function fromPrivateData(octets: Uint8Array, ipVersion: number): Uint8Array {
  const address = Uint8Array.from(octets);
  if (ipVersion === 4) {
    address.fill(0, 0, 10);
    address.fill(0xff, 10, 12);
  }
  return address;
}
