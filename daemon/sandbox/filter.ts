/**
 * The program that the kernel runs at each system call of a sandboxed program (seccomp(2), classic BPF): what is about RDMA goes to the supervisor or is refused
 * at once, all else runs as it is. The descriptors that the supervisor hands out lie in a range of their own, so that reads and writes of other files cost nothing.
 */
import * as Linux from '../../workers/linux/constants.ts';
import * as Call from './syscalls.ts';

/** Numbers of the descriptors that the supervisor hands out: below 1024, where select(2) and the usual limit end. */
export const FIRST_DESCRIPTOR = 700;
export const DESCRIPTORS_END = 956;

const LOAD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_AT_LEAST = 0x35;
const RETURN = 0x06;
const NOTIFY = 0x7fc0_0000;
const ALLOW = 0x7fff_0000;
const ERRNO = 0x0005_0000;
const ENOTTY = 25;
const EPROTONOSUPPORT = 93;
const AUDIT_ARCH_X86_64 = 0xc000_003e;
const AF_NETLINK = 16;
const NETLINK_RDMA = 20;
/** struct seccomp_data. */
const NUMBER_AT = 0;
const ARCH_AT = 4;
const argumentAt = (index: number): number => 16 + 8 * index;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

const load = (at: number): Instruction => [LOAD, 0, 0, at];
const give = (verdict: number): Instruction => [RETURN, 0, 0, verdict];

const always = (number: number): Instruction[] => [[JUMP_IF_EQUAL, 0, 1, number], give(NOTIFY)];

/** The verdict where argument 0 is one of our descriptors. */
const ofOurs = (number: number, verdict: number): Instruction[] => [
  [JUMP_IF_EQUAL, 0, 5, number],
  load(argumentAt(0)),
  [JUMP_IF_AT_LEAST, 0, 2, FIRST_DESCRIPTOR],
  [JUMP_IF_AT_LEAST, 1, 0, DESCRIPTORS_END],
  give(verdict),
  give(ALLOW),
];

/** Where either of the first two arguments is one of our descriptors: what dup2 puts in the place of one, too. */
const ofEither = (number: number): Instruction[] => [
  [JUMP_IF_EQUAL, 0, 8, number],
  load(argumentAt(0)),
  [JUMP_IF_AT_LEAST, 0, 1, FIRST_DESCRIPTOR],
  [JUMP_IF_AT_LEAST, 0, 3, DESCRIPTORS_END],
  load(argumentAt(1)),
  [JUMP_IF_AT_LEAST, 0, 2, FIRST_DESCRIPTOR],
  [JUMP_IF_AT_LEAST, 1, 0, DESCRIPTORS_END],
  give(NOTIFY),
  give(ALLOW),
];

/** What duplicates one of our descriptors; other requests run as they are. */
const duplicating = (): Instruction[] => [
  [JUMP_IF_EQUAL, 0, 8, Call.FCNTL],
  load(argumentAt(0)),
  [JUMP_IF_AT_LEAST, 0, 5, FIRST_DESCRIPTOR],
  [JUMP_IF_AT_LEAST, 4, 0, DESCRIPTORS_END],
  load(argumentAt(1)),
  [JUMP_IF_EQUAL, 1, 0, Linux.F_DUPFD],
  [JUMP_IF_EQUAL, 0, 1, Linux.F_DUPFD_CLOEXEC],
  give(NOTIFY),
  give(ALLOW),
];

const INSTRUCTIONS: readonly Instruction[] = [
  load(ARCH_AT),
  [JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH_X86_64],
  give(ALLOW),
  load(NUMBER_AT),
  ...[...Call.PATH_CALLS.keys(), Call.EXECVE, Call.EXECVEAT].flatMap(always),
  ...[Call.READ, Call.WRITE, Call.CLOSE, Call.FSTAT, Call.DUP].flatMap((number) => ofOurs(number, NOTIFY)),
  ...[Call.DUP2, Call.DUP3].flatMap(ofEither),
  ...duplicating(),
  // libibverbs falls back to write(), and to sysfs.
  ...ofOurs(Call.IOCTL, ERRNO | ENOTTY),
  [JUMP_IF_EQUAL, 0, 6, Call.SOCKET],
  load(argumentAt(0)),
  [JUMP_IF_EQUAL, 0, 3, AF_NETLINK],
  load(argumentAt(2)),
  [JUMP_IF_EQUAL, 0, 1, NETLINK_RDMA],
  give(ERRNO | EPROTONOSUPPORT),
  give(ALLOW),
  give(ALLOW),
];

export const INSTRUCTION_COUNT = INSTRUCTIONS.length;

/** struct sock_filter, one after the other. */
export function filterOctets(): Uint8Array {
  const octets = new Uint8Array(8 * INSTRUCTIONS.length);
  const view = new DataView(octets.buffer);
  for (const [i, [code, ifTrue, ifFalse, k]] of INSTRUCTIONS.entries()) {
    view.setUint16(8 * i, code, true);
    view.setUint8(8 * i + 2, ifTrue);
    view.setUint8(8 * i + 3, ifFalse);
    view.setUint32(8 * i + 4, k, true);
  }
  return octets;
}
