/** One id of the connection manager: a listener, a connection, or a datagram service being looked up. IBA Vol. 1, §12.9 (states). */
import type { Micros } from '../../wire/types.ts';
import type { QpType } from '../constants.ts';
import type { AddressVector } from '../path.ts';
import type { Timer } from '../timers.ts';
import type { CmAddress, PortSpace } from './commands.ts';

export const CmState = {
  IDLE: 0,
  BOUND: 1,
  LISTEN: 2,
  ADDR_QUERY: 3,
  ADDR_RESOLVED: 4,
  ROUTE_RESOLVED: 5,
  REQ_SENT: 6,
  REQ_RECEIVED: 7,
  REP_SENT: 8,
  REP_RECEIVED: 9,
  ESTABLISHED: 10,
  DREQ_SENT: 11,
  DREQ_RECEIVED: 12,
  TIMEWAIT: 13,
  SIDR_REQ_SENT: 14,
  SIDR_REQ_RECEIVED: 15,
  /** A datagram service that was found, or that has answered. */
  SIDR_DONE: 16,
} as const;
export type CmState = (typeof CmState)[keyof typeof CmState];

/** A message on its way: kept to be repeated until it is answered. */
export interface Sent {
  /** 256 octets. */
  readonly mad: Uint8Array;
  triesLeft: number;
  readonly intervalMicros: Micros;
}

export const ANY: CmAddress = { address: new Uint8Array(16), port: 0 };

export class CmId implements Timer {
  readonly handle: number;
  readonly context: number;
  readonly portSpace: PortSpace;
  readonly qpType: QpType;
  cookie: bigint;
  state: CmState = CmState.IDLE;
  local: CmAddress = ANY;
  remote: CmAddress = ANY;
  /** Where its own messages go; then where its QP's packets go. */
  madAv: AddressVector | null = null;
  av: AddressVector | null = null;
  /** Unguessable names of the connection, ours and the peer's. */
  readonly localCommId: number;
  remoteCommId = 0;
  localQpn = 0;
  remoteQpn = 0;
  /** Each side says where the other shall begin: ours is what our QP expects first, the peer's what it sends first. */
  readonly rqPsn: number;
  sqPsn = 0;
  pathMtu: number;
  responderResources = 0;
  initiatorDepth = 0;
  retryCount = 7;
  rnrRetryCount = 7;
  ackTimeout: number;
  qKey = 0;
  tos = 0;
  reusesAddress = false;
  isAfOnly = false;
  /** Of a listener: requests that it may hold, and holds. */
  backlog = 0;
  pending = 0;
  listener: CmId | null = null;
  /** The transaction of the request that we answer, or asked with. */
  transactionHi = 0;
  transactionLo = 0;
  sent: Sent | null = null;
  /** Answers to be repeated when the peer asks again: REP, RTU, DREP, SIDR_REP. */
  answer: Uint8Array | null = null;
  isGone = false;
  // ── Timer ──
  deadline: Micros = Number.POSITIVE_INFINITY;
  slot = -1;
  readonly #onTimeout: (id: CmId, now: Micros) => void;

  constructor(
    of: { handle: number; context: number; portSpace: PortSpace; qpType: QpType; cookie: bigint },
    names: { localCommId: number; rqPsn: number; pathMtu: number; ackTimeout: number },
    onTimeout: (id: CmId, now: Micros) => void,
  ) {
    this.handle = of.handle;
    this.context = of.context;
    this.portSpace = of.portSpace;
    this.qpType = of.qpType;
    this.cookie = of.cookie;
    this.localCommId = names.localCommId;
    this.rqPsn = names.rqPsn;
    this.pathMtu = names.pathMtu;
    this.ackTimeout = names.ackTimeout;
    this.#onTimeout = onTimeout;
  }

  handleTimeout(now: Micros): void {
    if (!this.isGone) this.#onTimeout(this, now);
  }
}
