/** A queue pair: what it is and what it was told. Its two machines run the protocol. */
import type { QpCap } from './commands.ts';
import type { CompletionQueue } from './completion-queue.ts';
import { QpState, type QpType } from './constants.ts';
import type { EngineCore, Pd, Qp, Responder, Sender } from './core.ts';
import { indexOf } from './handles.ts';
import { createResponder, createSender } from './machines.ts';
import type { AddressVector, Path } from './path.ts';
import type { Ring } from './queue/ring.ts';
import type { SendRing } from './queue/send-ring.ts';
import type { SharedReceiveQueue } from './shared-receive-queue.ts';

/** What a QP is from birth. */
export interface QpIdentity {
  readonly qpn: number;
  readonly type: QpType;
  readonly handle: number;
  readonly pd: Pd;
  readonly sendCq: CompletionQueue;
  readonly recvCq: CompletionQueue;
  readonly srq: SharedReceiveQueue | null;
  readonly sq: SendRing;
  readonly rq: Ring | null;
  readonly cap: QpCap;
  readonly sqSigAll: boolean;
  readonly cookie: bigint;
}

export class QueuePair implements Qp {
  // What each turn needs stands first, in as few cache lines as it takes: there may be thousands of QPs.
  /** On the engine's list of QPs that have something to send. */
  isScheduled = false;
  /** Destroyed: whoever still holds it (that list, a timer) lets it go. */
  isGone = false;
  readonly sender: Sender;
  readonly responder: Responder;
  state: QpState = QpState.RESET;
  readonly type: QpType;
  readonly qpn: number;
  destQpn = 0;
  path: Path | null = null;
  pathMtuBytes = 0;
  readonly pd: Pd;
  readonly sq: SendRing;
  readonly sendCq: CompletionQueue;
  readonly sqSigAll: boolean;
  accessFlags = 0;
  timeout = 0;
  retryCount = 0;

  readonly handle: number;
  readonly recvCq: CompletionQueue;
  readonly srq: SharedReceiveQueue | null;
  readonly rq: Ring | null;
  readonly cap: QpCap;
  readonly cookie: bigint;
  rqPsn = 0;
  sqPsn = 0;
  qKey = 0;
  rnrRetry = 0;
  minRnrTimer = 0;
  maxRdAtomic = 0;
  maxDestRdAtomic = 0;
  sqdAsyncNotify = false;
  av: AddressVector | null = null;
  violations = 0;
  /** Multicast groups it is attached to: destroying it is EBUSY while there are any (o10-2.2.3). */
  groups = 0;
  asyncEvents = 0;

  constructor(identity: QpIdentity, core: EngineCore) {
    this.qpn = identity.qpn;
    this.type = identity.type;
    this.handle = identity.handle;
    this.pd = identity.pd;
    this.sendCq = identity.sendCq;
    this.recvCq = identity.recvCq;
    this.srq = identity.srq;
    this.sq = identity.sq;
    this.rq = identity.rq;
    this.cap = identity.cap;
    this.sqSigAll = identity.sqSigAll;
    this.cookie = identity.cookie;
    this.sender = createSender(this, core);
    this.responder = createResponder(this, core);
  }

  get context(): number {
    return this.pd.context;
  }

  get slot(): number {
    return indexOf(this.handle);
  }

  /** As new: nothing outstanding, nothing posted, no completion for either. */
  reset(): void {
    this.sq.publishConsumer(this.sq.producer());
    this.rq?.publishConsumer(this.rq.producer());
    this.sender.reset();
    this.responder.reset();
    this.path = null;
    this.av = null;
    this.destQpn = 0;
    this.sqdAsyncNotify = false;
    this.violations = 0;
  }
}
