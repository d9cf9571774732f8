/** A simulated host: one vRNIC with one application, one burst, one port on a virtual wire. The engine is the real one; only the wire and the clock are not. */
import { TransmitBurst } from '../../../rnic/burst.ts';
import type { CmCommand } from '../../../rnic/cm/commands.ts';
import {
  type Answers,
  type Command,
  type CommandOf,
  type EngineEvent,
  Errno,
  EventKind,
  type Result,
} from '../../../rnic/commands.ts';
import { DEFAULT_LIMITS, type RnicConfig } from '../../../rnic/config.ts';
import { Access, type AsyncEvent, QpAttr, QpState, QpType } from '../../../rnic/constants.ts';
import { SharedMemory } from '../../../rnic/memory/shared-memory.ts';
import type { ReceivedPacket } from '../../../rnic/packet.ts';
import { PacketWriter } from '../../../rnic/packet-writer.ts';
import type { Framing, Path } from '../../../rnic/path.ts';
import { DoorbellPage, doorbellBytes } from '../../../rnic/queue/doorbell.ts';
import type { Ring } from '../../../rnic/queue/ring.ts';
import { Rnic } from '../../../rnic/rnic.ts';
import { spanOf } from '../../../rnic/span.ts';
import * as Ipv4 from '../../../wire/ipv4.ts';
import * as Ipv6 from '../../../wire/ipv6.ts';
import type { Micros } from '../../../wire/types.ts';
import { eachPacket } from '../../../workers/ports/spans.ts';
import { framesOf, pathBetween } from '../paths.ts';
import { Broken } from './broken.ts';
import type { Random } from './random.ts';
import { openRing, type SendRequest, type SgeValue, writeReceive, writeSend } from './work.ts';

const SLOTS = 64;
const QPNS = 1 << 20;
const ALL_RIGHTS =
  Access.LOCAL_WRITE |
  Access.REMOTE_WRITE |
  Access.REMOTE_READ |
  Access.REMOTE_ATOMIC |
  Access.MW_BIND |
  Access.FLUSH_GLOBAL |
  Access.FLUSH_PERSISTENT;
const ETHERNET_BYTES = 14;

export interface HostOptions {
  /** The low 32 bits of its address. */
  readonly address: number;
  readonly isIpv6: boolean;
  readonly framing: Framing;
  /** What it sends never leaves this host's memory. */
  readonly isByMemory?: boolean;
  readonly memoryBytes: number;
  readonly mtu: number;
  readonly strictTimers: boolean;
  readonly reorderWindow: number;
  /** Frames that a burst takes: small ones exercise a full burst. */
  readonly burstFrames: number;
  /** It has a connection manager. */
  readonly managesConnections?: boolean;
  /** Wrong keys that a QP, and a peer, may present; DEFAULT_LIMITS' when absent. */
  readonly violations?: number;
}

/** What a QP is told besides whom it talks to. */
export interface Connection {
  readonly pathMtu: number;
  readonly timeout: number;
  readonly retryCnt: number;
  readonly rnrRetry: number;
  readonly minRnrTimer: number;
  readonly maxRdAtomic: number;
  readonly maxDestRdAtomic: number;
  readonly accessFlags: number;
  readonly sqPsn: number;
}

export interface SimQp {
  readonly handle: number;
  readonly qpNum: number;
  readonly slot: number;
  readonly sq: Ring;
  /** The SRQ's, when it has one. */
  readonly rq: Ring;
  readonly sendCq: Ring;
  readonly recvCq: Ring;
  readonly sendCqHandle: number;
  readonly recvCqHandle: number;
}

/** A shared receive queue. */
export interface SimSrq {
  readonly handle: number;
  readonly ring: Ring;
}

/** What a QP may have besides its depth. */
export interface QpExtras {
  readonly cqe?: number;
  readonly srq?: SimSrq;
  /** Its receive CQ has a completion channel. */
  readonly hasChannel?: boolean;
  /** CQs of a QP that was destroyed. */
  readonly inheritsFrom?: SimQp;
}

export class SimHost {
  readonly rnic: Rnic;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly key: number;
  readonly options: HostOptions;
  readonly gid: Uint8Array;
  readonly events: EngineEvent[] = [];
  /** Packets that came. */
  arrived = 0;
  /** Sees each frame that arrives, before the engine does. */
  witness: ((frame: Uint8Array<ArrayBuffer>) => void) | null = null;
  readonly #burst: TransmitBurst;
  readonly #writer: PacketWriter;
  readonly #page: DoorbellPage;
  readonly #context: number;
  readonly #pd: number;
  readonly #memory: SharedMemory;
  readonly #region: number;
  /** All have headers of one size. */
  readonly #anyPath: Path;
  #now: Micros = 0;

  constructor(options: HostOptions, random: Random) {
    this.options = options;
    this.gid = gidOf(options.address, options.isIpv6);
    const config: RnicConfig = {
      name: `sim${options.address}`,
      mac: new Uint8Array(6),
      gids: [{ gid: this.gid }],
      mtu: options.mtu,
      qpnBase: QPNS,
      qpnCount: QPNS,
      limits: {
        ...DEFAULT_LIMITS,
        ...(options.violations && { violations: options.violations, peerViolations: options.violations }),
      },
      strictTimers: options.strictTimers,
      reorderWindow: options.reorderWindow,
    };
    this.rnic = new Rnic(config, {
      random32: () => random.bits(),
      allocateQueue: (_context, bytes) => ({
        buffer: new SharedArrayBuffer(bytes),
        byteOffset: 0,
        byteLength: bytes,
        mapOffset: 0,
      }),
      freeQueue: () => undefined,
      ...(options.managesConnections === true && {
        resolve: ({ dgid }) => ({ path: this.pathTo(new DataView(dgid.buffer, dgid.byteOffset).getUint32(12)) }),
      }),
    });
    this.#burst = new TransmitBurst(1 << 20, options.burstFrames);
    this.#writer = new PacketWriter([this.#burst], random.bits());
    this.#page = new DoorbellPage(new Int32Array(new SharedArrayBuffer(doorbellBytes(SLOTS))), SLOTS);
    this.#context = this.rnic.openContext(this.#page);
    const buffer = new SharedArrayBuffer(options.memoryBytes);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    random.fill(new Uint32Array(buffer));
    this.#pd = this.execute({ op: 'allocPd' }).pd;
    this.#memory = new SharedMemory(buffer);
    this.#anyPath = this.pathTo(0);
    const length = options.memoryBytes;
    const region = { pd: this.#pd, memory: this.#memory, start: 0, length, iova: 0n, access: ALL_RIGHTS };
    const { mr, lKey } = this.execute({ op: 'regMr', ...region });
    this.#region = mr;
    this.key = lKey;
  }

  /** Windows are bound to the region over all memory: it cannot be deregistered. */
  expectRegionBusy(): void {
    const result = this.rnic.execute(this.#context, { op: 'deregMr', mr: this.#region }, this.#now);
    if (result.ok || result.errno !== Errno.EBUSY) throw new Broken('a region was deregistered under its windows');
  }

  /** Runs a command; throws what it is refused for. */
  execute<Op extends Command['op']>(command: CommandOf<Op>): Answers[Op] {
    const result = this.rnic.execute(this.#context, command as Command, this.#now);
    if (!result.ok) throw new Error(`${command.op}: ${result.reason} (${result.argument ?? result.errno})`);
    return result as unknown as Answers[Op];
  }

  /** Asks the connection manager. */
  manage(command: CmCommand): Result {
    return this.rnic.execute(this.#context, command, this.#now);
  }

  createQp(type: QpType, depth: number, sqSigAll: boolean, extras: QpExtras = {}): SimQp {
    const { cqe = 4 * depth, srq, inheritsFrom } = extras;
    const cqs = inheritsFrom ?? this.#createCqs(cqe, extras.hasChannel === true);
    const cap = { maxSendWr: depth, maxRecvWr: depth, maxSendSge: 4, maxRecvSge: 4, maxInlineData: 128 };
    const created = this.execute({
      op: 'createQp',
      pd: this.#pd,
      type,
      sendCq: cqs.sendCqHandle,
      recvCq: cqs.recvCqHandle,
      ...(srq && { srq: srq.handle }),
      cap,
      sqSigAll,
    });
    return {
      handle: created.qp,
      qpNum: created.qpNum,
      slot: created.slot,
      sq: openRing(created.sq),
      rq: srq?.ring ?? openRing(created.rq!),
      sendCq: cqs.sendCq,
      recvCq: cqs.recvCq,
      sendCqHandle: cqs.sendCqHandle,
      recvCqHandle: cqs.recvCqHandle,
    };
  }

  #createCqs(cqe: number, hasChannel: boolean): Pick<SimQp, 'sendCq' | 'recvCq' | 'sendCqHandle' | 'recvCqHandle'> {
    const channel = hasChannel ? this.execute({ op: 'createCompChannel' }) : {};
    const sendCq = this.execute({ op: 'createCq', cqe });
    const recvCq = this.execute({ op: 'createCq', cqe, ...channel });
    const rings = { sendCq: openRing(sendCq.queue), recvCq: openRing(recvCq.queue) };
    return { ...rings, sendCqHandle: sendCq.cq, recvCqHandle: recvCq.cq };
  }

  /** A CQ gets a ring of another size; what waits in it goes along. */
  resizeCq(qp: SimQp, which: 'sendCq' | 'recvCq', cqe: number): SimQp {
    return { ...qp, [which]: openRing(this.execute({ op: 'resizeCq', cq: qp[`${which}Handle`], cqe }).queue) };
  }

  createSrq(maxWr: number): SimSrq {
    const { srq, queue } = this.execute({ op: 'createSrq', pd: this.#pd, maxWr, maxSge: 4 });
    return { handle: srq, ring: openRing(queue) };
  }

  /** A window of type 1 or 2, not bound to anything. */
  allocWindow(type: 1 | 2): { mw: number; rKey: number } {
    return this.execute({ op: 'allocMw', pd: this.#pd, type });
  }

  /** A region for REG_MR, over these octets. */
  allocRegion(start: number, maxBytes: number): { mr: number; rKey: number } {
    return this.execute({ op: 'allocMr', pd: this.#pd, memory: this.#memory, start, maxBytes });
  }

  pathTo(address: number): Path {
    const { framing, isIpv6, isByMemory = false } = this.options;
    return pathBetween(this.options.address, address, { framing, isIpv6, icrcElided: isByMemory });
  }

  /** INIT, RTR, RTS of an RC or UC QP. */
  connect(qp: SimQp, type: QpType, to: number, destQpNum: number, rqPsn: number, connection: Connection): void {
    const { sqPsn, accessFlags: qpAccessFlags } = connection;
    const isRc = type === QpType.RC;
    const { STATE, PKEY_INDEX, PORT, ACCESS_FLAGS, AV, PATH_MTU, DEST_QPN, RQ_PSN, SQ_PSN } = QpAttr;
    this.#modify(qp, STATE | PKEY_INDEX | PORT | ACCESS_FLAGS, {
      qpState: QpState.INIT,
      pKeyIndex: 0,
      portNum: 1,
      qpAccessFlags,
    });
    const av = { dgid: new Uint8Array(16), sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
    const rcToRtr = isRc ? QpAttr.MAX_DEST_RD_ATOMIC | QpAttr.MIN_RNR_TIMER : 0;
    this.execute({
      op: 'modifyQp',
      qp: qp.handle,
      mask: STATE | AV | PATH_MTU | DEST_QPN | RQ_PSN | rcToRtr,
      attributes: { ...connection, qpState: QpState.RTR, av, destQpNum, rqPsn },
      path: this.pathTo(to),
    });
    const { TIMEOUT, RETRY_CNT, RNR_RETRY, MAX_QP_RD_ATOMIC } = QpAttr;
    const rcToRts = isRc ? TIMEOUT | RETRY_CNT | RNR_RETRY | MAX_QP_RD_ATOMIC : 0;
    this.#modify(qp, STATE | SQ_PSN | rcToRts, { ...connection, qpState: QpState.RTS, sqPsn });
  }

  /** A UD QP, all the way to RTS. */
  open(qp: SimQp, qKey: number, sqPsn: number): void {
    const { STATE, PKEY_INDEX, PORT, QKEY, SQ_PSN } = QpAttr;
    this.#modify(qp, STATE | PKEY_INDEX | PORT | QKEY, { qpState: QpState.INIT, pKeyIndex: 0, portNum: 1, qKey });
    this.#modify(qp, STATE, { qpState: QpState.RTR });
    this.#modify(qp, STATE | SQ_PSN, { qpState: QpState.RTS, sqPsn });
  }

  createAh(address: number): number {
    return this.#createAh(this.pathTo(address));
  }

  #createAh(path: Path): number {
    const av = { dgid: new Uint8Array(16), sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
    return this.execute({ op: 'createAh', pd: this.#pd, av, path }).ahNum;
  }

  /** To a group: its number is the low 32 bits of its address, an IPv4 one, or of ff00::. */
  createGroupAh(group: number): number {
    const path = this.pathTo(group);
    if (path.isIpv6) path.template.set([0xff, 0x0e], path.ipAt + Ipv6.DESTINATION_AT);
    return this.#createAh(path);
  }

  /** Attaches a QP to a group, or detaches it. */
  changeGroup(op: 'attachMcast' | 'detachMcast', qp: SimQp, group: number): void {
    const gid = new Uint8Array(16);
    gid.set(this.options.isIpv6 ? [0xff, 0x0e] : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    new DataView(gid.buffer).setUint32(12, group);
    this.execute({ op, qp: qp.handle, gid });
  }

  sge(address: number, length: number): SgeValue {
    return { address, length, lKey: this.key };
  }

  /** False when the send queue is full. */
  postSend(qp: SimQp, request: SendRequest): boolean {
    if (!writeSend(qp.sq, request)) return false;
    this.#page.ring(qp.slot);
    return true;
  }

  postReceive(qp: SimQp, wrId: number, sges: readonly SgeValue[]): boolean {
    return writeReceive(qp.rq, wrId, sges);
  }

  modify(qp: SimQp, mask: number, attributes: CommandOf<'modifyQp'>['attributes']): void {
    this.#modify(qp, mask, attributes);
  }

  /** Takes the asynchronous events of this kind that an object has had: how many. */
  takeEvents(code: AsyncEvent, handle: number): number {
    return this.#take((event) => event.kind === EventKind.ASYNC && event.code === code && event.handle === handle);
  }

  /** Whether an object has had an event of this kind that nobody has taken. */
  hasEvent(code: AsyncEvent, handle: number): boolean {
    return this.events.some(
      (event) => event.kind === EventKind.ASYNC && event.code === code && event.handle === handle,
    );
  }

  /** Takes the completion events of a CQ: how many. */
  takeCompletionEvents(cq: number): number {
    return this.#take((event) => event.kind === EventKind.COMPLETION && event.handle === cq);
  }

  // ── For the world ──

  receive(frame: Uint8Array<ArrayBuffer>, now: Micros): void {
    if (this.witness !== null) this.onWire(frame, this.witness);
    const packet = packetOf(frame, this.options.isIpv6);
    packet.icrcElided = this.options.isByMemory === true;
    this.arrived += spanOf(packet);
    this.rnic.handlePacket(packet, now);
  }

  /** A frame of one of its kind as a wire would see it. */
  onWire(frame: Uint8Array<ArrayBuffer>, see: (frame: Uint8Array<ArrayBuffer>) => void): void {
    if (this.options.isByMemory) eachPacket(frame, new DataView(frame.buffer), frame.length, see);
    else see(frame);
  }

  /** Doorbells and timers in, all packets out. */
  turn(now: Micros, send: (frame: Uint8Array<ArrayBuffer>) => void): void {
    this.#now = now;
    this.rnic.handleDoorbells(now);
    this.rnic.handleTimeout(now);
    const path = this.#anyPath;
    for (let more = true; more; ) {
      more = this.rnic.pollTransmit(this.#writer, now);
      for (let i = 0; i < this.#burst.count; i++) for (const frame of framesOf(this.#burst, i, path)) send(frame);
      this.#burst.reset();
    }
    this.#takeEvents();
  }

  nextDeadline(): Micros {
    return this.rnic.pollTimeout();
  }

  #take(isMeant: (event: EngineEvent) => boolean): number {
    const { events } = this;
    let kept = 0;
    for (const event of events) if (!isMeant(event)) events[kept++] = event;
    const taken = events.length - kept;
    events.length = kept;
    return taken;
  }

  #takeEvents(): void {
    const event: EngineEvent = { kind: 0, context: 0, code: 0, handle: 0, channel: 0, cookie: 0n };
    while (this.rnic.pollEvent(event)) this.events.push({ ...event });
  }

  #modify(qp: SimQp, mask: number, attributes: CommandOf<'modifyQp'>['attributes']): void {
    this.execute({ op: 'modifyQp', qp: qp.handle, mask, attributes });
  }
}

/** As `pathBetween` writes addresses. */
function gidOf(address: number, isIpv6: boolean): Uint8Array {
  const gid = new Uint8Array(16);
  if (isIpv6) gid[0] = 0xfd;
  else gid.fill(0xff, 10, 12);
  new DataView(gid.buffer).setUint32(12, address);
  return gid;
}

function packetOf(frame: Uint8Array<ArrayBuffer>, isIpv6: boolean): ReceivedPacket {
  const view = new DataView(frame.buffer);
  const udpAt = ETHERNET_BYTES + (isIpv6 ? 40 : 20);
  return {
    bytes: frame,
    view,
    ethernetAt: 0,
    ipAt: ETHERNET_BYTES,
    udpAt,
    bthAt: udpAt + 8,
    end: frame.length,
    isIpv6,
    ipId: isIpv6 ? 0 : Ipv4.identification(view, ETHERNET_BYTES),
    isFollowed: false,
    port: 0,
    source: 0,
    icrcElided: false,
  };
}
