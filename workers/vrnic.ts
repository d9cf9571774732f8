/** One vRNIC in a worker: an engine, its ports, its neighbours and its applications. One breath moves what there is to move and never waits. */
import { ReceiveBurst } from '../rnic/burst.ts';
import { type EngineEvent, Errno, EventKind, type Refusal } from '../rnic/commands.ts';
import { DEFAULT_LIMITS, type GidEntry, type RnicHost, type RnicLimits } from '../rnic/config.ts';
import type { AsyncEvent } from '../rnic/constants.ts';
import { Counter } from '../rnic/counters.ts';
import type { AddressVector, Path } from '../rnic/path.ts';
import { DoorbellPage, doorbellBytes } from '../rnic/queue/doorbell.ts';
import type { ContextResources } from '../rnic/resources.ts';
import { vrnicFlood } from '../vswitch/limit.ts';
import { endpointAt, type Tenant } from '../vswitch/model.ts';
import { FloodBudget } from '../vswitch/stages/flood.ts';
import { Transport } from '../vswitch/transport.ts';
import { chooseCopy } from '../wire/copy.ts';
import { registerArena } from '../wire/crc32.ts';
import * as Gid from '../wire/gid.ts';
import type { Micros } from '../wire/types.ts';
import { Application, type ReplySink } from './application.ts';
import { Applications } from './applications.ts';
import { clock } from './clock.ts';
import { type Engine, type EngineParts, endsQp } from './engine.ts';
import { gidTable } from './gid-table.ts';
import { placeRest } from './hosted/placement.ts';
import type { BreathClock } from './hosted/process.ts';
import { Program } from './hosted/program.ts';
import { type Identity, identified } from './identity.ts';
import { findNetdev, type Netdev } from './linux/netdev.ts';
import type { HostedProgram } from './messages.ts';
import { type NeighbourLink, Neighbours } from './neighbours.ts';
import { type Connection, LOCAL_PORT, type Overlay } from './overlay/overlay.ts';
import { beginBreath, type TenantPlace, takePlace } from './overlay/place.ts';
import { tenantLens } from './overlay/tenant-lens.ts';
import { TRANSLATED_PORT } from './overlay/translation.ts';
import { Pace } from './pace.ts';
import { LOOPBACK_PORT, PathResolver, WIRE_PORT } from './path-resolver.ts';
import type { Port, PortCounters } from './port.ts';
import { CaptureFile, type CaptureTarget } from './ports/capture-file.ts';
import { createPort } from './ports/create-port.ts';
import { LoopbackPort } from './ports/loopback.ts';
import { asItIs } from './ports/recorder.ts';
import { Quotas } from './quotas.ts';
import { RandomWords } from './random-words.ts';
import { Receiver } from './receive.ts';
import type { Sleeper } from './sleeper.ts';
import { Transmitter } from './transmitter.ts';
import { CROWD_FRAMES, Share } from './turns.ts';
import { VrnicCapture } from './vrnic-capture.ts';
import type { VrnicConfig } from './vrnic-config.ts';

/** QPNs 0 and 1 are special, 0xffffff is multicast. */
const QPN_BASE = 2;
const QPN_COUNT = 0xff_fffd;
const REORDER_WINDOW = 1024; // as much as a congestion window holds: less, and one loss among many packets costs a go-back
const TIMERS_PUT_OFF_MAX = 16;
/** Frames wait for room that no descriptor announces (a full qdisc). */
const BLOCKED_MICROS: Micros = 500;

/** One for all vRNICs of a thread: nothing stays in it from one poll to the next. */
const received = new ReceiveBurst();
registerArena(received.bytes);

/** Opens the port and builds the vRNIC around it; nothing is left open when that fails. */
export function openVrnic(config: VrnicConfig, parts: EngineParts): Vrnic {
  chooseCopy(clock);
  const identity = identified(config);
  const addresses = identity.gids.map(({ gid }) => gid);
  const { qpnBase: base, qpnCount: count } = config;
  const qpns = base !== undefined && count !== undefined ? { qpns: [{ base, count }] } : {};
  const vni = config.tenant && { vni: config.tenant.vni };
  const wire = createPort(config.port, { addresses, mac: identity.mac, ...vni, ...qpns });
  let place: TenantPlace | null = null;
  try {
    place = takePlace(config, wire, identity.mac, addresses, identity.netdev);
    return new Vrnic(config, identity, wire, place, parts);
  } catch (error) {
    place?.local.close();
    wire.close();
    throw error;
  }
}

export class Vrnic {
  /** It has found nothing to do, and others feed its ports. */
  isDozing = false;
  /** When something is due, once it has found nothing to do often enough. */
  dueAt: Micros = 0;
  readonly applications = new Applications();
  readonly share = new Share();
  readonly name: string;
  readonly ports: Port[];
  readonly engine: Engine;
  /** QPs of one application: bits of a doorbell page. */
  readonly #slots: number;
  readonly #parts: EngineParts;
  /** Whose addresses are the GIDs; null when they were configured. */
  #netdev: Netdev | null;
  #gids: readonly GidEntry[];
  readonly #mac: Uint8Array;
  readonly #neighbours: Neighbours;
  readonly #resolver: PathResolver;
  /** Ports that are asked for frames; those of the others come by sinks. */
  readonly #asked: readonly number[];
  /** By port. */
  readonly #receivers: Receiver[];
  /** Whose neighbours are asked for by which port. */
  readonly #links: NeighbourLink[];
  /** Null outside of tenants' networks. */
  readonly #overlay: Overlay | null;
  readonly #place: TenantPlace | null;
  readonly #takeVxlan = (burst: ReceiveBurst, i: number, now: Micros): void => {
    this.#clock.now = now;
    this.stir();
    this.#receivers[WIRE_PORT]!.handleOne(burst, i, 'vxlan', WIRE_PORT, now);
  };
  readonly #isConnected = (qpn: number): boolean => this.engine.isConnected(qpn);
  readonly #receive = received;
  readonly #transmitter: Transmitter;
  /** Before its endpoint's quotas. */
  readonly #limits: RnicLimits;
  /** Of what goes to all hosts of its tenant. */
  readonly #flood = new FloodBudget();
  /** Null outside of tenants' networks. */
  readonly #quotas: Quotas | null;
  readonly #pace: Pace | null;
  /** What the time of this breath is, for the memory of other processes. */
  readonly #clock: BreathClock = { now: 0 };
  readonly #random = new RandomWords();
  #capture: VrnicCapture | null = null;
  /** Its last breath found nothing to do. */
  #isQuiet = false;
  /** Breaths in a row that have put off the timers. */
  #timersPutOff = 0;
  readonly #event: EngineEvent = { kind: 0, context: 0, code: 0, handle: 0, channel: 0, cookie: 0n };

  constructor(config: VrnicConfig, identity: Identity, wire: Port, place: TenantPlace | null, parts: EngineParts) {
    const { mac, gids, netdev } = identity;
    this.name = config.name;
    this.#parts = parts;
    this.#netdev = config.gids === undefined ? netdev : null;
    this.#gids = gids;
    this.#mac = mac;
    const addresses = gids.map(({ gid }) => gid);
    const { overlay = null, local = null, translation = null } = place ?? {};
    this.#overlay = overlay;
    this.#place = place;
    this.ports = [
      wire,
      new LoopbackPort(wire.mtu, (burst) => receiver.handleOwn(burst, LOOPBACK_PORT, this.#clock.now)),
    ];
    if (local) this.ports.push(local);
    if (translation) this.ports.push(translation.port);
    this.#asked = translation ? [WIRE_PORT, TRANSLATED_PORT] : [WIRE_PORT];
    const limits = { ...DEFAULT_LIMITS, ...config.limits };
    this.#limits = limits;
    this.#slots = limits.qps;
    this.#neighbours = new Neighbours({ mac, addresses, answers: config.gids !== undefined });
    const { tenant, meter, account } = config;
    this.#quotas = overlay && tenant ? new Quotas(tenant.name, overlay.addresses[0]!, meter, account) : null;
    this.engine = parts.newEngine(
      {
        name: config.name,
        mac,
        gids,
        mtu: wire.mtu,
        qpnBase: config.qpnBase ?? QPN_BASE,
        qpnCount: config.qpnCount ?? QPN_COUNT,
        limits: { ...limits },
        ...(this.#quotas && { shared: this.#quotas.shared }),
        strictTimers: config.strictTimers ?? false,
        reorderWindow: config.reorderWindow ?? REORDER_WINDOW,
        datagramsWait: true,
      },
      this.#host(),
    );
    this.engine.setLink(this.#netdev?.isRunning ?? true);
    const routes = this.#netdev ? { netdev: this.#netdev.name } : {};
    this.#pace = overlay && new Pace(overlay.addresses[0]!, meter);
    this.#transmitter = new Transmitter(this.engine, this.ports, this.#pace, this.#random.next() & 0xffff);
    if (tenant) this.#setLimits(tenant);
    const others = { ports: this.ports, neighbours: this.#neighbours, overlay, translation };
    this.#resolver = new PathResolver({ mac, gids, ...others, ...routes });
    // A tenant's endpoints are its only neighbours: answers of ours would leave without a VXLAN header.
    const receiver = new Receiver(this.engine, overlay ? null : this.#neighbours, this.#receive, overlay);
    this.#receivers = [receiver, receiver];
    this.#links = [{ neighbours: this.#neighbours, port: WIRE_PORT, changes: 0 }];
    if (place) this.#join(place);
    if (!translation) return;
    const translated = new Receiver(this.engine, translation.neighbours, this.#receive, null, true);
    this.#receivers.push(translated);
    translation.port.stir = () => this.stir();
    translation.port.sink = (burst, i, now) => {
      this.#clock.now = now;
      this.stir();
      translated.handleOne(burst, i, 'ethernet', TRANSLATED_PORT, now);
    };
    this.#links.push({ neighbours: translation.neighbours, port: TRANSLATED_PORT, changes: 0 });
  }

  /**
   * Doorbells, what is to be sent, then frames, then timers: who polls for what they bring sees it before its acknowledgement costs a system call. True when there was
   * something to do. `mayTransmit` false: others go first.
   */
  breathe(now: Micros, mayTransmit = true, crowd = 1): boolean {
    this.#clock.now = now;
    if (this.#place !== null) beginBreath(this.#place, now);
    let busy = this.#takeDoorbells(now);
    const isDue = this.#isDue(now) || busy;
    if (isDue) {
      this.#breatheNeighbours(now);
      busy = (mayTransmit ? this.#transmitter.transmit(now, crowd) : this.#transmitter.holdBack(now)) || busy;
    }
    let received = false;
    this.#receive.limit = crowd > 1 ? CROWD_FRAMES : this.#receive.at.length;
    for (let i = 0; i < this.#asked.length; i++) received = this.#receiveFrom(this.#asked[i]!, now) || received;
    if (!isDue && !received) return false;
    this.#fireTimers(received, now);
    busy = busy || received;
    while (this.engine.pollEvent(this.#event)) this.#deliver(this.#event);
    this.#deliverCmEvents();
    busy = busy || this.#transmitter.hasMore;
    this.#settle(busy, now);
    return busy;
  }

  /** Something has come to it from outside of its breath. */
  stir(): void {
    this.#isQuiet = false;
    this.isDozing = false;
  }

  /** It need not breathe: nothing is due, and no doorbell was rung of those for which nobody summons it. */
  dozes(now: Micros): boolean {
    return this.isDozing && now < this.dueAt && !(this.applications.hasPages && this.applications.isRung());
  }

  /** Whoever has something for it will say so, and it has no descriptor that others have not. */
  get isAway(): boolean {
    return this.isDozing && !this.applications.hasPages;
  }

  /**
   * After a breath in vain only doorbells and frames are looked for until its next deadline: a worker has many vRNICs, of which few have something to do. What a timer of that
   * breath wants sent is due at once.
   */
  #isDue(now: Micros): boolean {
    return !this.#isQuiet || now >= this.dueAt;
  }

  #settle(isBusy: boolean, now: Micros): void {
    this.#isQuiet = !isBusy;
    if (!isBusy) this.dueAt = this.#nextDeadline(now);
    this.isDozing = !isBusy && this.#isFed();
  }

  /** What comes for it comes by sinks. */
  #isFed(): boolean {
    for (let i = 0; i < this.ports.length; i++) if (this.ports[i]!.isAsked !== false) return false;
    return true;
  }

  /** The moment at which something is due; Infinity when nothing is. */
  pollTimeout(now: Micros): Micros {
    return this.#isQuiet ? this.dueAt : this.#nextDeadline(now);
  }

  #nextDeadline(now: Micros): Micros {
    let next = this.#transmitter.pollTimeout(now);
    for (const { neighbours } of this.#links) next = Math.min(next, neighbours.pollTimeout());
    return next;
  }

  /** Time of its last breath that went into reading for others, with whom it shares a socket. */
  get errandMicros(): Micros {
    if (this.#place === null) return 0;
    const { wire, translation } = this.#place;
    return translation === null ? wire.errandMicros : wire.errandMicros + translation.port.errandMicros;
  }

  get hasGuarantee(): boolean {
    return this.#pace?.hasGuarantee ?? false;
  }

  /** It has something to send, and has sent less than it is guaranteed. */
  isOwed(now: Micros): boolean {
    return (this.#pace?.isOwed(now) ?? false) && this.engine.pollTimeout() <= now;
  }

  /** It sent until its limit stopped it. */
  get hasRunOut(): boolean {
    return this.#pace?.hasRunOut ?? false;
  }

  /** That it has sent and received. */
  get packets(): number {
    const { values } = this.engine.counters;
    return values[Counter.sent_pkts]! + values[Counter.rcvd_pkts]!;
  }

  /** Told before and after the worker sleeps. False: there is something to do, no sleep now. */
  setSleeping(asleep: boolean): boolean {
    let isQuiet = this.applications.setSleeping(asleep) && !this.#transmitter.hasMore;
    for (const port of this.ports) if (port.setSleeping && !port.setSleeping(asleep)) isQuiet = false;
    return isQuiet;
  }

  /** Adds what can wake it to a set of descriptors; returns its next deadline. */
  watch(sleeper: Sleeper, now: Micros): Micros {
    let deadline = this.pollTimeout(now);
    for (let i = 0; i < this.ports.length; i++) {
      const isBlocked = this.#transmitter.isBlocked(i);
      const port = this.ports[i]!;
      sleeper.add(port.fileDescriptor, isBlocked);
      if (port.secondDescriptor !== undefined) sleeper.add(port.secondDescriptor, false);
      if (isBlocked) deadline = Math.min(deadline, now + BLOCKED_MICROS);
    }
    this.applications.watch(sleeper);
    return deadline;
  }

  /**
   * A new application: of this process, or a program of another one. Undefined when the engine has no context left.
   * @throws SystemError when a program's queue file cannot be mapped.
   */
  attach(
    port: ReplySink,
    hosted?: HostedProgram,
  ): { application: Application; doorbell: SharedArrayBuffer | null; slots: number } | undefined {
    const slots = this.#slots;
    const program = hosted ? new Program(hosted, slots, this.#clock) : null;
    const doorbell = program ? null : new SharedArrayBuffer(doorbellBytes(slots));
    const page = program?.queues.doorbell ?? new DoorbellPage(new Int32Array(doorbell!), slots);
    const context = this.engine.openContext(page);
    if (context < 0) {
      program?.close();
      return undefined;
    }
    const application = new Application(port, context, page, program, {
      execute: (id, command, now) => {
        this.stir();
        if (endsQp(command)) this.#transmitter.sendOwed(now);
        return this.engine.execute(id, command, now);
      },
      newMemory: (buffer, byteOffset) => this.#parts.newMemory(buffer, byteOffset),
      resolve: (av, transport, local, remote, now) => {
        this.stir();
        return this.#resolver.resolve(av, transport, local, remote, now);
      },
      refuseConnection: () => this.#refuseConnection(),
      opened: (...connection) => this.#opened(...connection),
    });
    this.applications.add(application);
    return { application, doorbell, slots };
  }

  detach(application: Application, now: Micros): void {
    if (!this.applications.remove(application)) return;
    this.stir();
    this.#transmitter.sendOwed(now);
    this.engine.closeContext(application.context, now);
    this.applications.freeQueues(application);
    application.program?.close();
  }

  /** Its tenant's endpoints or rules have changed: connections that may not stay end now. How many. @param mtu where that has changed: the largest IP packet for connections to come. */
  setTenant(tenant: Tenant, mtu?: number): number {
    const overlay = this.#overlay;
    if (!overlay) return 0;
    this.stir();
    if (mtu !== undefined) this.engine.setMtu(mtu);
    const ended = overlay.update(tenant, this.#isConnected);
    for (const qpn of ended) this.engine.revoke(qpn);
    this.#setLimits(tenant);
    this.#moveTo(overlay.addresses, this.#mac);
    return ended.length;
  }

  #setLimits(tenant: Tenant): void {
    const now = clock();
    this.#pace?.update(tenant, now);
    const own = this.#overlay && endpointAt(tenant, this.#overlay.addresses[0]!);
    this.#flood.update(vrnicFlood(own?.limit, tenant.limit));
    this.#quotas?.update(tenant, now);
    if (this.#quotas) this.engine.setLimits(this.#quotas.own(this.#limits));
  }

  #refuseConnection(): Refusal | null {
    // The breath, which many commands may share, may have begun before the quota did.
    const reason = this.#quotas?.refusal(clock()) ?? null;
    if (reason === null) return null;
    this.engine.counters.add(Counter.limit_refused);
    return { ok: false, errno: Errno.EDQUOT, reason };
  }

  get connections(): Connection[] {
    return this.#overlay?.connections(this.#isConnected) ?? [];
  }

  setGids(gids: readonly Uint8Array[]): void {
    this.stir();
    const entries = gids.map((gid) => ({ gid }));
    this.#gids = entries;
    this.engine.setGids(entries);
    this.#resolver.setGids(entries);
    const inUse = gids.filter((gid) => !Gid.isZero(gid));
    this.#neighbours.setAddresses(inUse);
    this.ports[WIRE_PORT]!.setAddresses?.(inUse);
  }

  /** Looks what has become of its interface; of addresses, MTU and link unless the GIDs were configured. False: another one has its name, and no frame comes here any more. */
  refresh(find = findNetdev): boolean {
    if (this.#netdev === null) return !this.#place?.translation?.port.isStale;
    const { name, index, mac, mtu } = this.#netdev;
    const found = find(name);
    const isThere = found?.index === index;
    this.stir(); // there may be an event to deliver
    this.engine.setLink(isThere && found.isRunning);
    if (!isThere) return found === undefined;
    if (found.mtu !== mtu) this.engine.setMtu(found.mtu);
    this.#netdev = found;
    this.#moveTo(found.addresses, mac);
    return true;
  }

  #moveTo(addresses: readonly Uint8Array[], mac: Uint8Array): void {
    const known = this.#gids.map(({ gid }) => gid);
    const wanted = gidTable(known, addresses, mac);
    const isSame = known.length === wanted.length && wanted.every((gid, i) => Gid.isSame(gid, known[i]!));
    if (!isSame) this.setGids(wanted);
  }

  /** @throws Error of open. */
  capture(target: CaptureTarget | undefined): void {
    this.stir();
    this.#capture?.end();
    this.#capture = null;
    if (target === undefined) return;
    const translated = this.#overlay ? tenantLens(this.#overlay, this.#mac, () => this.connections) : asItIs;
    const file = new CaptureFile(target, this.ports[WIRE_PORT]!.name);
    this.#capture = new VrnicCapture(this.ports, this.#place, file, translated);
  }

  statistics(): {
    connections: Connection[];
    counters: Record<string, number>;
    ports: Record<string, PortCounters>;
    resources: ContextResources[];
  } {
    const ports = Object.fromEntries(this.ports.map((port) => [port.name, { ...port.counters }]));
    return {
      counters: this.engine.counters.toObject(),
      ports,
      resources: this.engine.resources(),
      connections: this.connections,
    };
  }

  close(now: Micros): void {
    this.#capture?.end();
    for (const application of this.applications.all) this.detach(application, now);
    this.#transmitter.close();
    for (const port of this.ports) port.close();
  }

  #host(): RnicHost {
    return {
      random32: () => this.#random.next(),
      allocateQueue: (context, bytes) => this.applications.queuesOf(context).allocate(bytes),
      // What the engine asks for is for its connection manager.
      resolve: (av, local, remote, now) => this.#resolver.resolve(av, Transport.CM, local, remote, now),
      freeQueue: (context, memory) => this.applications.queuesOf(context).free(memory),
      placeRest,
      flood: this.#flood,
    };
  }

  #opened(qpn: number, destQpn: number, transport: Transport, av: AddressVector, { port }: Path): void {
    const { dgid: remote, sgidIndex, underlay: wanted } = av;
    this.#quotas?.connected();
    const underlay = port === TRANSLATED_PORT ? 'translate' : port === WIRE_PORT ? 'vxlan' : 'local';
    const local = this.#gids[sgidIndex]!.gid;
    const connection: Connection = { qpn, destQpn, transport, local, remote, underlay, ...(wanted && { wanted }) };
    this.#overlay?.opened(connection, this.#isConnected);
  }

  /** What other vRNICs of this worker send comes in the middle of their breath. */
  #join({ local, overlay, wire }: TenantPlace): void {
    wire.sink = this.#takeVxlan;
    wire.stir = () => this.stir();
    const admittance = { admit: (view: DataView, at: number, end: number) => overlay.admitLocal(view, at, end) };
    const receiver = new Receiver(this.engine, null, this.#receive, admittance);
    this.#receivers.push(receiver);
    local.sink = (burst, i, now) => {
      this.#clock.now = now;
      this.stir();
      receiver.handleLocal(burst, i, LOCAL_PORT, now);
    };
  }

  #takeDoorbells(now: Micros): boolean {
    const rung = this.applications.isRung();
    if (rung) this.engine.handleDoorbells(now);
    return rung;
  }

  #receiveFrom(index: number, now: Micros): boolean {
    const port = this.ports[index]!;
    if (port.receive(this.#receive, now) === 0) return false;
    this.#receivers[index]!.handleBurst(this.#receive, port, index, false, now);
    return true;
  }

  /** Not while frames wait to be read: after a pause the acknowledgement that a timer misses is among them. */
  #fireTimers(received: boolean, now: Micros): void {
    if (received && ++this.#timersPutOff < TIMERS_PUT_OFF_MAX) return;
    this.#timersPutOff = 0;
    this.engine.handleTimeout(now);
  }

  #breatheNeighbours(now: Micros): void {
    for (let i = 0; i < this.#links.length; i++) {
      const link = this.#links[i]!;
      const { neighbours } = link;
      if (neighbours.pollTimeout() <= now) neighbours.handleTimeout(now);
      if (neighbours.changes !== link.changes) {
        link.changes = neighbours.changes;
        this.applications.retry(now);
      }
      if (neighbours.burst.count > 0 && this.ports[link.port]!.transmit(neighbours.burst)) neighbours.burst.reset();
    }
  }

  #deliverCmEvents(): void {
    for (let event = this.engine.pollCmEvent(); event; event = this.engine.pollCmEvent()) {
      this.applications.notify(event.context, { kind: 'cm', event });
    }
  }

  #deliver(event: EngineEvent): void {
    const { context, kind, channel, code, handle, cookie } = event;
    if (kind === EventKind.COMPLETION) {
      this.applications.notify(context, { kind: 'completion', channel, cq: handle, cookie });
    } else this.applications.notify(context, { kind: 'async', code: code as AsyncEvent, handle, cookie });
  }
}
