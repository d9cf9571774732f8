/**
 * What the parts of the engine are to each other. `Rnic` (rnic.ts) owns the tables and runs commands; each QP has a sender (requester, completer, retry)
 * and a responder that run the protocol. They meet in the types of this file.
 */
import type { Micros } from '../wire/types.ts';
import type { Handle, QpCap } from './commands.ts';
import type { RnicConfig, RnicHost } from './config.ts';
import type { AsyncEvent, QpState, QpType, WcStatus } from './constants.ts';
import type { Counters } from './counters.ts';
import type { EndedMessages } from './ended-messages.ts';
import type { InFlight } from './in-flight.ts';
import type { Memory } from './memory/memory.ts';
import type { ReceivedPacket } from './packet.ts';
import type { PacketPool } from './packet-pool.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { AddressVector, Path } from './path.ts';
import type { PeerViolations } from './peer-violations.ts';
import type { Ring } from './queue/ring.ts';
import type { SendRing } from './queue/send-ring.ts';
import type { Timers } from './timers.ts';
import type { WaitingRoom } from './waiting-datagrams.ts';

export interface Pd {
  readonly handle: Handle;
  readonly context: number;
  /** Objects that live in it: dealloc is EBUSY while any does. */
  children: number;
}

/** A registered region, or a bound memory window: what a key grants. Fixed but for `valid`; registering or binding anew makes another. */
export interface Region {
  /** The whole 32-bit key. lKey and rKey of a region are the same number, as rxe has it. */
  readonly key: number;
  readonly pd: Pd;
  readonly access: number;
  /** False once revoked; whoever kept the region over packets asks this again for each packet. */
  readonly valid: boolean;
  readonly memory: Memory;
  /** Octet of `memory` where the region begins. */
  readonly start: number;
  readonly iovaHi: number;
  readonly iovaLo: number;
  /** Octets; may pass 2^32. */
  readonly length: number;
  /** Type 2 window: the QPN it is bound to. 0 otherwise. */
  readonly boundQpn: number;
  readonly isWindow: boolean;
}

/** Why a key was refused. 0 is accepted. */
export const KeyVerdict = {
  ACCEPT: 0,
  NO_SUCH_KEY: 1,
  WRONG_PD: 2,
  NO_RIGHT: 3,
  OUT_OF_RANGE: 4,
  WRONG_QP: 5,
  REVOKED: 6,
} as const;

/** The key table. A check leaves the region in `found` and the octet of `found.memory` in `offset`: nothing is allocated. */
export interface Regions {
  found: Region | null;
  offset: number;
  /** For SGEs. Checked in the order key, PD, rights, range. Zero length is not asked here. */
  checkLocal(lKey: number, hi: number, lo: number, length: number, pd: Pd, access: number): number;
  /** For RETH and AtomicETH. `access` is one of Access.REMOTE_*. */
  checkRemote(rKey: number, hi: number, lo: number, length: number, pd: Pd, qpn: number, access: number): number;
  /** LOCAL_INV, SEND_WITH_INV and the remote side's. 0, or a KeyVerdict. */
  invalidate(key: number, pd: Pd, qpn: number): number;
  /** BIND_MW and REG_MR work requests. 0, or the WcStatus that ends them. */
  bindWindow(
    pd: Pd,
    qpn: number,
    qpType: QpType,
    mwRKey: number,
    newRKey: number,
    mrLKey: number,
    hi: number,
    lo: number,
    length: number,
    access: number,
  ): WcStatus;
  registerFast(pd: Pd, lKey: number, newKey: number, hi: number, lo: number, length: number, access: number): WcStatus;
}

/** A completion queue, engine side. */
export interface Cq {
  readonly handle: Handle;
  readonly context: number;
  /** QPs that use it. */
  users: number;
  /**
   * Writes and publishes one CQE and raises the channel's event when armed (solicited, or an error, for SOLICITED). False on overrun: CQ_ERR was raised,
   * the CQ is dead, the caller's QP must go to ERR. `wrIdHi/Lo` are the WQE's 8 octets. `immediate` holds the 4 octets as read by getUint32 little endian.
   */
  push(
    wrIdLo: number,
    wrIdHi: number,
    status: WcStatus,
    opcode: number,
    byteLen: number,
    immediate: number,
    qpNum: number,
    srcQp: number,
    wcFlags: number,
    solicited: boolean,
    vendorErr: number,
  ): boolean;
}

/** A shared receive queue, engine side. */
export interface Srq {
  readonly handle: Handle;
  readonly pd: Pd;
  readonly ring: Ring;
  /** Called after a receive WQE was taken: raises SRQ_LIMIT_REACHED once when the count drops below the limit. */
  taken(): void;
}

/** The protocol half of a QP for one direction of requests. RC, UC and UD each have theirs. */
export interface Sender {
  /** The doorbell rang, or something it waited for came: there may be WQEs to start. */
  handleDoorbell(now: Micros): void;
  /** An acknowledgement, a READ response, an atomic acknowledgement. ICRC, state and addresses were checked. */
  handlePacket(packet: ReceivedPacket, now: Micros): void;
  /** Writes packets while there are any, at most about `quantumBytes`. True when it has more to send now. */
  pollTransmit(out: PacketWriter, now: Micros, quantumBytes: number): boolean;
  /** RESET: as new. Outstanding work is forgotten without completions. */
  reset(): void;
  /** ERR: completes what is outstanding and what is posted with WR_FLUSH_ERR (the first one with `status` if it is not SUCCESS). */
  flush(status: WcStatus): void;
  /** RTR→RTS, SQD→RTS: may send. SQD: finish what has started, then raise SQ_DRAINED if asked. */
  stateChanged(now: Micros): void;
}

export interface Responder {
  handlePacket(packet: ReceivedPacket, now: Micros): void;
  /** In ERR too, until the NAK that tells the requester why has left. */
  pollTransmit(out: PacketWriter, now: Micros, quantumBytes: number): boolean;
  /** It has completed a receive and not acknowledged that yet. */
  readonly owesReceipt: boolean;
  reset(): void;
  /** ERR: flushes the receive queue (its own, never an SRQ's; a WQE already taken from an SRQ is flushed too). */
  flush(): void;
  stateChanged(now: Micros): void;
}

/** A queue pair: what it is, what it was told, and its two machines. Commands write the attributes, the machines read them. */
export interface Qp {
  readonly qpn: number;
  readonly type: QpType;
  readonly handle: Handle;
  readonly context: number;
  /** Bit of the context's doorbell page. */
  readonly slot: number;
  readonly pd: Pd;
  readonly sendCq: Cq;
  readonly recvCq: Cq;
  readonly srq: Srq | null;
  /** Null for the engine's own GSI QP. */
  readonly sq: SendRing;
  readonly rq: Ring | null;
  readonly cap: QpCap;
  readonly sqSigAll: boolean;

  state: QpState;
  accessFlags: number;
  /** Octets: 256 … 4096. For UD what the port takes. */
  pathMtuBytes: number;
  destQpn: number;
  rqPsn: number;
  sqPsn: number;
  qKey: number;
  timeout: number;
  retryCount: number;
  rnrRetry: number;
  minRnrTimer: number;
  maxRdAtomic: number;
  maxDestRdAtomic: number;
  sqdAsyncNotify: boolean;
  av: AddressVector | null;
  path: Path | null;
  /** Wrong keys so far (T-06). */
  violations: number;

  readonly sender: Sender;
  readonly responder: Responder;
}

/** What the machines may ask of the engine around them. */
export interface EngineCore {
  readonly config: RnicConfig;
  readonly host: RnicHost;
  readonly counters: Counters;
  readonly regions: Regions;
  readonly timers: Timers;
  /** Out-of-order packets of all QPs: `new PacketPool(config.limits.reorderPackets)`. */
  readonly reorderPool: PacketPool;
  readonly waitingRoom: WaitingRoom;
  readonly inFlight: InFlight;
  readonly ended: EndedMessages;
  readonly peerViolations: PeerViolations;
  /** Puts the QP on the list that `Rnic.pollTransmit` walks (round robin). Idempotent. */
  schedule(qp: Qp): void;
  /** The machine met a fatal condition: the QP goes to ERR, `status` completes the sender's oldest WR, everything else is flushed, `event` (if any) is raised. */
  fail(qp: Qp, status: WcStatus, event: AsyncEvent | -1): void;
  raise(qp: Qp, event: AsyncEvent): void;
  /** The address handle that a UD work request names, if it is of this context and PD; null otherwise. */
  addressHandle(
    context: number,
    ahNum: number,
  ): { readonly pd: Pd; readonly path: Path; readonly av: AddressVector } | null;
}
