/**
 * Holds UDP port 4791 of an address, and reads nothing: without a socket there the kernel would answer each RoCE packet with "port unreachable".
 * A filter that drops everything keeps its queue empty.
 */
import * as Gid from '../../wire/gid.ts';
import * as Bpf from '../linux/bpf.ts';
import * as Linux from '../linux/constants.ts';
import { closeOwned } from '../linux/descriptors.ts';
import { bindInet, openSocket, setOption } from '../linux/socket.ts';
import { SystemError } from '../linux/system-error.ts';

export const ROCE_PORT = 4791;

/** Not ours, held already by somebody, or on an interface that has just gone: then the kernel has no reason to answer, or does not. */
const FINE: readonly number[] = [Linux.EADDRNOTAVAIL, Linux.EADDRINUSE, Linux.ENODEV];

/** @param address 16 octets. @returns the socket; -1 when this host needs none for that address. @throws SystemError */
export function guardUdpPort(address: Uint8Array, interfaceIndex: number): number {
  const isIpv4 = Gid.isMappedIpv4(address);
  try {
    return openSocket(isIpv4 ? Linux.AF_INET : Linux.AF_INET6, Linux.SOCK_DGRAM, 0, (fd) => {
      setOption(fd, Linux.SOL_SOCKET, Linux.SO_REUSEADDR, 1);
      // Else the kernel would take each super-frame apart before the filter drops the pieces.
      setOption(fd, Linux.IPPROTO_UDP, Linux.UDP_GRO, 1);
      new Bpf.Filter().drop().attach(fd);
      bindInet(fd, isIpv4 ? address.subarray(12) : address, ROCE_PORT, isIpv4 ? 0 : scopeOf(address, interfaceIndex));
    });
  } catch (error) {
    if (error instanceof SystemError && FINE.includes(error.errno)) return -1;
    throw error;
  }
}

const scopeOf = (address: Uint8Array, index: number): number => (Gid.isLinkLocal(address) ? index : 0);

export function releaseGuards(guards: readonly number[]): void {
  for (const fd of guards) if (fd >= 0) closeOwned(fd);
}
