/** The connection manager's state, in one place: ids, their names on the network, ports, what is to be sent and what is to be told. */
import type { Micros } from '../../wire/types.ts';
import type { RnicConfig, RnicHost } from '../config.ts';
import type { QpType } from '../constants.ts';
import { Counter, type Counters } from '../counters.ts';
import { Handles } from '../handles.ts';
import type { AddressVector } from '../path.ts';
import type { Timers } from '../timers.ts';
import { CmId, CmState } from './cm-id.ts';
import type { CmEvent, CmEventType, CmParameters, PortSpace } from './commands.ts';
import { Outbox, type Resolve } from './outbox.ts';
import { PortTable } from './port-table.ts';

export interface CmSurroundings {
  readonly config: RnicConfig;
  readonly host: RnicHost;
  readonly timers: Timers;
  readonly counters: Counters;
  mtuBytes(): number;
  readonly resolve: Resolve;
}

export interface MulticastJoin {
  readonly handle: number;
  readonly id: CmId;
}

/** As Linux's rdma_cm chooses them (cma.c: CMA_CM_RESPONSE_TIMEOUT, CMA_MAX_CM_RETRIES, CMA_IBOE_PACKET_LIFETIME): exponents of 4.096 µs. */
export const CM_RESPONSE_TIMEOUT = 20;
export const MAX_CM_RETRIES = 15;
const PACKET_LIFETIME = 16;
const ACK_TIMEOUT = PACKET_LIFETIME + 1;
export const exponentMicros = (exponent: number): Micros => 4.096 * 2 ** exponent;
/** How long an answer may take: the peer's time, and two ways through the network. */
export const ANSWER_MICROS = exponentMicros(CM_RESPONSE_TIMEOUT) + 2 * exponentMicros(PACKET_LIFETIME);

/** RDMA_UDP_QKEY. */
const UDP_Q_KEY = 0x0123_4567;
const IDS_MAX = 65_536;
/** Events that nobody takes; then the oldest request for a connection would only be repeated. */
const EVENTS_MAX = 65_536;

export class CmCore {
  readonly around: CmSurroundings;
  readonly outbox: Outbox;
  readonly ports: PortTable;
  /** By our name of the connection. */
  readonly byCommId = new Map<number, CmId>();
  /** Passive ids, by who asked: requests come again. */
  readonly byRequest = new Map<string, CmId>();
  readonly #ids = new Map<number, Handles<CmId>>();
  readonly #joins = new Map<number, Handles<MulticastJoin>>();
  readonly #events: CmEvent[] = [];
  readonly #onTimeout: (id: CmId, now: Micros) => void;
  #count = 0;

  constructor(around: CmSurroundings, onTimeout: (id: CmId, now: Micros) => void) {
    this.around = around;
    this.outbox = new Outbox(around.resolve, around.counters);
    this.ports = new PortTable(() => around.host.random32());
    this.#onTimeout = onTimeout;
  }

  // ── Ids ──

  get count(): number {
    return this.#count;
  }

  /** Null when there are as many as may be. */
  newId(context: number, portSpace: PortSpace, qpType: QpType, cookie: bigint): CmId | null {
    if (this.#count >= IDS_MAX) return null;
    const names = {
      localCommId: this.#newCommId(),
      rqPsn: this.around.host.random32() & 0xff_ffff,
      pathMtu: 24 - Math.clz32(this.around.mtuBytes()),
      ackTimeout: ACK_TIMEOUT,
    };
    const handles = this.#handlesOf(this.#ids, context);
    const id = handles.add(
      (handle) => new CmId({ handle, context, portSpace, qpType, cookie }, names, this.#onTimeout),
    );
    id.qKey = UDP_Q_KEY;
    this.#count++;
    this.byCommId.set(id.localCommId, id);
    return id;
  }

  find(context: number, handle: unknown): CmId | undefined {
    return this.#ids.get(context)?.get(handle);
  }

  remove(id: CmId): void {
    if (id.isGone) return;
    id.isGone = true;
    this.#count--;
    this.stop(id);
    if (id.local.port !== 0 && id.listener === null) this.ports.release(id);
    if (id.listener) id.listener.pending -= isPending(id) ? 1 : 0;
    this.byCommId.delete(id.localCommId);
    for (const [key, other] of this.byRequest) if (other === id) this.byRequest.delete(key);
    this.#ids.get(id.context)?.remove(id.handle);
    this.#dropEvents((event) => event.context === id.context && event.id === id.handle);
  }

  idsOf(context: number): CmId[] {
    return [...(this.#ids.get(context) ?? [])];
  }

  forgetContext(context: number): void {
    this.#ids.delete(context);
    this.#joins.delete(context);
    this.#dropEvents((event) => event.context === context);
  }

  newJoin(id: CmId): MulticastJoin {
    return this.#handlesOf(this.#joins, id.context).add((handle) => ({ handle, id }));
  }

  removeJoin(context: number, handle: number): boolean {
    const joins = this.#joins.get(context);
    if (!joins?.get(handle)) return false;
    joins.remove(handle);
    this.#dropEvents((event) => event.context === context && event.multicast === handle);
    return true;
  }

  // ── Messages ──

  /** Sends a message that expects an answer, and sends it again until `stop`. */
  ask(id: CmId, mad: Uint8Array, now: Micros, intervalMicros = ANSWER_MICROS, tries = MAX_CM_RETRIES): void {
    id.sent = { mad, triesLeft: tries, intervalMicros };
    this.outbox.post(mad, id.madAv!);
    this.around.timers.arm(id, now + intervalMicros);
  }

  /** Sends an answer, kept for those who ask again. */
  answer(id: CmId, mad: Uint8Array): void {
    id.answer = mad;
    this.outbox.post(mad, id.madAv!);
  }

  answerAgain(id: CmId): void {
    this.around.counters.add(Counter.cm_rx_duplicates);
    if (id.answer) this.outbox.post(id.answer, id.madAv!);
  }

  /** No answer is awaited any more. */
  stop(id: CmId): void {
    id.sent = null;
    this.around.timers.disarm(id);
  }

  /** The connection is over; its name stays taken for as long as a packet may still be on its way. */
  enterTimewait(id: CmId, now: Micros): void {
    this.stop(id);
    id.state = CmState.TIMEWAIT;
    this.around.timers.arm(id, now + exponentMicros(id.ackTimeout));
  }

  // ── Events ──

  raise(id: CmId, type: CmEventType, of: Partial<Omit<CmEvent, 'type'>> = {}): void {
    const { context, handle, cookie } = id;
    if (this.#events.length >= EVENTS_MAX) return this.around.counters.add(Counter.async_events_lost);
    this.#events.push({ context, type, id: handle, cookie, status: 0, ...of });
  }

  pollEvent(): CmEvent | undefined {
    return this.#events.shift();
  }

  #dropEvents(isStale: (event: CmEvent) => boolean): void {
    for (let i = this.#events.length - 1; i >= 0; i--) if (isStale(this.#events[i]!)) this.#events.splice(i, 1);
  }

  #newCommId(): number {
    let commId = 0;
    while (commId === 0 || this.byCommId.has(commId)) commId = this.around.host.random32();
    return commId;
  }

  #handlesOf<T extends object>(tables: Map<number, Handles<T>>, context: number): Handles<T> {
    const known = tables.get(context);
    if (known) return known;
    const handles = new Handles<T>();
    tables.set(context, handles);
    return handles;
  }
}

/** Asked for, and neither accepted nor refused yet. */
const isPending = (id: CmId): boolean => id.state === CmState.REQ_RECEIVED || id.state === CmState.SIDR_REQ_RECEIVED;

export function settlePending(id: CmId): void {
  if (id.listener && isPending(id)) id.listener.pending--;
}

/** Who asked: the requester's name of the connection, and where it lives. */
export const requestKey = (commId: number, av: AddressVector): string => `${commId}@${av.dgid.join('.')}`;

export const NO_PARAMETERS: CmParameters = {
  qpNum: 0,
  privateData: new Uint8Array(0),
  srq: false,
  responderResources: 0,
  initiatorDepth: 0,
  flowControl: false,
  retryCount: 0,
  rnrRetryCount: 0,
};
