/**
 * The connection manager for TypeScript programs, as librdmacm has it (`rdma_cm(7)`): ids, event channels, connection by address. A call that begins something
 * (an address looked up, a connection made) settles when it is done; what nobody waits for comes from the channel: requests for a connection, the other side's
 * agreement, the end.
 */
import { CmEventType, type CmParameters, type CmEvent as EngineEvent, PortSpace } from '../rnic/cm/commands.ts';
import { Errno, type QpAttributes } from '../rnic/commands.ts';
import { QpState, QpType } from '../rnic/constants.ts';
import type { AddressVector } from '../rnic/path.ts';
import type { LinkCommand } from '../workers/device-link.ts';
import { gidText, toGid } from '../workers/linux/netdev.ts';
import type { Context } from './context.ts';
import { granted, VerbsError } from './errors.ts';
import type { Pd } from './protection-domain.ts';
import type { Qp, QpInitAttributes } from './queue-pair.ts';

export { PortSpace };

/** `enum rdma_cm_event_type`, by name. */
export type CmEventName = keyof typeof CmEventType;
const NAMES = Object.keys(CmEventType) as CmEventName[];

export interface CmAddress {
  /** IPv4 or IPv6, in text; `0.0.0.0` and `::` are any. */
  readonly address: string;
  readonly port: number;
}

/** `rdma_conn_param`. */
export interface ConnectionParameters {
  /** At most 56 octets to connect, 196 to accept; of datagrams 180 and 136. */
  readonly privateData?: Uint8Array;
  /** 0 … 255, READs and atomics that our QP may answer at once; 16 by default, or what the peer asked for. */
  readonly responderResources?: number;
  readonly initiatorDepth?: number;
  /** 0 … 7. */
  readonly retryCount?: number;
  readonly rnrRetryCount?: number;
  /** Of datagrams. */
  readonly qKey?: number;
}

export interface CmEvent {
  readonly name: CmEventName;
  /** CONNECT_REQUEST: a new id, to accept or reject. */
  readonly id: CmId;
  readonly listenId?: CmId;
  /** 0, a negative errno, or the reason of a REJECTED (IBA Vol. 1, table 109). */
  readonly status: number;
  readonly privateData: Uint8Array;
  /** What the peer proposes. */
  readonly parameters?: CmParameters;
  /** Datagrams and multicast: where they go, `qpNum` and `qKey` are in `parameters`. */
  readonly av?: AddressVector;
}

/** How a call of an id fails when the other side, or the network, says no. */
export class CmError extends VerbsError {
  readonly event: CmEvent;

  constructor(verb: string, event: CmEvent) {
    const errno =
      event.name === 'REJECTED' ? Errno.ECONNREFUSED : event.status < 0 ? -event.status : Errno.EHOSTUNREACH;
    super(verb, errno, `${event.name}${event.status === 0 ? '' : `, status ${event.status}`}`);
    this.name = 'CmError';
    this.event = event;
  }
}

interface Waiter {
  readonly verb: string;
  readonly wanted: CmEventType;
  resolve(event: CmEvent): void;
  reject(error: Error): void;
}

const FAILURES: readonly number[] = [
  CmEventType.ADDR_ERROR,
  CmEventType.ROUTE_ERROR,
  CmEventType.CONNECT_ERROR,
  CmEventType.UNREACHABLE,
  CmEventType.REJECTED,
  CmEventType.MULTICAST_ERROR,
];
const ADDRESS_MILLIS = 2000;
const RESOURCES = 16;
const RETRIES = 7;
const UNREAD_MAX = 65_536;

/** `rdma_create_event_channel(3)`. */
export class EventChannel {
  readonly context: Context;
  readonly #ids = new Map<number, CmId>();
  readonly #events: CmEvent[] = [];
  readonly #waiters: { resolve(event: CmEvent): void; reject(error: Error): void }[] = [];
  #ended: VerbsError | null = null;

  constructor(context: Context) {
    this.context = context;
  }

  /** The next event that no call waits for. Rejects when the channel or its device ends. */
  getCmEvent(): Promise<CmEvent> {
    const event = this.#events.shift();
    if (event) return Promise.resolve(event);
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** @throws VerbsError ENOMEM when the vRNIC has no id left. */
  async createId(portSpace: PortSpace, qpType: QpType = QpType.RC): Promise<CmId> {
    const command = { op: 'cmCreateId', portSpace, qpType } as const;
    const { id } = granted('createId', await this.context.link.call(command));
    return this.#remember(new CmId(this, id, portSpace));
  }

  /** Destroys its ids too. */
  async destroy(): Promise<void> {
    for (const id of [...this.#ids.values()]) await id.destroy();
    this.end(new VerbsError('getCmEvent', Errno.ENODEV, 'the event channel is destroyed'));
    this.context.forgetEventChannel(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }

  /** From the context: true when the event is of this channel. */
  handleEvent(event: EngineEvent): boolean {
    const owner = this.#ids.get(event.listenId ?? event.id);
    if (!owner) return false;
    const isRequest = event.type === CmEventType.CONNECT_REQUEST;
    const id = isRequest ? this.#remember(new CmId(this, event.id, owner.portSpace)) : owner;
    if (isRequest) id.proposed = event.parameters ?? null;
    const { status, parameters, av } = event;
    const privateData = parameters?.privateData ?? new Uint8Array(0);
    const told: CmEvent = {
      name: NAMES[event.type]!,
      id,
      status,
      privateData,
      ...(isRequest && { listenId: owner }),
      ...(parameters && { parameters }),
      ...(av && { av }),
    };
    if (!id.settle(event.type, told)) this.#tell(told);
    return true;
  }

  forget(id: CmId): void {
    this.#ids.delete(id.handle);
  }

  end(error: VerbsError): void {
    this.#ended ??= error;
    for (const id of this.#ids.values()) id.fail(error);
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  #remember(id: CmId): CmId {
    this.#ids.set(id.handle, id);
    return id;
  }

  #tell(event: CmEvent): void {
    const waiter = this.#waiters.shift();
    if (waiter) return waiter.resolve(event);
    this.#events.push(event);
    if (this.#events.length > UNREAD_MAX) this.#events.shift();
  }
}

/** `rdma_create_id(3)`: one end of a connection, or a listener. */
export class CmId {
  readonly channel: EventChannel;
  readonly handle: number;
  readonly portSpace: PortSpace;
  /** Made by `createQp`; moved through its states by connect and accept. */
  qp: Qp | null = null;
  /** A request's parameters: what accept agrees to by default. */
  proposed: CmParameters | null = null;
  readonly #waiters: Waiter[] = [];
  #isOpen = true;

  constructor(channel: EventChannel, handle: number, portSpace: PortSpace) {
    this.channel = channel;
    this.handle = handle;
    this.portSpace = portSpace;
  }

  /** `rdma_bind_addr(3)`. Port 0: one that is free. @throws VerbsError EADDRINUSE, EADDRNOTAVAIL. */
  async bindAddr({ address, port }: CmAddress): Promise<void> {
    await this.#call('bindAddr', { op: 'cmBindAddr', id: this.handle, local: { address: toGid(address), port } });
  }

  /** `rdma_resolve_addr(3)`. @throws CmError ADDR_ERROR, VerbsError ENETUNREACH. */
  async resolveAddr(
    destination: CmAddress,
    options: { source?: CmAddress; timeoutMillis?: number } = {},
  ): Promise<void> {
    const { source, timeoutMillis = ADDRESS_MILLIS } = options;
    const to = { address: toGid(destination.address), port: destination.port };
    const from = source && { address: toGid(source.address), port: source.port };
    const command = { op: 'cmResolveAddr', id: this.handle, destination: to, timeoutMillis } as const;
    await this.#begin('resolveAddr', { ...command, ...(from && { source: from }) }, CmEventType.ADDR_RESOLVED);
  }

  /** `rdma_resolve_route(3)`. */
  async resolveRoute(): Promise<void> {
    await this.#begin('resolveRoute', { op: 'cmResolveRoute', id: this.handle }, CmEventType.ROUTE_RESOLVED);
  }

  /** Both ends' addresses. `rdma_get_local_addr(3)`, `rdma_get_peer_addr(3)`. */
  async addresses(): Promise<{ local: CmAddress; remote: CmAddress }> {
    const { link } = this.channel.context;
    const { local, remote } = granted('addresses', await link.call({ op: 'cmQueryRoute', id: this.handle }));
    const text = ({ address, port }: { address: Uint8Array; port: number }) => ({
      address: gidText(address).replace(/^::ffff:(?=.*\.)/, ''),
      port,
    });
    return { local: text(local), remote: text(remote) };
  }

  /** `rdma_create_qp(3)`: in INIT; of datagrams in RTS. */
  async createQp(pd: Pd, init: Omit<QpInitAttributes, 'type'>): Promise<Qp> {
    const type = this.portSpace === PortSpace.UDP ? QpType.UD : QpType.RC;
    const qp = await pd.createQp({ ...init, type });
    await this.#move(qp, QpState.INIT);
    if (type === QpType.UD) {
      await qp.modifyQp({ qpState: QpState.RTR });
      await qp.modifyQp({ qpState: QpState.RTS, sqPsn: 0 });
    }
    this.qp = qp;
    return qp;
  }

  /** `rdma_connect(3)`: settles when the connection is made, with what the other side said. Of datagrams: when the service is found. @throws CmError REJECTED, UNREACHABLE. */
  async connect(parameters: ConnectionParameters = {}): Promise<CmEvent> {
    const isDatagram = this.portSpace === PortSpace.UDP;
    const wanted = isDatagram ? CmEventType.ESTABLISHED : CmEventType.CONNECT_RESPONSE;
    const whole = this.#whole(parameters, null);
    const event = await this.#begin('connect', { op: 'cmConnect', id: this.handle, parameters: whole }, wanted);
    if (isDatagram) return event;
    await this.#ready(parameters);
    await this.#call('connect', { op: 'cmAccept', id: this.handle });
    return { ...event, name: 'ESTABLISHED' };
  }

  /** `rdma_listen(3)`. Requests come from the channel. */
  async listen(backlog = 0): Promise<void> {
    await this.#call('listen', { op: 'cmListen', id: this.handle, backlog });
  }

  /** `rdma_accept(3)`. ESTABLISHED comes from the channel when the other side has heard of it. */
  async accept(parameters: ConnectionParameters = {}): Promise<void> {
    const whole = this.#whole(parameters, this.proposed);
    if (this.portSpace === PortSpace.TCP) await this.#ready(parameters);
    await this.#call('accept', { op: 'cmAccept', id: this.handle, parameters: whole });
  }

  /** `rdma_reject(3)`. */
  async reject(privateData: Uint8Array = new Uint8Array(0)): Promise<void> {
    await this.#call('reject', { op: 'cmReject', id: this.handle, privateData });
  }

  /** `rdma_disconnect(3)`: the QP flushes; DISCONNECTED comes from the channel. */
  async disconnect(): Promise<void> {
    if (this.qp && this.qp.state !== QpState.RESET) await this.qp.modifyQp({ qpState: QpState.ERR });
    await this.#call('disconnect', { op: 'cmDisconnect', id: this.handle });
  }

  /** `rdma_join_multicast(3)`: the group's Q_Key and address; attach the QP to it with `Qp.attachMcast`. */
  async joinMulticast(group: string): Promise<CmEvent> {
    const command = { op: 'cmJoinMulticast', id: this.handle, group: toGid(group) } as const;
    return this.#begin('joinMulticast', command, CmEventType.MULTICAST_JOIN);
  }

  /** `rdma_destroy_id(3)`. The QP stays, to be destroyed by who made it. Idempotent. */
  async destroy(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.channel.forget(this);
    this.fail(new VerbsError('destroy', Errno.ENODEV, 'the id is destroyed'));
    granted('destroy', await this.channel.context.link.call({ op: 'cmDestroyId', id: this.handle }));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }

  /** From the channel: true when a call waited for it. */
  settle(type: CmEventType, event: CmEvent): boolean {
    const at = this.#waiters.findIndex(({ wanted }) => wanted === type || FAILURES.includes(type));
    const [waiter] = at < 0 ? [] : this.#waiters.splice(at, 1);
    if (!waiter) return false;
    if (waiter.wanted === type) waiter.resolve(event);
    else waiter.reject(new CmError(waiter.verb, event));
    return true;
  }

  fail(error: Error): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  async #call(verb: string, command: LinkCommand): Promise<void> {
    granted(verb, await this.channel.context.link.call(command));
  }

  /** The event may come before the command's answer has been looked at: whoever waits is written down first. */
  #begin(verb: string, command: LinkCommand, wanted: CmEventType): Promise<CmEvent> {
    return new Promise((resolve, reject) => {
      const waiter = { verb, wanted, resolve, reject };
      this.#waiters.push(waiter);
      this.#call(verb, command).catch((error: Error) => {
        const at = this.#waiters.indexOf(waiter);
        if (at >= 0) this.#waiters.splice(at, 1);
        reject(error);
      });
    });
  }

  #whole(parameters: ConnectionParameters, proposed: CmParameters | null): CmParameters {
    const { privateData = new Uint8Array(0), retryCount = RETRIES, rnrRetryCount = RETRIES, qKey } = parameters;
    return {
      qpNum: this.qp?.qpNum ?? 0,
      ...(qKey !== undefined && { qKey }),
      privateData,
      srq: this.qp?.srq != null,
      responderResources: parameters.responderResources ?? proposed?.responderResources ?? RESOURCES,
      initiatorDepth: parameters.initiatorDepth ?? proposed?.initiatorDepth ?? RESOURCES,
      flowControl: false,
      retryCount,
      rnrRetryCount,
    };
  }

  /** Our QP to RTR and RTS, as the messages say. */
  async #ready(parameters: ConnectionParameters): Promise<void> {
    if (!this.qp) return;
    await this.#move(this.qp, QpState.INIT);
    const { responderResources: maxDestRdAtomic, initiatorDepth: maxRdAtomic } = parameters;
    await this.#move(this.qp, QpState.RTR, maxDestRdAtomic === undefined ? {} : { maxDestRdAtomic });
    await this.#move(this.qp, QpState.RTS, maxRdAtomic === undefined ? {} : { maxRdAtomic });
  }

  async #move(qp: Qp, state: QpState, others: QpAttributes = {}): Promise<void> {
    const command = { op: 'cmInitQpAttr', id: this.handle, state } as const;
    const { attributes } = granted('createQp', await this.channel.context.link.call(command));
    await qp.modifyQp({ ...attributes, ...others });
  }
}
