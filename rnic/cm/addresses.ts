/** IP addresses in the 16 octets of a GID, as the connection manager compares and chooses them. */
import * as Gid from '../../wire/gid.ts';
import type { GidEntry } from '../config.ts';

const isIpv4Loopback = (address: Uint8Array): boolean => Gid.isMappedIpv4(address) && address[12] === 127;

export const gidIndexOf = (gids: readonly GidEntry[], address: Uint8Array): number =>
  gids.findIndex(({ gid }) => Gid.isSame(gid, address));

/** Which of our addresses goes with a destination: itself where it is ours, else one of its kind. -1: none. */
export function sourceIndexFor(gids: readonly GidEntry[], destination: Uint8Array): number {
  const own = gidIndexOf(gids, destination);
  if (own >= 0) return own;
  return gids.findIndex(({ gid }) => {
    if (Gid.isAny(gid) || Gid.isMappedIpv4(gid) !== Gid.isMappedIpv4(destination)) return false;
    return (
      Gid.isMappedIpv4(gid) || Gid.isMulticast(destination) || Gid.isLinkLocal(gid) === Gid.isLinkLocal(destination)
    );
  });
}

/** 127.0.0.1 is where the vRNIC itself is. */
export function withoutLoopback(gids: readonly GidEntry[], address: Uint8Array): Uint8Array {
  if (!isIpv4Loopback(address)) return address;
  return gids.find(({ gid }) => Gid.isMappedIpv4(gid) && !Gid.isAny(gid))?.gid ?? address;
}

/** As IP private data has it: an IPv4 address in the last four octets, zeros before. */
export function toPrivateData(address: Uint8Array): Uint8Array {
  const octets = Uint8Array.from(address);
  if (Gid.isMappedIpv4(address)) octets.fill(0, 0, 12);
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
