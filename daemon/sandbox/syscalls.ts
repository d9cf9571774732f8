/** The system calls of x86-64 that the sandbox answers, by number (asm/unistd_64.h), and what is common to those that only name a file. */

export const READ = 0;
export const WRITE = 1;
export const OPEN = 2;
export const CLOSE = 3;
export const STAT = 4;
export const FSTAT = 5;
export const LSTAT = 6;
export const IOCTL = 16;
export const ACCESS = 21;
export const DUP = 32;
export const DUP2 = 33;
export const SOCKET = 41;
export const EXECVE = 59;
export const FCNTL = 72;
export const READLINK = 89;
export const OPENAT = 257;
export const NEWFSTATAT = 262;
export const READLINKAT = 267;
export const FACCESSAT = 269;
export const SECCOMP = 317;
export const EXECVEAT = 322;
export const DUP3 = 292;
export const STATX = 332;
export const FACCESSAT2 = 439;

const STAT_BYTES = 144;
const STATX_BYTES = 256;

/** Which argument is the path, which the place for the answer, and how long that is: octets, or `'result'` when the call says so itself. */
export interface PathCall {
  readonly path: number;
  readonly out?: number;
  readonly bytes?: number | 'result';
}

export const PATH_CALLS: ReadonlyMap<number, PathCall> = new Map<number, PathCall>([
  [OPEN, { path: 0 }],
  [OPENAT, { path: 1 }],
  [STAT, { path: 0, out: 1, bytes: STAT_BYTES }],
  [LSTAT, { path: 0, out: 1, bytes: STAT_BYTES }],
  [NEWFSTATAT, { path: 1, out: 2, bytes: STAT_BYTES }],
  [STATX, { path: 1, out: 4, bytes: STATX_BYTES }],
  [ACCESS, { path: 0 }],
  [FACCESSAT, { path: 1 }],
  [FACCESSAT2, { path: 1 }],
  [READLINK, { path: 0, out: 1, bytes: 'result' }],
  [READLINKAT, { path: 1, out: 2, bytes: 'result' }],
]);

const S_IFCHR_ALL = 0o020666;

/** What stat(2) says of a device node: struct stat of x86-64, or struct statx. */
export function nodeStatus(major: number, minor: number, isStatx: boolean): Uint8Array {
  const octets = new Uint8Array(isStatx ? STATX_BYTES : STAT_BYTES);
  const view = new DataView(octets.buffer);
  if (isStatx) {
    view.setUint32(0, 0x7ff, true); // STATX_BASIC_STATS
    view.setUint32(16, 1, true);
    view.setUint16(28, S_IFCHR_ALL, true);
    view.setUint32(128, major, true);
    view.setUint32(132, minor, true);
  } else {
    view.setUint32(16, 1, true);
    view.setUint32(24, S_IFCHR_ALL, true);
    view.setUint32(40, (major << 8) | minor, true);
  }
  return octets;
}
