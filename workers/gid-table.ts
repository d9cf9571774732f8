/** The GID table of a vRNIC that lives on an interface's own addresses. An address keeps its index for as long as it is there, as in the kernel's table. */
import * as Gid from '../wire/gid.ts';

/**
 * The table after the interface's addresses have become `addresses`. Entry 0 is the link-local address, that of the MAC while the interface has none. Entries whose
 * address went are all zero, until another takes the place.
 */
export function gidTable(
  known: readonly Uint8Array[],
  addresses: readonly Uint8Array[],
  mac: Uint8Array,
): Uint8Array[] {
  const first = addresses.find(Gid.isLinkLocal) ?? Gid.linkLocalOf(mac);
  const others = addresses.filter((address) => !Gid.isSame(address, first));
  const isThere = (gid: Uint8Array): boolean => others.some((address) => Gid.isSame(address, gid));
  const table = [first, ...known.slice(1).map((gid) => (isThere(gid) ? gid : new Uint8Array(Gid.BYTES)))];
  for (const address of others) {
    if (table.some((gid) => Gid.isSame(gid, address))) continue;
    const place = table.findIndex(Gid.isZero);
    if (place > 0) table[place] = address;
    else table.push(address);
  }
  while (table.length > 1 && Gid.isZero(table.at(-1)!)) table.pop();
  return table;
}
