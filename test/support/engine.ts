/** One vRNIC with one application and nothing around it: no wire, no thread. Queue memory is counted, so that a leak shows. */
import { TransmitBurst } from '../../rnic/burst.ts';
import type { Answers, Command, CommandOf, EngineEvent, QpAttributes, Refusal, Result } from '../../rnic/commands.ts';
import { DEFAULT_LIMITS, type RnicHost, type RnicLimits, type SharedLimits } from '../../rnic/config.ts';
import { QpAttr, QpState, QpType } from '../../rnic/constants.ts';
import { SharedMemory } from '../../rnic/memory/shared-memory.ts';
import { PacketWriter } from '../../rnic/packet-writer.ts';
import { DoorbellPage, doorbellBytes } from '../../rnic/queue/doorbell.ts';
import type { QueueMemory, Ring } from '../../rnic/queue/ring.ts';
import { Rnic } from '../../rnic/rnic.ts';
import { pathBetween } from './paths.ts';
import { Random } from './sim/random.ts';
import { openRing, type SendRequest, type SgeValue, writeReceive, writeSend } from './sim/work.ts';

export const QPN_BASE = 0x4000;
export const OURS = 0x0a00_0001;
export const THEIRS = 0x0a00_0002;
export const AV = { dgid: new Uint8Array(16), sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
export const CAP = { maxSendWr: 7, maxRecvWr: 7, maxSendSge: 2, maxRecvSge: 2, maxInlineData: 64 };

export interface EngineOptions {
  readonly limits?: Partial<RnicLimits>;
  readonly shared?: SharedLimits;
  readonly slots?: number;
  readonly qpnBase?: number;
  readonly qpnCount?: number;
  readonly mtu?: number;
  /** Queues that the host grants before it has no memory left. */
  readonly queues?: number;
  readonly gids?: readonly Uint8Array[];
  /** With a connection manager, whose datagrams go to THEIRS. */
  readonly managesConnections?: boolean;
  readonly strictTimers?: boolean;
  readonly reorderWindow?: number;
  readonly datagramsWait?: boolean;
  /** What its transmit burst holds; as much as a port's, unless said. */
  readonly burst?: { readonly bytes: number; readonly frames: number };
  /** Of the host. */
  readonly placeRest?: () => void;
  /** Of the host. */
  readonly flood?: RnicHost['flood'];
  /** Gets every frame that leaves. */
  readonly onFrame?: (frame: Uint8Array) => void;
}

/** A QP with its rings, and the CQ that it completes to. */
export interface TestQp {
  readonly handle: number;
  readonly qpn: number;
  readonly slot: number;
  readonly type: QpType;
  readonly sq: Ring;
  readonly rq: Ring | null;
}

export class TestEngine {
  readonly rnic: Rnic;
  readonly page: DoorbellPage;
  readonly context: number;
  /** Buffers of the queues that there are, each its own. */
  readonly queues = new Set<ArrayBufferLike>();
  now = 1000;
  readonly #burst: TransmitBurst;
  readonly #writer: PacketWriter;
  readonly #onFrame: ((frame: Uint8Array) => void) | null;

  constructor(options: EngineOptions = {}) {
    const { strictTimers = false, reorderWindow = 32, datagramsWait = false, onFrame = null } = options;
    const {
      limits = {},
      slots = 4096,
      qpnBase = QPN_BASE,
      qpnCount = 1 << 16,
      mtu = 4500,
      queues = Number.POSITIVE_INFINITY,
    } = options;
    const { gids = [new Uint8Array(16).fill(1)], managesConnections = false } = options;
    const path = pathBetween(OURS, THEIRS);
    const random = new Random(3);
    this.rnic = new Rnic(
      {
        name: 'test',
        mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
        gids: gids.map((gid) => ({ gid })),
        mtu,
        qpnBase,
        qpnCount,
        limits: { ...DEFAULT_LIMITS, ...limits },
        ...(options.shared && { shared: options.shared }),
        strictTimers,
        reorderWindow,
        datagramsWait,
      },
      {
        random32: () => random.bits(),
        allocateQueue: (_context, bytes) => (this.queues.size < queues ? this.#allocate(bytes) : undefined),
        freeQueue: (_context, memory) => {
          if (!this.queues.delete(memory.buffer)) throw new Error('queue memory was given back twice');
        },
        ...(managesConnections && { resolve: () => ({ path }) }),
        ...(options.flood && { flood: options.flood }),
        ...(options.placeRest && { placeRest: options.placeRest }),
      },
    );
    this.#burst = new TransmitBurst(options.burst?.bytes, options.burst?.frames);
    this.#writer = new PacketWriter([this.#burst], 1);
    this.#onFrame = onFrame;
    this.page = newPage(slots);
    this.context = this.rnic.openContext(this.page);
  }

  tryExecute<Op extends Command['op']>(command: CommandOf<Op>, context = this.context): Result<Op> {
    return this.rnic.execute(context, command as Command, this.now) as Result<Op>;
  }

  /** Runs a command; throws what it is refused for. */
  execute<Op extends Command['op']>(command: CommandOf<Op>): Answers[Op] {
    const result = this.tryExecute(command);
    if (!result.ok) throw new Error(`${command.op}: ${result.reason} (${result.argument ?? result.errno})`);
    return result as unknown as Answers[Op];
  }

  /** What a command is refused for; throws when it is not. */
  refusal<Op extends Command['op']>(command: CommandOf<Op>): Refusal {
    const result = this.tryExecute(command);
    if (result.ok) throw new Error(`${command.op} was not refused`);
    return result;
  }

  createQp(type: QpType, pd: number, sendCq: number, recvCq = sendCq, srq?: number): TestQp {
    const shared = srq === undefined ? {} : { srq };
    const created = this.execute({ op: 'createQp', pd, type, sendCq, recvCq, cap: CAP, sqSigAll: true, ...shared });
    const rq = created.rq ? openRing(created.rq) : null;
    return { handle: created.qp, qpn: created.qpNum, slot: created.slot, type, sq: openRing(created.sq), rq };
  }

  /** Takes a new QP to RTS; or to an earlier state, to SQD or ERR. */
  moveTo(qp: TestQp, state: QpState): void {
    for (const [to, mask] of stepsTo(qp.type, state)) {
      this.execute({
        op: 'modifyQp',
        qp: qp.handle,
        mask,
        attributes: attributesFor(to),
        path: pathBetween(OURS, THEIRS),
      });
    }
  }

  registerMemory(pd: number, bytes: number, access: number, iova = 0n): { mr: number; key: number; bytes: Uint8Array } {
    const buffer = new SharedArrayBuffer(bytes);
    const memory = new SharedMemory(buffer);
    const { mr, lKey } = this.execute({ op: 'regMr', pd, memory, start: 0, length: bytes, iova, access });
    return { mr, key: lKey, bytes: new Uint8Array(buffer) };
  }

  postSend(qp: TestQp, request: SendRequest): void {
    if (!writeSend(qp.sq, request)) throw new Error('the send queue is full');
    this.page.ring(qp.slot);
  }

  postReceive(qp: TestQp, wrId: number, sges: readonly SgeValue[] = []): void {
    if (!writeReceive(qp.rq!, wrId, sges)) throw new Error('the receive queue is full');
  }

  /** Doorbells, timers, and all that is to be sent: how many packets. */
  turn(advance = 0): number {
    this.now += advance;
    this.rnic.handleDoorbells(this.now);
    this.rnic.handleTimeout(this.now);
    let frames = 0;
    for (let more = true; more; ) {
      more = this.rnic.pollTransmit(this.#writer, this.now);
      frames += this.#burst.count;
      if (this.#onFrame !== null) this.#handOver(this.#onFrame);
      this.#burst.reset();
    }
    return frames;
  }

  events(): EngineEvent[] {
    const events: EngineEvent[] = [];
    const event: EngineEvent = { kind: 0, context: 0, code: 0, handle: 0, channel: 0, cookie: 0n };
    while (this.rnic.pollEvent(event)) events.push({ ...event });
    return events;
  }

  #handOver(onFrame: (frame: Uint8Array) => void): void {
    for (let i = 0; i < this.#burst.count; i++) {
      const at = this.#burst.at[i]!;
      onFrame(this.#burst.bytes.slice(at, at + this.#burst.frameBytes[i]!));
    }
  }

  #allocate(bytes: number): QueueMemory {
    const memory = { buffer: new SharedArrayBuffer(bytes), byteOffset: 0, byteLength: bytes, mapOffset: 0 };
    this.queues.add(memory.buffer);
    return memory;
  }
}

export function newPage(slots: number): DoorbellPage {
  return new DoorbellPage(new Int32Array(new SharedArrayBuffer(doorbellBytes(slots))), slots);
}

/** Good values for every attribute, on the way to `state`. */
export function attributesFor(state: QpState): QpAttributes {
  return {
    qpState: state,
    curQpState: state,
    pathMtu: 3,
    qKey: 0x1111,
    rqPsn: 5,
    sqPsn: 9,
    destQpNum: 0x77,
    qpAccessFlags: 0xf,
    av: AV,
    pKeyIndex: 0,
    enSqdAsyncNotify: true,
    maxRdAtomic: 4,
    maxDestRdAtomic: 4,
    minRnrTimer: 12,
    portNum: 1,
    timeout: 14,
    retryCnt: 7,
    rnrRetry: 7,
  };
}

const { STATE, PKEY_INDEX, PORT, QKEY, ACCESS_FLAGS, AV: ADDRESS, PATH_MTU, DEST_QPN, RQ_PSN, SQ_PSN } = QpAttr;
const RC_TO_RTR = QpAttr.MAX_DEST_RD_ATOMIC | QpAttr.MIN_RNR_TIMER;
const RC_TO_RTS = QpAttr.TIMEOUT | QpAttr.RETRY_CNT | QpAttr.RNR_RETRY | QpAttr.MAX_QP_RD_ATOMIC;

/** The shortest way from RESET to a state, with the fewest attributes. */
export function stepsTo(type: QpType, state: QpState): [QpState, number][] {
  const isRc = type === QpType.RC;
  const isUd = type === QpType.UD;
  const toRtr = isUd ? 0 : ADDRESS | PATH_MTU | DEST_QPN | RQ_PSN | (isRc ? RC_TO_RTR : 0);
  const way: [QpState, number][] = [
    [QpState.INIT, STATE | PKEY_INDEX | PORT | (isUd ? QKEY : ACCESS_FLAGS)],
    [QpState.RTR, STATE | toRtr],
    [QpState.RTS, STATE | SQ_PSN | (isRc ? RC_TO_RTS : 0)],
    [QpState.SQD, STATE],
  ];
  if (state === QpState.RESET) return [];
  if (state === QpState.ERR) return [way[0]!, [QpState.ERR, STATE]];
  return way.slice(0, state);
}
