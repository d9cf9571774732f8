/** What the kernel says of one network interface, in the network namespace of the calling thread. */
import { Address6 } from 'ip-address';
import * as Gid from '../../wire/gid.ts';
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
  /** Its frames begin with an Ethernet header: the loopback's do, a tunnel's mostly not. */
  readonly isEthernet: boolean;
  /** It is up, and has a carrier. */
  readonly isRunning: boolean;
  /** An end of a veth pair: whoever reads a frame there reads the memory that its sender wrote. */
  readonly isVeth: boolean;
  /** Its addresses, 16 octets each: IPv6, or IPv4-mapped (a GID). Link-local first, then IPv4, then other IPv6. */
  readonly addresses: Uint8Array[];
}

const IFNAMSIZ = 16;
/** ARPHRD_ETHER, ARPHRD_LOOPBACK. */
const ETHERNETS: readonly number[] = [1, 772];
/** struct ifaddrs on 64-bit Linux: next, name, flags, address, … */
const IFADDRS_BYTES = 56;
const IFADDRS_NAME = 8;
const IFADDRS_ADDR = 24;
const ETHTOOL_GDRVINFO = 3;
const DRVINFO_BYTES = 196;

/** @throws Error when there is no such interface; SystemError when the kernel refuses. */
export function readNetdev(name: string): Netdev {
  const index = Libc.ifNameToIndex(name);
  if (index === 0) throw new Error(`no network interface named ${name}`);
  const ifreq = new Arena(40);
  ifreq.bytes.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
  const fd = openSocket(Linux.AF_INET, Linux.SOCK_DGRAM, 0, () => {});
  try {
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFHWADDR, ifreq.address), `MAC of ${name}`);
    const isEthernet = ETHERNETS.includes(ifreq.view.getUint16(IFNAMSIZ, true));
    const mac = ifreq.bytes.slice(18, 24);
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFMTU, ifreq.address), `MTU of ${name}`);
    const mtu = ifreq.view.getInt32(IFNAMSIZ, true);
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFFLAGS, ifreq.address), `flags of ${name}`);
    const isRunning = (ifreq.view.getUint16(IFNAMSIZ, true) & Linux.IFF_RUNNING) !== 0;
    const isVeth = driverOf(fd, ifreq) === 'veth';
    return { name, index, mac, mtu, isEthernet, isRunning, isVeth, addresses: addressesOf(name) };
  } finally {
    closeOwned(fd);
  }
}

/** As readNetdev; undefined when there is none. */
export function findNetdev(name: string): Netdev | undefined {
  try {
    return readNetdev(name);
  } catch {
    return undefined; // it may go at any moment, also between two questions
  }
}

/** Asks once for each name: hundreds of vRNICs look at one interface, and each look is a dozen system calls. */
export function eachOnce(find: typeof findNetdev): typeof findNetdev {
  const known = new Map<string, Netdev | undefined>();
  return (name) => {
    if (!known.has(name)) known.set(name, find(name));
    return known.get(name);
  };
}

/** What drives the interface that `ifreq` names, or nothing: not every driver says (linux/ethtool.h, struct ethtool_drvinfo). */
function driverOf(fd: number, ifreq: Arena): string {
  const info = new Arena(DRVINFO_BYTES);
  info.view.setUint32(0, ETHTOOL_GDRVINFO, true);
  ifreq.setPointer(IFNAMSIZ, info.address);
  return Libc.ioctl(fd, Linux.SIOCETHTOOL, ifreq.address) < 0 ? '' : readName(info.address + 4);
}

/** Link-local IPv6, then IPv4, then what else there is, each in the kernel's order. */
export function addressesOf(name: string): Uint8Array[] {
  const rank = (gid: Uint8Array): number => (Gid.isMappedIpv4(gid) ? 1 : Gid.isLinkLocal(gid) ? 0 : 2);
  return listAddresses(name).sort((a, b) => rank(a) - rank(b));
}

/** Walks getifaddrs' list; Node's own networkInterfaces() leaves out interfaces without a carrier. */
function listAddresses(name: string): Uint8Array[] {
  const list = new Arena(8);
  Libc.check(Libc.getifaddrs(list.address), 'getifaddrs');
  const first = list.pointer(0);
  const found: Uint8Array[] = [];
  const entry = new Arena(IFADDRS_BYTES);
  for (let at = first; at !== 0; at = entry.pointer(0)) {
    Libc.memcpy(entry.address, at, IFADDRS_BYTES);
    const address = entry.pointer(IFADDRS_ADDR);
    if (address !== 0 && readName(entry.pointer(IFADDRS_NAME)) === name) found.push(...readAddress(address));
  }
  Libc.freeifaddrs(first);
  return found;
}

function readName(address: number): string {
  const octets = new Arena(IFNAMSIZ);
  for (let i = 0; i < IFNAMSIZ; i++) {
    Libc.memcpy(octets.address + i, address + i, 1);
    if (octets.bytes[i] === 0) return Buffer.from(octets.bytes.slice(0, i)).toString();
  }
  return '';
}

/** A sockaddr_in or sockaddr_in6 as a GID; nothing for other families. */
function readAddress(address: number): Uint8Array[] {
  const octets = new Arena(28);
  Libc.memcpy(octets.address, address, 2);
  const family = octets.view.getUint16(0, true);
  if (family !== Linux.AF_INET && family !== Linux.AF_INET6) return [];
  Libc.memcpy(octets.address, address, family === Linux.AF_INET ? 16 : 28);
  if (family === Linux.AF_INET6) return [octets.bytes.slice(8, 24)];
  return [Gid.ofIpv4(octets.bytes.subarray(4, 8))];
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

/** As people write it. */
export function gidText(gid: Uint8Array): string {
  if (Gid.isMappedIpv4(gid)) return gid.subarray(12).join('.');
  return Address6.fromUnsignedByteArray([...gid]).correctForm();
}
