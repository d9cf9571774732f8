/** Interfaces that the daemon attaches tenants' machines by: made where they are missing, made ready, and kept from the host's own network stack. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { Arena } from './arena.ts';
import * as Linux from './constants.ts';
import { closeOwned } from './descriptors.ts';
import * as Libc from './libc.ts';
import { enterNetworkNamespace } from './namespace.ts';
import { openSocket } from './socket.ts';

const NAME_BYTES = 16;
const IFREQ_BYTES = 40;

function ifreq(name: string): Arena {
  const request = new Arena(IFREQ_BYTES);
  request.bytes.set(new TextEncoder().encode(name).subarray(0, NAME_BYTES - 1));
  return request;
}

/** Runs it with the calling thread in a network namespace, for what is opened there; the thread comes back in any case. */
export function inNamespace<T>(path: string | undefined, run: () => T): T {
  if (path === undefined) return run();
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    enterNetworkNamespace(path);
    try {
      return run();
    } finally {
      Libc.check(Libc.setns(home, Linux.CLONE_NEWNET), 'setns back');
    }
  } finally {
    closeSync(home);
  }
}

/** A tap that stays when the daemon ends, for a virtual machine to open; false when there is an interface of that name already. @throws SystemError, or the error of open. */
export function ensureTap(name: string): boolean {
  if (Libc.ifNameToIndex(name) !== 0) return false;
  withTap(name, (fd) => Libc.check(Libc.ioctl(fd, Linux.TUNSETPERSIST, 1), `tap ${name}`));
  return true;
}

/** Removes a tap that was made here, unless a machine has it open. */
export function removeTap(name: string): void {
  try {
    withTap(name, (fd) => Libc.ioctl(fd, Linux.TUNSETPERSIST, 0));
  } catch {
    // In use: its user's now.
  }
}

function withTap(name: string, use: (fd: number) => void): void {
  const fd = openSync('/dev/net/tun', 'r+');
  try {
    const request = ifreq(name);
    request.view.setUint16(NAME_BYTES, Linux.IFF_TAP | Linux.IFF_NO_PI, true);
    Libc.check(Libc.ioctl(fd, Linux.TUNSETIFF, request.address), `tap ${name}`);
    use(fd);
  } finally {
    closeSync(fd);
  }
}

/** Its MTU, and up. @throws SystemError: no such interface, no CAP_NET_ADMIN, an MTU that it cannot have. */
export function bringUp(name: string, mtu: number): void {
  const request = ifreq(name);
  const fd = openSocket(Linux.AF_INET, Linux.SOCK_DGRAM, 0, () => {});
  try {
    request.view.setInt32(NAME_BYTES, mtu, true);
    Libc.check(Libc.ioctl(fd, Linux.SIOCSIFMTU, request.address), `MTU ${mtu} of ${name}`);
    Libc.check(Libc.ioctl(fd, Linux.SIOCGIFFLAGS, request.address), `flags of ${name}`);
    request.view.setUint16(NAME_BYTES, request.view.getUint16(NAME_BYTES, true) | Linux.IFF_UP, true);
    Libc.check(Libc.ioctl(fd, Linux.SIOCSIFFLAGS, request.address), `${name} up`);
  } finally {
    closeOwned(fd);
  }
}

/**
 * The host sees every frame of the interface, too: it must not answer a tenant's ARP, speak IPv6 to it, or take its packets. A packet whose source the host would
 * not send to by this interface is dropped by strict reverse path filtering, and the host sends to nobody by it.
 */
export function isolate(name: string): void {
  set(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  set(`/proc/sys/net/ipv4/conf/${name}/arp_ignore`, '8');
  set(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '1');
}

function set(path: string, value: string): void {
  try {
    writeFileSync(path, value);
  } catch {
    // A kernel without IPv6, or a /proc/sys that may not be written: nothing of the tenant depends on it.
  }
}
