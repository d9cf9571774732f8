/** Sockets as the ports need them: opened, given options and bound from numbers, closed on every failing path. Control path: failures throw SystemError. */
import { ipv6 } from '../../wire/text.ts';
import { Arena } from './arena.ts';
import * as Linux from './constants.ts';
import { closeOwned, own } from './descriptors.ts';
import * as Libc from './libc.ts';

/** sockaddr_storage. */
export const ADDRESS_BYTES = 128;
const scratch = new Arena(ADDRESS_BYTES + 16);

/** Runs `prepare` on a new socket; closes it again if that throws. To be closed with `closeOwned`. */
export function openSocket(family: number, type: number, protocol: number, prepare: (fd: number) => void): number {
  const flags = Linux.SOCK_NONBLOCK | Linux.SOCK_CLOEXEC;
  const what = family === Linux.AF_PACKET ? 'packet socket (for root, or CAP_NET_RAW)' : `socket of family ${family}`;
  const fd = own(Libc.check(Libc.socket(family, type | flags, protocol), what));
  try {
    prepare(fd);
  } catch (error) {
    closeOwned(fd);
    throw error;
  }
  return fd;
}

/** Prepares a socket that somebody else has opened, and owns it from here on, also if that throws: then it is closed. */
export function adoptSocket(fd: number, prepare: (fd: number) => void): number {
  own(fd);
  try {
    prepare(fd);
  } catch (error) {
    closeOwned(fd);
    throw error;
  }
  return fd;
}

/** setsockopt with an int. False and errno when refused. */
export function setOption(fd: number, level: number, option: number, value: number): boolean {
  scratch.view.setInt32(0, value, true);
  return Libc.setsockopt(fd, level, option, scratch.address, 4) === 0;
}

export function requireOption(fd: number, level: number, option: number, value: number, what: string): void {
  if (!setOption(fd, level, option, value)) Libc.check(-1, what);
}

/** Takes an error off a socket that somebody else would be told: that its interface went down. */
export function clearError(fd: number): void {
  scratch.setPointer(ADDRESS_BYTES, 4);
  Libc.getsockopt(fd, Linux.SOL_SOCKET, Linux.SO_ERROR, scratch.address, scratch.address + ADDRESS_BYTES);
}

/**
 * For frames that wait until a worker has its core: a tenth of a second of what one sends, for UC and UD have nobody who tells the sender to wait, and many vRNICs may
 * share a socket. The kernel doubles it, and takes the memory only while they do.
 */
export const RECEIVE_BUFFER_BYTES = 64 << 20;
export const SEND_BUFFER_BYTES = 16 << 20;

/** A buffer past the system's limit needs CAP_NET_ADMIN; without it as much as the limit allows. */
export function setBuffers(fd: number, receiveBytes: number, sendBytes: number): void {
  if (!setOption(fd, Linux.SOL_SOCKET, Linux.SO_RCVBUFFORCE, receiveBytes))
    setOption(fd, Linux.SOL_SOCKET, Linux.SO_RCVBUF, receiveBytes);
  if (!setOption(fd, Linux.SOL_SOCKET, Linux.SO_SNDBUFFORCE, sendBytes))
    setOption(fd, Linux.SOL_SOCKET, Linux.SO_SNDBUF, sendBytes);
}

/** sockaddr_in for 4 octets, sockaddr_in6 for 16. Returns its octets. */
export function writeInetAddress(view: DataView, at: number, address: Uint8Array, port: number, scope = 0): number {
  const isIpv6 = address.length === 16;
  for (let i = 0; i < 28; i += 4) view.setUint32(at + i, 0);
  view.setUint16(at, isIpv6 ? Linux.AF_INET6 : Linux.AF_INET, true);
  view.setUint16(at + 2, port);
  for (const [i, octet] of address.entries()) view.setUint8(at + (isIpv6 ? 8 : 4) + i, octet);
  if (isIpv6) view.setUint32(at + 24, scope, true);
  return isIpv6 ? 28 : 16;
}

export function bindInet(fd: number, address: Uint8Array, port: number, scope = 0): void {
  const bytes = writeInetAddress(scratch.view, 0, address, port, scope);
  if (Libc.bindSocket(fd, scratch.address, bytes) === 0) return;
  const text = address.length === 4 ? address.join('.') : `[${ipv6(address)}]`;
  Libc.check(-1, `bind to ${text}:${port} (UDP)`);
}

/** The UDP port that a bound socket has. */
export function boundPort(fd: number): number {
  scratch.setPointer(ADDRESS_BYTES, ADDRESS_BYTES);
  Libc.check(Libc.getsockname(fd, scratch.address, scratch.address + ADDRESS_BYTES), 'getsockname');
  return scratch.view.getUint16(2);
}

/** sockaddr_ll: every protocol, one interface. */
export function bindPacket(fd: number, interfaceIndex: number): void {
  for (let i = 0; i < 20; i += 4) scratch.view.setUint32(i, 0);
  scratch.view.setUint16(0, Linux.AF_PACKET, true);
  scratch.view.setUint16(2, Linux.ETH_P_ALL);
  scratch.view.setInt32(4, interfaceIndex, true);
  Libc.check(Libc.bindSocket(fd, scratch.address, 20), `bind a packet socket to interface ${interfaceIndex}`);
}

/** packet_mreq: PACKET_MR_PROMISC or PACKET_MR_ALLMULTI, undone by closing the socket. */
export function joinPackets(fd: number, interfaceIndex: number, type: number): void {
  for (let i = 0; i < 16; i += 4) scratch.view.setUint32(i, 0);
  scratch.view.setInt32(0, interfaceIndex, true);
  scratch.view.setUint16(4, type, true);
  const refused = Libc.setsockopt(fd, Linux.SOL_PACKET, Linux.PACKET_ADD_MEMBERSHIP, scratch.address, 16);
  Libc.check(refused, 'PACKET_ADD_MEMBERSHIP');
}

/** Packets dropped since the last call (tpacket_stats; reading clears it). */
export function packetDrops(fd: number): number {
  scratch.setPointer(ADDRESS_BYTES, 8);
  const length = scratch.address + ADDRESS_BYTES;
  if (Libc.getsockopt(fd, Linux.SOL_PACKET, Linux.PACKET_STATISTICS, scratch.address, length) !== 0) return 0;
  return scratch.view.getUint32(4, true);
}
