/**
 * The opcode table: what each of the 256 first octets of a BTH means. IBA Vol. 1, §9.2 (Table of opcodes), Annexes A14, A17, A19.
 * One line per opcode; a number nobody defined has no flags, and is dropped before any arithmetic on lengths.
 */
import * as Aeth from './aeth.ts';
import * as AtomicAckEth from './atomic-ack-eth.ts';
import * as AtomicEth from './atomic-eth.ts';
import * as Bth from './bth.ts';
import * as Cnp from './cnp.ts';
import * as Deth from './deth.ts';
import * as Feth from './feth.ts';
import * as Ieth from './ieth.ts';
import * as ImmDt from './imm-dt.ts';
import * as Reth from './reth.ts';
import type { OpCode, OpFlags, Transport } from './types.ts';
import * as XrcEth from './xrceth.ts';

/** Transports: the top three bits of an opcode. */
export const RC = 0x00 as Transport;
export const UC = 0x20 as Transport;
export const RD = 0x40 as Transport;
export const UD = 0x60 as Transport;
export const CNP = 0x80 as Transport;
export const XRC = 0xa0 as Transport;

/** Flags. */
export const IS_REQUEST = (1 << 0) as OpFlags;
export const IS_RESPONSE = (1 << 1) as OpFlags;
/** A plain ACKNOWLEDGE: ACK, NAK or RNR NAK. */
export const IS_ACK = (1 << 2) as OpFlags;
export const IS_SEND = (1 << 3) as OpFlags;
export const IS_WRITE = (1 << 4) as OpFlags;
/** READ request, or one of its responses. */
export const IS_READ = (1 << 5) as OpFlags;
/** CMP_SWAP or FETCH_ADD, or the ATOMIC_ACKNOWLEDGE. */
export const IS_ATOMIC = (1 << 6) as OpFlags;
export const IS_ATOMIC_WRITE = (1 << 7) as OpFlags;
export const IS_FLUSH = (1 << 8) as OpFlags;
export const IS_CNP = (1 << 9) as OpFlags;
/** First packet of its message (ONLY has both STARTS and ENDS). */
export const STARTS = (1 << 10) as OpFlags;
export const MIDDLE = (1 << 11) as OpFlags;
export const ENDS = (1 << 12) as OpFlags;
/** The responder takes a receive WQE at this packet. */
export const NEEDS_RECV_WQE = (1 << 13) as OpFlags;
/** The responder completes its receive WQE at this packet. */
export const COMPLETES_RECV_WQE = (1 << 14) as OpFlags;
export const HAS_PAYLOAD = (1 << 15) as OpFlags;
export const HAS_DETH = (1 << 16) as OpFlags;
export const HAS_XRCETH = (1 << 17) as OpFlags;
export const HAS_FETH = (1 << 18) as OpFlags;
export const HAS_RETH = (1 << 19) as OpFlags;
export const HAS_ATOMIC = (1 << 20) as OpFlags;
export const HAS_AETH = (1 << 21) as OpFlags;
export const HAS_ATOMIC_ACK = (1 << 22) as OpFlags;
export const HAS_IMM = (1 << 23) as OpFlags;
export const HAS_IETH = (1 << 24) as OpFlags;

/** Octets of each extension header, in the order in which they follow the BTH. */
const EXTENSION_BYTES: readonly (readonly [OpFlags, number])[] = [
  [IS_CNP, Cnp.RESERVED_BYTES],
  [HAS_DETH, Deth.BYTES],
  [HAS_XRCETH, XrcEth.BYTES],
  [HAS_FETH, Feth.BYTES],
  [HAS_RETH, Reth.BYTES],
  [HAS_ATOMIC, AtomicEth.BYTES],
  [HAS_AETH, Aeth.BYTES],
  [HAS_ATOMIC_ACK, AtomicAckEth.BYTES],
  [HAS_IMM, ImmDt.BYTES],
  [HAS_IETH, Ieth.BYTES],
];

const FLAGS = new Uint32Array(256);
const HEADER_BYTES = new Uint8Array(256);
const NAMES: string[] = Array.from(FLAGS, (_, i) => `UNKNOWN_0x${i.toString(16).padStart(2, '0')}`);

function define(value: number, name: string, ...bits: OpFlags[]): OpCode {
  const flags = bits.reduce<number>((all, bit) => all | bit, 0);
  const extensions = EXTENSION_BYTES.filter(([bit]) => (flags & bit) !== 0);
  FLAGS[value] = flags;
  HEADER_BYTES[value] = extensions.reduce((bytes, [, extension]) => bytes + extension, Bth.BYTES);
  NAMES[value] = name;
  return value as OpCode;
}

const SEND = (IS_REQUEST | IS_SEND | HAS_PAYLOAD) as OpFlags;
const WRITE = (IS_REQUEST | IS_WRITE | HAS_PAYLOAD) as OpFlags;
const READ = (IS_REQUEST | IS_READ | STARTS | ENDS) as OpFlags;
const READ_RESPONSE = (IS_RESPONSE | IS_READ | HAS_PAYLOAD) as OpFlags;
const ATOMIC = (IS_REQUEST | IS_ATOMIC | STARTS | ENDS | HAS_ATOMIC) as OpFlags;
const TAKES = NEEDS_RECV_WQE;
const COMPLETES = COMPLETES_RECV_WQE;

// biome-ignore-start format: one opcode a line is a table.
export const RC_SEND_FIRST = define(0x00, 'RC_SEND_FIRST', SEND, STARTS, TAKES);
export const RC_SEND_MIDDLE = define(0x01, 'RC_SEND_MIDDLE', SEND, MIDDLE);
export const RC_SEND_LAST = define(0x02, 'RC_SEND_LAST', SEND, ENDS, COMPLETES);
export const RC_SEND_LAST_WITH_IMMEDIATE = define(0x03, 'RC_SEND_LAST_WITH_IMMEDIATE', SEND, ENDS, COMPLETES, HAS_IMM);
export const RC_SEND_ONLY = define(0x04, 'RC_SEND_ONLY', SEND, STARTS, ENDS, TAKES, COMPLETES);
export const RC_SEND_ONLY_WITH_IMMEDIATE = define(
  0x05,
  'RC_SEND_ONLY_WITH_IMMEDIATE',
  SEND,
  STARTS,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_IMM,
);
export const RC_RDMA_WRITE_FIRST = define(0x06, 'RC_RDMA_WRITE_FIRST', WRITE, STARTS, HAS_RETH);
export const RC_RDMA_WRITE_MIDDLE = define(0x07, 'RC_RDMA_WRITE_MIDDLE', WRITE, MIDDLE);
export const RC_RDMA_WRITE_LAST = define(0x08, 'RC_RDMA_WRITE_LAST', WRITE, ENDS);
export const RC_RDMA_WRITE_LAST_WITH_IMMEDIATE = define(
  0x09,
  'RC_RDMA_WRITE_LAST_WITH_IMMEDIATE',
  WRITE,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_IMM,
);
export const RC_RDMA_WRITE_ONLY = define(0x0a, 'RC_RDMA_WRITE_ONLY', WRITE, STARTS, ENDS, HAS_RETH);
export const RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE = define(
  0x0b,
  'RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE',
  WRITE,
  STARTS,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_RETH,
  HAS_IMM,
);
export const RC_RDMA_READ_REQUEST = define(0x0c, 'RC_RDMA_READ_REQUEST', READ, HAS_RETH);
export const RC_RDMA_READ_RESPONSE_FIRST = define(0x0d, 'RC_RDMA_READ_RESPONSE_FIRST', READ_RESPONSE, STARTS, HAS_AETH);
export const RC_RDMA_READ_RESPONSE_MIDDLE = define(0x0e, 'RC_RDMA_READ_RESPONSE_MIDDLE', READ_RESPONSE, MIDDLE);
export const RC_RDMA_READ_RESPONSE_LAST = define(0x0f, 'RC_RDMA_READ_RESPONSE_LAST', READ_RESPONSE, ENDS, HAS_AETH);
export const RC_RDMA_READ_RESPONSE_ONLY = define(
  0x10,
  'RC_RDMA_READ_RESPONSE_ONLY',
  READ_RESPONSE,
  STARTS,
  ENDS,
  HAS_AETH,
);
export const RC_ACKNOWLEDGE = define(0x11, 'RC_ACKNOWLEDGE', IS_RESPONSE, IS_ACK, STARTS, ENDS, HAS_AETH);
export const RC_ATOMIC_ACKNOWLEDGE = define(
  0x12,
  'RC_ATOMIC_ACKNOWLEDGE',
  IS_RESPONSE,
  IS_ATOMIC,
  STARTS,
  ENDS,
  HAS_AETH,
  HAS_ATOMIC_ACK,
);
export const RC_COMPARE_SWAP = define(0x13, 'RC_COMPARE_SWAP', ATOMIC);
export const RC_FETCH_ADD = define(0x14, 'RC_FETCH_ADD', ATOMIC);
export const RC_SEND_LAST_WITH_INVALIDATE = define(
  0x16,
  'RC_SEND_LAST_WITH_INVALIDATE',
  SEND,
  ENDS,
  COMPLETES,
  HAS_IETH,
);
export const RC_SEND_ONLY_WITH_INVALIDATE = define(
  0x17,
  'RC_SEND_ONLY_WITH_INVALIDATE',
  SEND,
  STARTS,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_IETH,
);
export const RC_FLUSH = define(0x1c, 'RC_FLUSH', IS_REQUEST, IS_FLUSH, STARTS, ENDS, HAS_FETH, HAS_RETH);
export const RC_ATOMIC_WRITE = define(
  0x1d,
  'RC_ATOMIC_WRITE',
  IS_REQUEST,
  IS_ATOMIC_WRITE,
  STARTS,
  ENDS,
  HAS_RETH,
  HAS_PAYLOAD,
);

export const UC_SEND_FIRST = define(0x20, 'UC_SEND_FIRST', SEND, STARTS, TAKES);
export const UC_SEND_MIDDLE = define(0x21, 'UC_SEND_MIDDLE', SEND, MIDDLE);
export const UC_SEND_LAST = define(0x22, 'UC_SEND_LAST', SEND, ENDS, COMPLETES);
export const UC_SEND_LAST_WITH_IMMEDIATE = define(0x23, 'UC_SEND_LAST_WITH_IMMEDIATE', SEND, ENDS, COMPLETES, HAS_IMM);
export const UC_SEND_ONLY = define(0x24, 'UC_SEND_ONLY', SEND, STARTS, ENDS, TAKES, COMPLETES);
export const UC_SEND_ONLY_WITH_IMMEDIATE = define(
  0x25,
  'UC_SEND_ONLY_WITH_IMMEDIATE',
  SEND,
  STARTS,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_IMM,
);
export const UC_RDMA_WRITE_FIRST = define(0x26, 'UC_RDMA_WRITE_FIRST', WRITE, STARTS, HAS_RETH);
export const UC_RDMA_WRITE_MIDDLE = define(0x27, 'UC_RDMA_WRITE_MIDDLE', WRITE, MIDDLE);
export const UC_RDMA_WRITE_LAST = define(0x28, 'UC_RDMA_WRITE_LAST', WRITE, ENDS);
export const UC_RDMA_WRITE_LAST_WITH_IMMEDIATE = define(
  0x29,
  'UC_RDMA_WRITE_LAST_WITH_IMMEDIATE',
  WRITE,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_IMM,
);
export const UC_RDMA_WRITE_ONLY = define(0x2a, 'UC_RDMA_WRITE_ONLY', WRITE, STARTS, ENDS, HAS_RETH);
export const UC_RDMA_WRITE_ONLY_WITH_IMMEDIATE = define(
  0x2b,
  'UC_RDMA_WRITE_ONLY_WITH_IMMEDIATE',
  WRITE,
  STARTS,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_RETH,
  HAS_IMM,
);

export const UD_SEND_ONLY = define(0x64, 'UD_SEND_ONLY', SEND, STARTS, ENDS, TAKES, COMPLETES, HAS_DETH);
export const UD_SEND_ONLY_WITH_IMMEDIATE = define(
  0x65,
  'UD_SEND_ONLY_WITH_IMMEDIATE',
  SEND,
  STARTS,
  ENDS,
  TAKES,
  COMPLETES,
  HAS_DETH,
  HAS_IMM,
);

export const ROCE_CNP = define(Cnp.OPCODE, 'CNP', IS_CNP);
// biome-ignore-end format: one opcode a line is a table.

/** XRC: the RC rows again at 0xA0, whose requests carry an XRCETH. Named, so that a trace reads; no QP speaks it. */
for (let rc = RC_SEND_FIRST as number; rc <= RC_SEND_ONLY_WITH_INVALIDATE; rc++) {
  const flags = (FLAGS[rc] ?? 0) as OpFlags;
  if (flags === 0) continue;
  const xrcEth = (flags & IS_REQUEST) !== 0 ? HAS_XRCETH : (0 as OpFlags);
  define(XRC | rc, `XRC_${NAMES[rc]?.slice('RC_'.length)}`, flags, xrcEth);
}

/** The flags of an opcode; 0 when nobody defined it. */
export const flags = (opcode: OpCode): OpFlags => FLAGS[opcode] as OpFlags;
/** Octets of BTH and extension headers; 0 when nobody defined it. */
export const headerBytes = (opcode: OpCode): number => HEADER_BYTES[opcode] as number;
export const name = (opcode: OpCode): string => NAMES[opcode] ?? 'UNKNOWN';
export const transport = (opcode: OpCode): Transport => (opcode & 0xe0) as Transport;
