/** The GID table of a vRNIC that lives on an interface's own addresses. An address keeps its index for as long as it is there, as in the kernel's table. */
import { isLinkLocal, linkLocalOf } from './linux/netdev.ts';

const UNUSED = new Uint8Array(16);

export const sameGid = (a: Uint8Array, b: Uint8Array): boolean => a.every((octet, i) => octet === b[i]);
export const isUnused = (gid: Uint8Array): boolean => sameGid(gid, UNUSED);

/**
 * The table after the interface's addresses have become `addresses`. Entry 0 is the link-local address, that of the MAC while the interface has none. Entries whose
 * address went are all zero, until another takes the place.
 */
export function gidTable(
  known: readonly Uint8Array[],
  addresses: readonly Uint8Array[],
  mac: Uint8Array,
): Uint8Array[] {
  const first = addresses.find(isLinkLocal) ?? linkLocalOf(mac);
  const others = addresses.filter((address) => !sameGid(address, first));
  const isThere = (gid: Uint8Array): boolean => others.some((address) => sameGid(address, gid));
  const table = [first, ...known.slice(1).map((gid) => (isThere(gid) ? gid : UNUSED))];
  for (const address of others) {
    if (table.some((gid) => sameGid(gid, address))) continue;
    const place = table.findIndex(isUnused);
    if (place > 0) table[place] = address;
    else table.push(address);
  }
  while (table.length > 1 && isUnused(table.at(-1)!)) table.pop();
  return table;
}
