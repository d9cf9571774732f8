/** What the kernel says of one network interface, in the network namespace of the calling thread. */
import { networkInterfaces } from 'node:os';
import { Address6 } from 'ip-address';
import { Arena } from './arena.ts';
import * as Linux from './constants.ts';
import { closeOwned } from './descriptors.ts';
import * as Libc from './libc.ts';
import { openSocket } from './socket.ts';

export interface Netdev {
  readonly name: string;
  readonly index: number;
  /** 6 octets. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly isUp: boolean;
  /** Its addresses, 16 octets each: IPv6, or IPv4-mapped (a GID). Link-local first, then IPv4, then other IPv6. */
  readonly addresses: Uint8Array[];
}

const IFNAMSIZ = 16;

/** @throws Error when there is no such interface; SystemError when the kernel refuses. */
export function readNetdev(name: string): Netdev {
  const index = Libc.ifNameToIndex(name);
  if (index === 0) throw new Error(`no network interface named ${name}`);
  const ifreq = new Arena(40);
  ifreq.bytes.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
  const fd = openSocket(Linux.AF_INET, Linux.SOCK_DGRAM, 0, () => {});
  try {
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFHWADDR, ifreq.address), `MAC of ${name}`);
    const mac = ifreq.bytes.slice(18, 24);
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFMTU, ifreq.address), `MTU of ${name}`);
    const mtu = ifreq.view.getInt32(IFNAMSIZ, true);
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFFLAGS, ifreq.address), `flags of ${name}`);
    const isUp = (ifreq.view.getUint16(IFNAMSIZ, true) & Linux.IFF_UP) !== 0;
    return { name, index, mac, mtu, isUp, addresses: addressesOf(name) };
  } finally {
    closeOwned(fd);
  }
}

function addressesOf(name: string): Uint8Array[] {
  const listed = networkInterfaces()[name] ?? [];
  const rank = (family: string, scope: number): number => (family === 'IPv4' ? 1 : scope !== 0 ? 0 : 2);
  return listed
    .map((entry) => ({ order: rank(entry.family, entry.family === 'IPv6' ? entry.scopeid : 0), text: entry.address }))
    .sort((a, b) => a.order - b.order)
    .map(({ text }) => toGid(text));
}

/** A textual address as 16 octets; IPv4 as ::ffff:a.b.c.d. @throws when it is no address. */
export function toGid(text: string): Uint8Array {
  const full = new Address6(text.includes(':') ? text : `::ffff:${text}`);
  return Uint8Array.from(full.toUnsignedByteArray().length === 16 ? full.toUnsignedByteArray() : padded(full));
}

function padded(address: Address6): number[] {
  const octets = address.toUnsignedByteArray();
  return [...new Array<number>(16 - octets.length).fill(0), ...octets];
}

export const isMappedIpv4 = (gid: Uint8Array): boolean =>
  gid.length === 16 && gid[10] === 0xff && gid[11] === 0xff && gid.subarray(0, 10).every((octet) => octet === 0);

/** As people write it. */
export function gidText(gid: Uint8Array): string {
  if (isMappedIpv4(gid)) return gid.subarray(12).join('.');
  return Address6.fromUnsignedByteArray([...gid]).correctForm();
}
