/**
 * The control half of the engine: every verb that is not on the data path, as one command with one result. The TypeScript verbs, the uverbs ABI
 * and the daemon all speak it; nothing else creates or changes an object. Commands are plain, structured-cloneable objects (Memory excepted, see RegMr).
 *
 * Handles are per context: a handle of one context means nothing in another (rnic refuses it with EINVAL, reason `no such …`).
 * 64-bit values are bigint here (no command is on the data path).
 */
import type { CmAnswers, CmCommand } from './cm/commands.ts';
import type { QpState, QpType } from './constants.ts';
import type { Memory } from './memory/memory.ts';
import type { AddressVector, Path } from './path.ts';
import type { QueueMemory } from './queue/ring.ts';

export type Handle = number;

/** `ibv_qp_attr`; only the members that `mask` (QpAttr) names are read. */
export interface QpAttributes {
  qpState?: QpState;
  curQpState?: QpState;
  pathMtu?: number; // enum ibv_mtu, 1…5
  qKey?: number;
  rqPsn?: number;
  sqPsn?: number;
  destQpNum?: number;
  qpAccessFlags?: number;
  cap?: QpCap;
  av?: AddressVector;
  pKeyIndex?: number;
  enSqdAsyncNotify?: boolean;
  maxRdAtomic?: number;
  maxDestRdAtomic?: number;
  minRnrTimer?: number;
  portNum?: number;
  timeout?: number;
  retryCnt?: number;
  rnrRetry?: number;
}

/** `ibv_qp_cap`. */
export interface QpCap {
  maxSendWr: number;
  maxRecvWr: number;
  maxSendSge: number;
  maxRecvSge: number;
  maxInlineData: number;
}

export interface SrqAttributes {
  maxWr?: number;
  srqLimit?: number;
  maxSge?: number;
}

export type Command =
  | { op: 'queryDevice' }
  | { op: 'queryPort'; portNum: number }
  | { op: 'queryGid'; portNum: number; index: number }
  | { op: 'allocPd' }
  | { op: 'deallocPd'; pd: Handle }
  /**
   * `memory` is put in by the worker, which alone knows how to reach the application's octets; what the application sends says which
   * memory it means in its own terms. `start` is the octet of `memory` at which the region begins. `iova` is the address that SGEs and peers use.
   */
  | { op: 'regMr'; pd: Handle; memory: Memory; start: number; length: number; iova: bigint; access: number }
  | {
      op: 'reregMr';
      mr: Handle;
      flags: number;
      pd?: Handle;
      memory?: Memory;
      start?: number;
      length?: number;
      iova?: bigint;
      access?: number;
    }
  | { op: 'deregMr'; mr: Handle }
  /** An empty region over `memory`, for REG_MR work requests (fast registration) to say which octets of it, under which key. */
  | { op: 'allocMr'; pd: Handle; maxBytes: number; memory?: Memory; start?: number }
  | { op: 'allocMw'; pd: Handle; type: 1 | 2 }
  | { op: 'deallocMw'; mw: Handle }
  | { op: 'createCompChannel' }
  | { op: 'destroyCompChannel'; channel: Handle }
  /** `cookie` comes back in completion events. */
  | { op: 'createCq'; cqe: number; channel?: Handle; cookie?: bigint }
  | { op: 'resizeCq'; cq: Handle; cqe: number }
  | { op: 'destroyCq'; cq: Handle }
  | { op: 'reqNotifyCq'; cq: Handle; solicitedOnly: boolean }
  | { op: 'createSrq'; pd: Handle; maxWr: number; maxSge: number; srqLimit?: number; cookie?: bigint }
  | { op: 'modifySrq'; srq: Handle; attributes: SrqAttributes }
  | { op: 'querySrq'; srq: Handle }
  | { op: 'destroySrq'; srq: Handle }
  | {
      op: 'createQp';
      pd: Handle;
      type: QpType;
      sendCq: Handle;
      recvCq: Handle;
      srq?: Handle;
      cap: QpCap;
      sqSigAll: boolean;
      cookie?: bigint;
    }
  /** With AV (or INIT→RTR of RC and UC) the worker adds `path`: the resolved headers for `attributes.av`. */
  | { op: 'modifyQp'; qp: Handle; mask: number; attributes: QpAttributes; path?: Path }
  | { op: 'queryQp'; qp: Handle }
  | { op: 'destroyQp'; qp: Handle }
  | { op: 'createAh'; pd: Handle; av: AddressVector; path?: Path }
  | { op: 'destroyAh'; ah: Handle }
  | { op: 'attachMcast'; qp: Handle; gid: Uint8Array }
  | { op: 'detachMcast'; qp: Handle; gid: Uint8Array };

/** What each command answers when it succeeds. */
export interface Answers extends CmAnswers {
  queryDevice: DeviceAttributes;
  queryPort: PortAttributes;
  queryGid: { gid: Uint8Array };
  allocPd: { pd: Handle };
  deallocPd: object;
  regMr: { mr: Handle; lKey: number; rKey: number };
  reregMr: { lKey: number; rKey: number };
  deregMr: object;
  allocMr: { mr: Handle; lKey: number; rKey: number };
  allocMw: { mw: Handle; rKey: number };
  deallocMw: object;
  createCompChannel: { channel: Handle };
  destroyCompChannel: object;
  createCq: { cq: Handle; cqe: number; queue: QueueMemory };
  resizeCq: { cqe: number; queue: QueueMemory };
  destroyCq: { completionEvents: number; asyncEvents: number };
  reqNotifyCq: object;
  createSrq: { srq: Handle; srqNum: number; maxWr: number; maxSge: number; queue: QueueMemory };
  modifySrq: { queue?: QueueMemory };
  querySrq: { maxWr: number; maxSge: number; srqLimit: number };
  destroySrq: { asyncEvents: number };
  /** `slot` names the QP in the doorbell (DoorbellPage). `rq` is absent with an SRQ. */
  createQp: { qp: Handle; qpNum: number; slot: number; cap: QpCap; sq: QueueMemory; rq?: QueueMemory };
  modifyQp: { state: QpState };
  queryQp: {
    attributes: Required<Omit<QpAttributes, 'av'>> & { av?: AddressVector };
    type: QpType;
    qpNum: number;
    sqSigAll: boolean;
  };
  destroyQp: { asyncEvents: number };
  createAh: { ah: Handle; ahNum: number };
  destroyAh: object;
  attachMcast: object;
  detachMcast: object;
}

/** errno is positive, as in <errno.h>; `reason` says what was wrong in words, `argument` which one. */
export interface Refusal {
  ok: false;
  errno: number;
  reason: string;
  argument?: string;
}
/** Any command: of objects, or of connections. */
export type AnyCommand = Command | CmCommand;
export type Result<Op extends AnyCommand['op'] = AnyCommand['op']> = ({ ok: true } & Answers[Op]) | Refusal;
export type CommandOf<Op extends Command['op']> = Extract<Command, { op: Op }>;

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  ENOSPC: 28,
  ENOSYS: 38,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETUNREACH: 101,
  ECONNRESET: 104,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  EDQUOT: 122,
} as const;

/** `ibv_device_attr`, the members that mean something here. Counts unless the name says bytes. */
export interface DeviceAttributes {
  fwVer: string;
  nodeGuid: bigint;
  maxMrBytes: bigint;
  maxQp: number;
  maxQpWr: number;
  maxSge: number;
  maxCq: number;
  maxCqe: number;
  maxMr: number;
  maxPd: number;
  maxMw: number;
  maxAh: number;
  maxQpRdAtom: number;
  maxQpInitRdAtom: number;
  maxResRdAtom: number;
  maxSrq: number;
  maxSrqWr: number;
  maxSrqSge: number;
  maxMcastGrp: number;
  maxMcastQpAttach: number;
  maxTotalMcastQpAttach: number;
  maxPkeys: number;
  physPortCnt: number;
  localCaAckDelay: number;
  deviceCapFlags: number;
}

/** `ibv_port_attr`. */
export interface PortAttributes {
  state: number; // 4 = ACTIVE, 1 = DOWN
  maxMtu: number;
  activeMtu: number; // enum ibv_mtu
  gidTableLength: number;
  pKeyTableLength: number;
  maxMsgBytes: number;
  activeSpeed: number;
  activeWidth: number;
  physState: number;
  linkLayer: number;
  badPKeyCounter: number;
  qKeyViolationCounter: number;
}

/** What the engine tells applications besides completions. Taken with `Rnic.pollEvent`; one object, reused by the caller. */
export interface EngineEvent {
  /** 1 = a completion event of channel `channel` for CQ `handle`; 2 = an asynchronous event `code` (AsyncEvent) of the object `handle`. */
  kind: number;
  context: number;
  code: number;
  handle: Handle;
  channel: Handle;
  /** The object's `cookie`, as created. */
  cookie: bigint;
}
export const EventKind = { COMPLETION: 1, ASYNC: 2 } as const;
