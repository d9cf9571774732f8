/** What Node does not do on unix sockets: who is at the other end, and descriptors that travel with a message. unix(7). */
import { Arena } from './arena.ts';
import * as Linux from './constants.ts';
import * as Libc from './libc.ts';

export interface PeerCredentials {
  /** As this process's namespace numbers it. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** struct ucred. */
const CREDENTIALS_BYTES = 12;
const option = new Arena(32);

/** Who connected, as the kernel knows it. @throws SystemError */
export function peerCredentials(fd: number): PeerCredentials {
  option.setPointer(16, CREDENTIALS_BYTES);
  const { address, view } = option;
  Libc.check(Libc.getsockopt(fd, Linux.SOL_SOCKET, Linux.SO_PEERCRED, address, address + 16), 'SO_PEERCRED');
  return { pid: view.getInt32(0, true), uid: view.getUint32(4, true), gid: view.getUint32(8, true) };
}

/** A descriptor of the process that connected (pidfd_open(2)). Kernels before 6.5 are asked by number, which the caller's socket keeps true while it is open. @throws SystemError */
export function peerPidfd(fd: number, pid: number): number {
  option.setPointer(16, 4);
  const { address, view } = option;
  if (Libc.getsockopt(fd, Linux.SOL_SOCKET, Linux.SO_PEERPIDFD, address, address + 16) === 0)
    return view.getInt32(0, true);
  return Libc.check(Libc.syscall2(Linux.SYS_PIDFD_OPEN, pid, 0), `pidfd_open of process ${pid}`);
}

/** A pipe: [read end, blocking; write end, not]. @throws SystemError */
export function openPipe(roomBytes: number): [number, number] {
  Libc.check(Libc.pipe2(option.address, Linux.O_CLOEXEC | Linux.O_NONBLOCK), 'pipe2');
  const read = option.view.getInt32(0, true);
  const write = option.view.getInt32(4, true);
  Libc.fcntl(read, Linux.F_SETFL, 0);
  Libc.fcntl(write, Linux.F_SETPIPE_SZ, roomBytes); // where the user's share of pipe memory is spent, it stays as large as it is
  return [read, write];
}

/** struct msghdr 0 … 56, struct iovec 56 … 72, ancillary data from 72 on; then the message. */
const IOVEC = 56;
const CONTROL = 72;
const MESSAGE = 128;
const message = new Arena(MESSAGE + 4096);

/**
 * Sends octets and descriptors in one message without waiting; the descriptors stay the caller's.
 * @returns octets that were sent: all of them, or -1 when the socket had no room (or is broken).
 * @param octets at most 4096; @param fds at most 4.
 */
export function sendDescriptors(fd: number, octets: Uint8Array, fds: readonly number[]): number {
  const { address, view, bytes } = message;
  bytes.fill(0, 0, MESSAGE);
  bytes.set(octets, MESSAGE);
  message.setPointer(16, address + IOVEC);
  message.setPointer(24, 1);
  message.setPointer(32, address + CONTROL);
  message.setPointer(40, 16 + Math.ceil((4 * fds.length) / 8) * 8);
  message.setPointer(IOVEC, address + MESSAGE);
  message.setPointer(IOVEC + 8, octets.length);
  message.setPointer(CONTROL, 16 + 4 * fds.length);
  view.setInt32(CONTROL + 8, Linux.SOL_SOCKET, true);
  view.setInt32(CONTROL + 12, Linux.SCM_RIGHTS, true);
  for (const [i, one] of fds.entries()) view.setInt32(CONTROL + 16 + 4 * i, one, true);
  const sent = Libc.sendmsg(fd, address, Linux.MSG_DONTWAIT | Linux.MSG_NOSIGNAL);
  return sent === octets.length ? sent : -1;
}

/**
 * The next message of a unix socket, with the descriptors that came along, without waiting; the descriptors are the caller's from now on.
 * @returns no octets when the other end has closed; undefined when nothing is there yet. @throws SystemError
 */
export function receiveDescriptors(fd: number): { octets: Buffer; fds: number[] } | undefined {
  const { address, view, bytes } = message;
  bytes.fill(0, 0, MESSAGE);
  message.setPointer(16, address + IOVEC);
  message.setPointer(24, 1);
  message.setPointer(32, address + CONTROL);
  message.setPointer(40, MESSAGE - CONTROL);
  message.setPointer(IOVEC, address + MESSAGE);
  message.setPointer(IOVEC + 8, bytes.length - MESSAGE);
  const received = Libc.recvmsg(fd, address, Linux.MSG_DONTWAIT | Linux.MSG_CMSG_CLOEXEC);
  if (received === -1 && Libc.errno() === Linux.EAGAIN) return undefined;
  Libc.check(received, 'recvmsg');
  const hasRights = message.pointer(40) > 16 && view.getInt32(CONTROL + 12, true) === Linux.SCM_RIGHTS;
  const count = hasRights ? (message.pointer(CONTROL) - 16) / 4 : 0;
  const fds = Array.from({ length: count }, (_, i) => view.getInt32(CONTROL + 16 + 4 * i, true));
  return { octets: Buffer.from(bytes.subarray(MESSAGE, MESSAGE + received)), fds };
}
