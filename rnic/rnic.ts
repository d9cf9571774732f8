/**
 * One vRNIC's engine: its tables, its commands, and the order in which things happen. Sans-IO: packets, doorbells, commands and the time go in; packets, completions
 * (into shared memory) and events come out. ARCHITECTURE.md, "The engine's contract".
 */
import type { Micros } from '../wire/types.ts';
import type { CmCommand, CmEvent } from './cm/commands.ts';
import { ConnectionManager } from './cm/connection-manager.ts';
import { type AnyCommand, type EngineEvent, Errno, type Result } from './commands.ts';
import type { CompletionQueue } from './completion-queue.ts';
import { checkLimits, type GidEntry, type RnicConfig, type RnicHost, type RnicLimits } from './config.ts';
import { AsyncEvent, mtuBytes, QpState, WcStatus } from './constants.ts';
import { Context } from './context.ts';
import { closeContext } from './control/close-context.ts';
import type { Control, Totals } from './control/control.ts';
import { HANDLERS } from './control/handlers.ts';
import type { EngineCore, Qp } from './core.ts';
import { Counter, Counters } from './counters.ts';
import { EndedMessages } from './ended-messages.ts';
import { ErrorSweep } from './error-sweep.ts';
import { Events } from './events.ts';
import { InFlight } from './in-flight.ts';
import { Ingress } from './ingress.ts';
import { RegionTable } from './memory/regions.ts';
import { MulticastGroups } from './multicast.ts';
import type { ReceivedPacket } from './packet.ts';
import { PacketPool } from './packet-pool.ts';
import type { PacketWriter } from './packet-writer.ts';
import { PeerViolations } from './peer-violations.ts';
import type { QueuePair } from './qp.ts';
import { QpTable } from './qp-table.ts';
import type { DoorbellPage } from './queue/doorbell.ts';
import { refuse } from './refusal.ts';
import { type ContextResources, resourcesOf } from './resources.ts';
import { Schedule } from './schedule.ts';
import { Timers } from './timers.ts';
import { WaitingRoom } from './waiting-datagrams.ts';

/** Headers that may stand around a payload, and its ICRC: rxe counts 80 octets too. */
const HEADER_BYTES_MAX = 80;

export class Rnic implements EngineCore, Control {
  readonly config: RnicConfig;
  readonly host: RnicHost;
  readonly counters = new Counters();
  readonly timers = new Timers();
  readonly events: Events;
  readonly regions: RegionTable;
  readonly reorderPool: PacketPool;
  readonly waitingRoom = new WaitingRoom();
  readonly inFlight = new InFlight();
  readonly peerViolations = new PeerViolations();
  readonly ended: EndedMessages;
  readonly qps: QpTable;
  readonly groups: MulticastGroups;
  readonly totals: Totals = {
    pds: 0,
    mrs: 0,
    mws: 0,
    channels: 0,
    cqs: 0,
    srqs: 0,
    qps: 0,
    ahs: 0,
    registeredBytes: 0,
  };
  readonly core: EngineCore = this;
  readonly connections: ConnectionManager;
  readonly #contexts = new Map<number, Context>();
  /** The same in a row: doorbells are looked for all the time, and a walk over a map makes objects. */
  #contextList: readonly Context[] = [];
  readonly #ingress: Ingress;
  readonly #schedule = new Schedule();
  readonly #errors: ErrorSweep;
  /** CQs that overran and whose QPs do not know yet. */
  readonly #overrun: CompletionQueue[] = [];
  isUp = true;
  #nextContext = 1;
  #mtuBytes: number;

  /** @throws RangeError when the configuration's limits or QPNs cannot be. */
  constructor(config: RnicConfig, host: RnicHost) {
    checkLimits(config.limits);
    this.config = config;
    this.host = host;
    const random32 = (): number => host.random32();
    this.events = new Events(this.counters, config.limits.asyncEvents);
    this.regions = new RegionTable(random32);
    this.ended = new EndedMessages(host.placeRest?.bind(host) ?? (() => {}));
    this.reorderPool = new PacketPool(config.limits.reorderPackets);
    this.qps = new QpTable(config.qpnBase, config.qpnCount, random32);
    this.groups = new MulticastGroups(config.limits.multicastGroups, config.limits.multicastMembers);
    this.#ingress = new Ingress(this.counters, this.qps, this.groups, this.ended);
    this.#errors = new ErrorSweep(this.timers);
    this.#mtuBytes = largestPathMtu(config.mtu);
    const { timers, counters } = this;
    const resolve = host.resolve?.bind(host) ?? (() => refuse(Errno.EOPNOTSUPP, 'no connections are managed here'));
    const mtu = (): number => this.#mtuBytes;
    this.connections = new ConnectionManager({ config, host, timers, counters, resolve, mtuBytes: mtu });
    if (host.resolve) this.#ingress.gsi = this.connections;
  }

  // ── Contexts and commands ──

  /** An application opens the device. -1 when it holds as many as it may. */
  openContext(doorbell: DoorbellPage): number {
    if (this.#contexts.size >= this.config.limits.contexts) return -1;
    const id = this.#nextContext++;
    this.#contexts.set(id, new Context(id, doorbell));
    this.#contextList = [...this.#contexts.values()];
    return id;
  }

  /** The application is gone: so is everything it had. */
  closeContext(id: number, now: Micros): void {
    const context = this.#contexts.get(id);
    if (context === undefined) return;
    closeContext(this, context, now);
    this.connections.closeContext(id);
    this.events.forgetContext(id);
    this.#contexts.delete(id);
    this.#contextList = [...this.#contexts.values()];
  }

  execute(id: number, command: AnyCommand, now: Micros): Result {
    const context = this.#contexts.get(id);
    if (context === undefined) return refuse(Errno.EINVAL, 'the device is not open');
    if (typeof command !== 'object' || command === null) return refuse(Errno.EINVAL, 'is not a command');
    if (isCmCommand(command)) return this.connections.execute(id, command, now);
    const isNamed = typeof command.op === 'string' && Object.hasOwn(HANDLERS, command.op);
    const handler = isNamed ? HANDLERS[command.op] : undefined;
    if (handler === undefined) return refuse(Errno.ENOSYS, 'no such command', 'op');
    const result = handler(this, context, command as never, now);
    if (!result.ok && result.errno === Errno.ENOMEM) this.counters.add(Counter.limit_refused);
    return result;
  }

  /** From now on. What is held already stays, however much it is; tables that were made at birth keep their size. @throws RangeError naming one that cannot be. */
  setLimits(limits: RnicLimits): void {
    checkLimits(limits);
    Object.assign(this.config.limits, limits);
  }

  /** The largest IP packet that the port carries, for QPs that are connected from now on. */
  setMtu(mtu: number): void {
    this.#mtuBytes = largestPathMtu(mtu);
  }

  /** Frames pass by the interface, or do not: `queryPort` says it, and every application hears PORT_ACTIVE or PORT_ERR. */
  setLink(isUp: boolean): void {
    if (isUp === this.isUp) return;
    this.isUp = isUp;
    const event = isUp ? AsyncEvent.PORT_ACTIVE : AsyncEvent.PORT_ERR;
    for (const id of this.#contexts.keys()) this.events.async(id, event, 1, 0n);
  }

  setGids(gids: GidEntry[]): void {
    this.config.gids = gids;
    for (const id of this.#contexts.keys()) this.events.async(id, AsyncEvent.GID_CHANGE, 1, 0n);
  }

  /** The switch withdraws a connection: its packets stop, its application hears QP_FATAL. False when there is no such QP. */
  revoke(qpn: number): boolean {
    const qp = this.qps.find(qpn);
    if (qp === undefined) return false;
    this.fail(qp, WcStatus.FATAL_ERR, AsyncEvent.QP_FATAL);
    return true;
  }

  /** Whether this QP may send or receive: RTR to SQE. */
  isConnected(qpn: number): boolean {
    const qp = this.qps.find(qpn);
    return qp !== undefined && qp.state >= QpState.RTR && qp.state !== QpState.ERR;
  }

  /** Its QPs follow when the machine that found it full has ended its step: `pollTransmit`. */
  cqOverran(cq: CompletionQueue): void {
    this.#overrun.push(cq);
  }

  /** For `urnic res`: everything that lives here, by context. */
  resources(): ContextResources[] {
    return [...this.#contexts.values()].map(resourcesOf);
  }

  // ── Inputs ──

  handlePacket(packet: ReceivedPacket, now: Micros): void {
    this.#ingress.handlePacket(packet, now);
  }

  /** No more packets follow those that were handed over. */
  settle(): void {
    this.ended.settle();
  }

  handleDoorbells(now: Micros): void {
    const contexts = this.#contextList;
    for (let i = 0; i < contexts.length; i++) contexts[i]!.takeDoorbells(now);
  }

  handleTimeout(now: Micros): void {
    this.timers.handleTimeout(now);
  }

  // ── Outputs ──

  /** True when there is more to send than the bursts held. */
  pollTransmit(out: PacketWriter, now: Micros): boolean {
    if (this.#overrun.length !== 0) this.#failUsers();
    const more = this.connections.pollTransmit(out, now);
    this.inFlight.release();
    return this.#schedule.pollTransmit(out, now) || this.inFlight.mayRelease || more;
  }

  pollEvent(out: EngineEvent): boolean {
    return this.events.poll(out);
  }

  /** What the connection manager has to tell; apart from `pollEvent`, for its events carry private data. */
  pollCmEvent(): CmEvent | undefined {
    return this.connections.pollEvent();
  }

  /** @param mayTransmit false: what could be sent has to wait, timers have not. */
  pollTimeout(mayTransmit = true): Micros {
    if (!mayTransmit) return this.timers.nextDeadline();
    const hasWork = !this.#schedule.isEmpty || this.#overrun.length !== 0 || this.inFlight.mayRelease;
    return hasWork ? 0 : this.timers.nextDeadline();
  }

  // ── EngineCore: for the machines ──

  schedule(qp: Qp): void {
    this.#schedule.add(qp as QueuePair);
  }

  fail(qp: Qp, status: WcStatus, event: AsyncEvent | -1): void {
    if (qp.state === QpState.ERR || (qp as QueuePair).isGone) return;
    this.#flush(qp as QueuePair, status);
    if (event !== -1) this.raise(qp, event);
    // an SRQ's QP takes no more from it.
    if (qp.srq !== null) this.raise(qp, AsyncEvent.QP_LAST_WQE_REACHED);
  }

  raise(qp: Qp, event: AsyncEvent): void {
    const pair = qp as QueuePair;
    if (this.events.async(pair.context, event, pair.handle, pair.cookie)) pair.asyncEvents++;
  }

  addressHandle(context: number, ahNum: number) {
    return this.#contexts.get(context)?.addressHandles.get(ahNum - 1) ?? null;
  }

  // ── Control: for the commands ──

  mtuBytes(): number {
    return this.#mtuBytes;
  }

  enterError(qp: QueuePair): void {
    if (qp.state === QpState.ERR) return;
    this.#flush(qp, WcStatus.SUCCESS);
    if (qp.srq !== null) this.raise(qp, AsyncEvent.QP_LAST_WQE_REACHED);
  }

  dropQp(qp: QueuePair, now: Micros): void {
    qp.isGone = true;
    qp.state = QpState.RESET;
    qp.reset();
    this.#errors.remove(qp);
    this.qps.remove(qp, now);
  }

  #failUsers(): void {
    for (let cq = this.#overrun.pop(); cq !== undefined; cq = this.#overrun.pop()) {
      for (const qp of this.#contexts.get(cq.context)?.qps ?? []) {
        if (qp.sendCq === cq || qp.recvCq === cq) this.fail(qp, WcStatus.WR_FLUSH_ERR, AsyncEvent.QP_FATAL);
      }
    }
  }

  #flush(qp: QueuePair, status: WcStatus): void {
    qp.state = QpState.ERR;
    qp.sender.flush(status);
    qp.responder.flush();
    this.#errors.add(qp);
    // A NAK may still be due.
    this.#schedule.add(qp);
  }
}

/** Octets of the largest `enum ibv_mtu` that fits. 256 at least, whatever the port says. */
function largestPathMtu(ipMtu: number): number {
  for (let mtu = 5; mtu > 1; mtu--) if (mtuBytes(mtu) + HEADER_BYTES_MAX <= ipMtu) return mtuBytes(mtu);
  return mtuBytes(1);
}

const isCmCommand = (command: AnyCommand): command is CmCommand =>
  typeof command.op === 'string' && command.op.startsWith('cm');
