/** rdma_cm event channels of programs, and which id belongs to which. One link to the vRNIC serves them all; a channel sees its own ids only. */
import { randomBytes } from 'node:crypto';
import { type CmEvent, CmEventType, type PortSpace } from '../../rnic/cm/commands.ts';
import type { ControlLink, LinkEvent } from '../../workers/device-link.ts';
import { Arena } from '../../workers/linux/arena.ts';
import * as Libc from '../../workers/linux/libc.ts';
import { openPipe } from '../../workers/linux/unix-socket.ts';
import { invalid } from './errors.ts';
import { type Reply, TOKEN_BYTES } from './protocol.ts';

/** One octet for each event that waits. */
const PIPE_BYTES = 65_536;
const token = new Arena(1);

/** An id, or a multicast join, as its program knows it. */
export interface CmRecord {
  /** The program's own name for it: comes back in events. */
  uid: bigint;
  readonly portSpace: PortSpace;
  readonly handle: number;
  /** Events of it that were fetched. */
  reported: number;
  readonly isMulticast: boolean;
}

export interface QueuedEvent {
  readonly uid: bigint;
  readonly portSpace: PortSpace;
  readonly event: CmEvent;
  /** Whose event it counts as. */
  readonly owner: CmRecord;
}

/** All channels of a vRNIC. */
export class CmService {
  readonly link: ControlLink;
  readonly nodeGuid: bigint;
  readonly #channels = new Map<number, CmChannel>();
  #nextId = 1;

  constructor(link: ControlLink, nodeGuid: bigint, onFatal: () => void) {
    this.link = link;
    this.nodeGuid = nodeGuid;
    link.onEvent = (event: LinkEvent) => {
      if (event.kind === 'cm') this.#route(event.event);
      else if (event.kind === 'fatal') onFatal();
    };
  }

  get isIdle(): boolean {
    return this.#channels.size === 0;
  }

  newChannel(): CmChannel {
    const channel = new CmChannel(this, this.#nextId++);
    this.#channels.set(channel.number, channel);
    return channel;
  }

  channel(number: number): CmChannel | undefined {
    return this.#channels.get(number);
  }

  withToken(wanted: Buffer): CmChannel | undefined {
    return [...this.#channels.values()].find((channel) => channel.token.equals(wanted));
  }

  forget(channel: CmChannel): void {
    this.#channels.delete(channel.number);
  }

  close(): Promise<void> {
    for (const channel of this.#channels.values()) channel.closePipe();
    this.#channels.clear();
    return this.link.close();
  }

  #route(event: CmEvent): void {
    const isMulticast = event.multicast !== undefined;
    const wanted = event.listenId ?? event.multicast ?? event.id;
    for (const channel of this.#channels.values()) if (channel.take(event, wanted, isMulticast)) return;
    // Nobody listens any more: the request that came meanwhile ends here.
    if (event.type === CmEventType.CONNECT_REQUEST) void this.link.call({ op: 'cmDestroyId', id: event.id });
  }
}

/** One open rdma_cm descriptor: a pipe that says how many events wait, and the events. */
export class CmChannel {
  readonly number: number;
  readonly token = randomBytes(TOKEN_BYTES);
  /** Processes that hold it. */
  connections = 0;
  readonly service: CmService;
  readonly #ids = new Map<number, CmRecord>();
  readonly #joins = new Map<number, CmRecord>();
  #events: QueuedEvent[] = [];
  #pipe = -1;

  constructor(service: CmService, number: number) {
    this.number = number;
    this.service = service;
  }

  get link(): ControlLink {
    return this.service.link;
  }

  get nodeGuid(): bigint {
    return this.service.nodeGuid;
  }

  /** The pipe's read end travels with the reply. @throws SystemError */
  openPipe(reply: Reply): void {
    const [read, write] = openPipe(PIPE_BYTES);
    reply.attach(read);
    this.#pipe = write;
    reply.context(0, this.number, this.token);
  }

  closePipe(): void {
    if (this.#pipe >= 0) Libc.close(this.#pipe);
    this.#pipe = -1;
  }

  add(record: CmRecord): void {
    (record.isMulticast ? this.#joins : this.#ids).set(record.handle, record);
  }

  /** @throws CommandError for an id of somebody else, or of nobody. */
  get(handle: number): CmRecord {
    const record = this.#ids.get(handle);
    if (!record) throw invalid('no such id');
    return record;
  }

  getJoin(handle: number): CmRecord {
    const record = this.#joins.get(handle);
    if (!record) throw invalid('no such multicast join');
    return record;
  }

  remove(record: CmRecord): void {
    (record.isMulticast ? this.#joins : this.#ids).delete(record.handle);
    const isOther = ({ owner, event }: QueuedEvent): boolean =>
      owner !== record && (record.isMulticast || event.id !== record.handle);
    for (const { event } of this.#events.filter((queued) => queued.owner === record)) this.#drop(event);
    this.#events = this.#events.filter(isOther);
  }

  /** True when the event is one of this channel's: it waits here from now on. */
  take(event: CmEvent, wanted: number, isMulticast: boolean): boolean {
    const owner = (isMulticast ? this.#joins : this.#ids).get(wanted);
    if (!owner) return false;
    const { uid, portSpace } = owner;
    if (event.type === CmEventType.CONNECT_REQUEST)
      this.add({ uid: 0n, portSpace, handle: event.id, reported: 0, isMulticast: false });
    this.#put({ uid, portSpace, event, owner });
    return true;
  }

  takeEvent(): QueuedEvent | undefined {
    const queued = this.#events.shift();
    if (queued) queued.owner.reported++;
    return queued;
  }

  /** Takes an id, and the events that wait for it, from another channel of the same program. @throws CommandError */
  migrateHere(handle: number, from: number): CmRecord {
    const other = this.service.channel(from);
    if (!other) throw invalid('no such channel');
    const record = other.get(handle);
    other.#ids.delete(handle);
    this.#ids.set(handle, record);
    const moving = other.#events.filter(({ owner }) => owner === record);
    other.#events = other.#events.filter(({ owner }) => owner !== record);
    for (const queued of moving) this.#put(queued);
    return record;
  }

  /** The descriptor is closed: its ids end. */
  close(): void {
    this.service.forget(this);
    for (const { handle } of this.#joins.values()) void this.link.call({ op: 'cmLeaveMulticast', multicast: handle });
    for (const { handle } of this.#ids.values()) void this.link.call({ op: 'cmDestroyId', id: handle });
    this.closePipe();
  }

  #put(queued: QueuedEvent): void {
    this.#events.push(queued);
    Libc.write(this.#pipe, token.address, 1);
  }

  /** A request that nobody will answer now: its listener has gone. */
  #drop(event: CmEvent): void {
    if (event.type !== CmEventType.CONNECT_REQUEST) return;
    this.#ids.delete(event.id);
    void this.link.call({ op: 'cmDestroyId', id: event.id });
  }
}
