/**
 * The C library calls that the workers make, bound once. Pointers are plain numbers (addresses of an Arena): a call allocates nothing.
 * They answer as in C: -1 and `errno()`. `check` turns that into an exception where there is no data path to disturb.
 */
import koffi from 'koffi';
import { SystemError } from './system-error.ts';

type Call = (...args: number[]) => number;

const library = koffi.load(null);
const bind = (name: string, result: string, ...parameters: string[]): Call =>
  library.func(name, result, parameters) as unknown as Call;

export const errno = (): number => koffi.errno();

export const socket = bind('socket', 'int', 'int', 'int', 'int');
export const close = bind('close', 'int', 'int');
export const connect = bind('connect', 'int', 'int', 'uint64_t', 'uint32_t');
export const bindSocket = bind('bind', 'int', 'int', 'uint64_t', 'uint32_t');
export const setsockopt = bind('setsockopt', 'int', 'int', 'int', 'int', 'uint64_t', 'uint32_t');
export const getsockopt = bind('getsockopt', 'int', 'int', 'int', 'int', 'uint64_t', 'uint64_t');
export const getsockname = bind('getsockname', 'int', 'int', 'uint64_t', 'uint64_t');
/** (fd, buffer, octets, flags) */
export const send = bind('send', 'int64_t', 'int', 'uint64_t', 'uint64_t', 'int');
export const recv = bind('recv', 'int64_t', 'int', 'uint64_t', 'uint64_t', 'int');
/** (fd, mmsghdr *, count, flags, timespec *) */
export const recvmmsg = bind('recvmmsg', 'int', 'int', 'uint64_t', 'uint32_t', 'int', 'uint64_t');
/** (fd, mmsghdr *, count, flags) */
export const sendmmsg = bind('sendmmsg', 'int', 'int', 'uint64_t', 'uint32_t', 'int');
/** (pollfd *, count, timespec *, sigset *) */
export const ppoll = bind('ppoll', 'int', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t');
/** (clock, flags) */
export const timerfdCreate = bind('timerfd_create', 'int', 'int', 'int');
/** (fd, flags, itimerspec *, 0) */
export const timerfdSettime = bind('timerfd_settime', 'int', 'int', 'int', 'uint64_t', 'uint64_t');
/** (clock, timespec *) */
export const clockGettime = bind('clock_gettime', 'int', 'int', 'uint64_t');
export const schedYield = bind('sched_yield', 'int');
export const pread = bind('pread64', 'int64_t', 'int', 'uint64_t', 'uint64_t', 'int64_t');
export const eventfd = bind('eventfd', 'int', 'uint32_t', 'int');
export const read = bind('read', 'int64_t', 'int', 'uint64_t', 'uint64_t');
export const write = bind('write', 'int64_t', 'int', 'uint64_t', 'uint64_t');
/** (ifaddrs **), freeifaddrs(ifaddrs *) */
export const getifaddrs = bind('getifaddrs', 'int', 'uint64_t');
export const freeifaddrs = bind('freeifaddrs', 'void', 'uint64_t');
/** (to, from, octets): a copy between arenas without a view for each. */
export const memcpy = bind('memcpy', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t');
export const fcntl = bind('fcntl', 'int', 'int', 'int', 'int64_t');
/** (fd, operation) */
export const flock = bind('flock', 'int', 'int', 'int');
export const ioctl = bind('ioctl', 'int', 'int', 'uint64_t', 'uint64_t');
export const setns = bind('setns', 'int', 'int', 'int');
export const mmap = bind('mmap', 'int64_t', 'uint64_t', 'uint64_t', 'int', 'int', 'int', 'int64_t');
export const munmap = bind('munmap', 'int', 'uint64_t', 'uint64_t');
export const ftruncate = bind('ftruncate', 'int', 'int', 'int64_t');
/** (name in a zero-terminated arena, flags) */
export const memfdCreate = bind('memfd_create', 'int', 'uint64_t', 'uint32_t');
const VM_TYPES = ['int', ...Array<string>(5).fill('uint64_t')];
/** (pid, iovec *, count, iovec * in that process, count, 0) */
export const processVmReadv = bind('process_vm_readv', 'int64_t', ...VM_TYPES);
export const processVmWritev = bind('process_vm_writev', 'int64_t', ...VM_TYPES);
/** (pid, 0) through syscall(2): the C library's own function is younger than some that we run with. */
export const syscall2 = bind('syscall', 'int64_t', 'int64_t', 'int64_t', 'int64_t');
/** (number, six arguments) */
export const syscall6 = bind('syscall', 'int64_t', ...Array<string>(7).fill('int64_t'));
/** (signal, handler: 0 for the default) */
export const signal = bind('signal', 'uint64_t', 'int', 'uint64_t');
/** (domain, type, protocol, int[2]) */
export const socketpair = bind('socketpair', 'int', 'int', 'int', 'int', 'uint64_t');
/** (int[2], flags) */
export const pipe2 = bind('pipe2', 'int', 'uint64_t', 'int');
/** (fd, msghdr *, flags) */
export const sendmsg = bind('sendmsg', 'int64_t', 'int', 'uint64_t', 'int');
export const recvmsg = bind('recvmsg', 'int64_t', 'int', 'uint64_t', 'int');
/** (option, argument, 0, 0, 0) */
export const prctl = bind('prctl', 'int', 'int', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t');
/** 0 when there is no such interface in this thread's network namespace. */
export const ifNameToIndex = library.func('if_nametoindex', 'uint32_t', ['str']) as unknown as (name: string) => number;

/** Throws SystemError when a call answered -1. @param what names the call and what it was about, for the message. */
export function check(result: number, what: string): number {
  if (result === -1) throw new SystemError(what, errno());
  return result;
}
