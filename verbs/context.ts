/** An open device: everything else is made from it, and ends with it. `ibv_open_device(3)`. */
import { type DeviceAttributes, Errno, type PortAttributes } from '../rnic/commands.ts';
import { AsyncEvent } from '../rnic/constants.ts';
import type { DeviceLink, LinkEvent } from '../workers/device-link.ts';
import { EventChannel } from './cm.ts';
import { CompChannel } from './completion-channel.ts';
import { Cq } from './completion-queue.ts';
import { granted, VerbsError } from './errors.ts';
import { Pd } from './protection-domain.ts';
import type { Qp } from './queue-pair.ts';
import type { Srq } from './shared-receive-queue.ts';

/** `ibv_async_event`: a code of AsyncEvent, and the object it happened to (none for the port and the device). */
export interface DeviceEvent {
  readonly code: AsyncEvent;
  readonly element: Cq | Qp | Srq | null;
}

const CQ_EVENTS: readonly number[] = [AsyncEvent.CQ_ERR];
const SRQ_EVENTS: readonly number[] = [AsyncEvent.SRQ_ERR, AsyncEvent.SRQ_LIMIT_REACHED];
/** Events that nobody reads are kept up to here; then the oldest are dropped. */
const UNREAD_MAX = 1024;

export class Context {
  readonly link: DeviceLink;
  readonly #cqs = new Map<number, Cq>();
  readonly #qps = new Map<number, Qp>();
  readonly #srqs = new Map<number, Srq>();
  readonly #channels = new Map<number, CompChannel>();
  readonly #eventChannels = new Set<EventChannel>();
  readonly #events: DeviceEvent[] = [];
  readonly #waiters: { resolve(event: DeviceEvent): void; reject(error: Error): void }[] = [];
  readonly #onClose: () => Promise<void>;
  #ended: VerbsError | null = null;
  /** Why the device has ended by itself; null while it has not. */
  failure: VerbsError | null = null;

  constructor(link: DeviceLink, onClose: () => Promise<void> = async () => {}) {
    this.link = link;
    this.#onClose = onClose;
    link.onEvent = (event) => this.#handleEvent(event);
  }

  get deviceName(): string {
    return this.link.deviceName;
  }

  /**
   * Moves a polled device by one breath: for programs that wait for octets to change in their memory; polling a CQ does the same. True when there was something to
   * do. A device with a worker moves by itself: false.
   */
  progress(): boolean {
    return this.link.driver?.progress() ?? false;
  }

  async queryDevice(): Promise<DeviceAttributes> {
    return granted('queryDevice', await this.link.call({ op: 'queryDevice' }));
  }

  async queryPort(portNum = 1): Promise<PortAttributes> {
    return granted('queryPort', await this.link.call({ op: 'queryPort', portNum }));
  }

  /** 16 octets: an IPv6 address, or an IPv4 address mapped into one. */
  async queryGid(index: number, portNum = 1): Promise<Uint8Array> {
    return granted('queryGid', await this.link.call({ op: 'queryGid', portNum, index })).gid;
  }

  async allocPd(): Promise<Pd> {
    return new Pd(this, granted('allocPd', await this.link.call({ op: 'allocPd' })).pd);
  }

  async createCompChannel(): Promise<CompChannel> {
    const answer = granted('createCompChannel', await this.link.call({ op: 'createCompChannel' }));
    const channel = new CompChannel(this, answer.channel);
    this.#channels.set(channel.handle, channel);
    return channel;
  }

  /** Connections by address: `rdma_create_event_channel(3)`. */
  createEventChannel(): EventChannel {
    const channel = new EventChannel(this);
    this.#eventChannels.add(channel);
    return channel;
  }

  forgetEventChannel(channel: EventChannel): void {
    this.#eventChannels.delete(channel);
  }

  /** `cqe`: completions that it must hold. */
  async createCq(cqe: number, channel?: CompChannel): Promise<Cq> {
    const command = { op: 'createCq', cqe, ...(channel && { channel: channel.handle }) } as const;
    const answer = granted('createCq', await this.link.call(command));
    const cq = new Cq(this, answer.cq, channel ?? null, answer.cqe, answer.queue);
    this.#cqs.set(cq.handle, cq);
    return cq;
  }

  /** The next asynchronous event. Rejects when the device ends. */
  getAsyncEvent(): Promise<DeviceEvent> {
    const event = this.#events.shift();
    if (event) return Promise.resolve(event);
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Ends the device's use, and with it everything made from it. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#end(new VerbsError('close', Errno.ENODEV, 'the device is closed'));
    await this.link.close();
    await this.#onClose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  rememberQp(qp: Qp): void {
    this.#qps.set(qp.handle, qp);
  }

  rememberSrq(srq: Srq): void {
    this.#srqs.set(srq.handle, srq);
  }

  forgetQp(qp: Qp): void {
    this.#qps.delete(qp.handle);
  }

  forgetSrq(srq: Srq): void {
    this.#srqs.delete(srq.handle);
  }

  forgetCq(cq: Cq): void {
    this.#cqs.delete(cq.handle);
  }

  forgetChannel(channel: CompChannel): void {
    this.#channels.delete(channel.handle);
  }

  #handleEvent(event: LinkEvent): void {
    if (event.kind === 'completion') {
      const cq = this.#cqs.get(event.cq);
      if (cq) this.#channels.get(event.channel)?.handleEvent(cq);
    } else if (event.kind === 'cm') {
      for (const channel of this.#eventChannels) if (channel.handleEvent(event.event)) return;
    } else if (event.kind === 'async') this.#handleAsync(event.code, event.handle);
    else if (event.kind === 'fatal') {
      this.#tell({ code: AsyncEvent.DEVICE_FATAL, element: null });
      this.failure = new VerbsError('getAsyncEvent', Errno.EIO, event.reason);
      this.#end(this.failure);
    }
  }

  #handleAsync(code: AsyncEvent, handle: number): void {
    if (CQ_EVENTS.includes(code)) this.#tell({ code, element: this.#cqs.get(handle) ?? null });
    else if (SRQ_EVENTS.includes(code)) this.#tell({ code, element: this.#srqs.get(handle) ?? null });
    else if (code >= AsyncEvent.DEVICE_FATAL && code !== AsyncEvent.QP_LAST_WQE_REACHED)
      this.#tell({ code, element: null });
    else {
      const qp = this.#qps.get(handle) ?? null;
      qp?.handleAsyncEvent(code);
      this.#tell({ code, element: qp });
    }
  }

  #tell(event: DeviceEvent): void {
    const waiter = this.#waiters.shift();
    if (waiter) return waiter.resolve(event);
    this.#events.push(event);
    if (this.#events.length > UNREAD_MAX) this.#events.shift();
  }

  #end(error: VerbsError): void {
    this.#ended ??= error;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
    for (const channel of this.#channels.values()) channel.end(error);
    for (const channel of this.#eventChannels) channel.end(error);
  }
}
