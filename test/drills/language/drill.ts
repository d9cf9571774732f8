/**
 * The drill language: packets and verbs against one engine whose peer is the script, under a clock that the script moves. docs/drills.md.
 * Every step is obeyed at once: packets that the engine sends in answer wait to be expected. What nobody expected fails the drill at its end.
 */
import t, { type Test } from 'tap';
import { type Command, type CommandOf, Errno, type QpAttributes } from '../../../rnic/commands.ts';
import { QpState, QpType, WcFlag, WrOpcode } from '../../../rnic/constants.ts';
import type { CounterName } from '../../../rnic/counters.ts';
import type { Ring } from '../../../rnic/queue/ring.ts';
import { writeSpan } from '../../../rnic/span.ts';
import { AV, type EngineOptions, OURS, TestEngine, THEIRS } from '../../support/engine.ts';
import { pathBetween } from '../../support/paths.ts';
import { type Completion, openRing, readCompletion } from '../../support/sim/work.ts';
import { DrillMemory, type RegionOptions } from './memory.ts';
import {
  type CompletionName,
  completionName,
  type EventName,
  eventName,
  type StateName,
  type StatusName,
  stateName,
  statusName,
} from './names.ts';
import { asWanted, type Defaults, frameOf, lineOf, octetsOf, type Packet, type Payload, packetOf } from './packet.ts';
import { DrillPort } from './port.ts';
import { type Bind, putBind, putFlush, putReceive, putSend, swapped, type Work } from './post.ts';
import { attributeMask, type QpOptions, stepTo, type TypeName } from './qp.ts';

/** The QP of the peer, that the script plays. */
export const PEER = 0x77;
/** Where our own octets are, and where those that the peer may reach. All of it is one region. */
export const LOCAL = 0x1_0000;
export const REMOTE = 0x1_8000;
/** A key of the peer's: nothing of ours. */
export const PEER_KEY = 0x0bad_cafe;
const MEMORY_BYTES = 0x1_0000;
const CQE = 255;

export interface DrillQp {
  readonly handle: number;
  readonly qpn: number;
  readonly type: QpType;
  readonly slot: number;
  readonly sq: Ring;
  readonly rq: Ring | null;
  readonly sendCq: DrillCq;
  readonly recvCq: DrillCq;
}

export interface DrillCq {
  readonly handle: number;
  ring: Ring;
}

export interface DrillSrq {
  readonly handle: number;
  readonly ring: Ring;
}

/** A completion as drills write it. */
export interface Completed {
  readonly wrId?: number;
  readonly status?: StatusName;
  readonly opcode?: CompletionName;
  readonly byteLen?: number;
  readonly imm?: number;
  readonly invalidated?: number;
  readonly srcQp?: number;
  readonly grh?: boolean;
}

export interface DrillOptions extends EngineOptions {
  readonly isIpv6?: boolean;
  /** Low 32 bits of our address and of the peer's. */
  readonly ours?: number;
  readonly theirs?: number;
  /** What the engine sends comes back to it: no peer is scripted, QPs of ours talk to each other (`pair`). */
  readonly loopback?: boolean;
}

/** Octets of a drill's frames before the IP header, and behind the IPv4 one. */
export const IP_AT = 14;
export const BTH_AT = IP_AT + 20 + 8;

const UNITS = { us: 1, ms: 1e3, s: 1e6 } as const;
export type Span = `${number}${keyof typeof UNITS}`;

function microsOf(span: Span): number {
  const [, count, unit] = /^([\d.]+)(us|ms|s)$/.exec(span) ?? [];
  if (count === undefined) throw new Error(`${span} is no span of time`);
  return Math.round(Number(count) * UNITS[unit as keyof typeof UNITS] * 1000) / 1000;
}

const TRANSPORTS: Record<number, TypeName> = { [QpType.RC]: 'rc', [QpType.UC]: 'uc', [QpType.UD]: 'ud' };

export class Drill {
  readonly engine: TestEngine;
  readonly pd: number;
  readonly memory: DrillMemory;
  readonly #t: Test;
  readonly #isIpv6: boolean;
  readonly #ours: number;
  readonly #theirs: number;
  readonly #port: DrillPort;
  /** Frames on their way back, when what leaves comes back. */
  readonly #looped: Uint8Array[] | null;
  readonly #sent: Packet[] = [];
  readonly #trace: string[] = [];
  readonly #events: { name: EventName; handle: number }[] = [];
  readonly #wakes: number[] = [];
  readonly #cqs: DrillCq[] = [];
  #qp: DrillQp | null = null;
  #srq: DrillSrq | null = null;
  #nextWrId = 1;
  #isHeld = false;

  constructor(t: Test, options: DrillOptions) {
    const { isIpv6 = false, loopback = false, ours = OURS, theirs = loopback ? ours : THEIRS, ...rest } = options;
    this.#t = t;
    this.#isIpv6 = isIpv6;
    this.#ours = ours;
    this.#theirs = theirs;
    this.#looped = loopback ? [] : null;
    this.engine = new TestEngine({ ...rest, onFrame: (frame) => this.#note(frame) });
    this.#port = new DrillPort(this.engine.rnic);
    this.pd = this.engine.execute({ op: 'allocPd' }).pd;
    this.memory = this.region({ bytes: MEMORY_BYTES, address: LOCAL });
  }

  // ── Things ──

  /** A QP of ours in RTS (or where `state` says), connected to the script. The steps that follow are about it. */
  readonly qp = (type: TypeName, options: QpOptions = {}): DrillQp => {
    const { engine } = this;
    const sendCq = options.sendCq ?? this.cq();
    const recvCq = options.recvCq ?? sendCq;
    const cap = { maxSendWr: 63, maxRecvWr: 63, maxSendSge: 4, maxRecvSge: 4, maxInlineData: 64, ...options.cap };
    const created = engine.execute({
      op: 'createQp',
      pd: options.pd ?? this.pd,
      type: QpType[type.toUpperCase() as 'RC' | 'UC' | 'UD'],
      sendCq: sendCq.handle,
      recvCq: recvCq.handle,
      cap,
      sqSigAll: options.sqSigAll ?? false,
      ...(options.srq && { srq: options.srq.handle }),
    });
    const { qp: handle, qpNum: qpn, slot } = created;
    const rq = created.rq ? openRing(created.rq) : null;
    this.#qp = {
      handle,
      qpn,
      slot,
      type: QpType[type.toUpperCase() as 'RC'],
      sq: openRing(created.sq),
      rq,
      sendCq,
      recvCq,
    };
    this.#bring(this.#qp, options);
    return this.#qp;
  };

  /** Two QPs connected to each other, for `loopback`. */
  readonly pair = (type: TypeName, first: QpOptions = {}, second: QpOptions = {}): [DrillQp, DrillQp] => {
    const { state: firstState = 'RTS', ...one } = first;
    const { state: secondState = 'RTS', ...two } = second;
    const a = this.qp(type, { ...one, state: 'RESET' });
    const b = this.qp(type, { ...two, state: 'RESET' });
    this.connect({ ...two, state: secondState, destQpNum: a.qpn });
    this.use(a);
    this.connect({ ...one, state: firstState, destQpNum: b.qpn });
    return [a, b];
  };

  readonly cq = (cqe = CQE, channel?: number): DrillCq => {
    const created = this.engine.execute({ op: 'createCq', cqe, ...(channel !== undefined && { channel }) });
    const cq = { handle: created.cq, ring: openRing(created.queue) };
    this.#cqs.push(cq);
    return cq;
  };

  readonly srq = (maxWr = 15, srqLimit = 0, pd = this.pd): DrillSrq => {
    const created = this.engine.execute({ op: 'createSrq', pd, maxWr, maxSge: 4, srqLimit });
    this.#srq = { handle: created.srq, ring: openRing(created.queue) };
    return this.#srq;
  };

  readonly region = (options: Partial<RegionOptions> = {}): DrillMemory =>
    new DrillMemory(this.engine, { pd: this.pd, ...options });

  readonly window = (type: 1 | 2, pd = this.pd): { mw: number; rKey: number } =>
    this.engine.execute({ op: 'allocMw', pd, type });

  /** An address handle to the peer. */
  readonly ah = (pd = this.pd): number => this.engine.execute({ op: 'createAh', pd, av: AV, path: this.#path() }).ahNum;

  /** The steps that follow are about this QP. */
  readonly use = (qp: DrillQp): void => {
    this.#qp = qp;
  };

  // ── Steps ──

  /** The application posts. Each gives back its wr_id: 1, 2, 3 … unless it says one. */
  readonly post = {
    send: (work: Work = {}): number => {
      if (work.invalidate !== undefined) return this.#send(WrOpcode.SEND_WITH_INV, work);
      return this.#send(work.imm === undefined ? WrOpcode.SEND : WrOpcode.SEND_WITH_IMM, work);
    },
    write: (work: Work = {}): number =>
      this.#send(work.imm === undefined ? WrOpcode.RDMA_WRITE : WrOpcode.RDMA_WRITE_WITH_IMM, work),
    read: (work: Work = {}): number => this.#send(WrOpcode.RDMA_READ, work),
    fetchAdd: (work: Work = {}): number => this.#send(WrOpcode.ATOMIC_FETCH_AND_ADD, work),
    compareSwap: (work: Work = {}): number => this.#send(WrOpcode.ATOMIC_CMP_AND_SWP, work),
    atomicWrite: (work: Work = {}): number => this.#send(WrOpcode.ATOMIC_WRITE, work),
    localInv: (key: number, signaled = true): number =>
      this.#send(WrOpcode.LOCAL_INV, { invalidate: key, sges: [], signaled }),
    /** Any opcode, even one that the QP does not have. */
    raw: (opcode: number, work: Work = {}): number => this.#send(opcode as WrOpcode, work),
    flush: (to: number, length: number, rKey: number): number =>
      this.#posted((qp, wrId) => putFlush(qp.sq, wrId, to, length, rKey)),
    bind: (bind: Bind): number => this.#posted((qp, wrId) => putBind(qp.sq, WrOpcode.BIND_MW, wrId, bind), bind.wrId),
    register: (bind: Bind): number =>
      this.#posted((qp, wrId) => putBind(qp.sq, WrOpcode.REG_MR, wrId, bind), bind.wrId),
    /** Into the QP's receive queue, or the SRQ when it has one. */
    recv: (work: Work = {}): number =>
      this.#posted((qp, wrId) => {
        const defaults = { address: REMOTE, lKey: this.memory.key, to: 0, rKey: 0 };
        return putReceive(qp.rq ?? this.#srq!.ring, wrId, { length: 256, ...work }, defaults);
      }, work.wrId),
  };

  /** Packets from the peer. Several come in one burst: the engine answers behind the last one. */
  readonly inject = (...packets: readonly Packet[]): void => this.#receive(packets, false);

  /** Packets by another way than that of the drill's QPs: one of translated connections, where nothing else travels. */
  readonly injectTranslated = (...packets: readonly Packet[]): void => {
    for (const packet of packets) this.#port.receiveTranslated(frameOf(packet, this.#defaults()), this.engine.now);
    this.#turn();
  };

  /** Packets from another vRNIC of this host: they never left its memory, and their ICRC was left out. */
  readonly injectLocal = (...packets: readonly Packet[]): void => this.#receive(packets, true);

  /** A whole frame, octet by octet, from its Ethernet header on. */
  readonly injectFrame = (frame: Uint8Array): void => {
    this.#port.receive(frame, false, this.engine.now);
    this.#turn();
  };

  /** What happens in here happens at once: the engine sends behind the last of it. */
  readonly together = (steps: () => void): void => {
    this.#isHeld = true;
    steps();
    this.#isHeld = false;
    this.#turn();
  };

  /** Lets time pass; whatever is due on the way happens when it is due. */
  readonly advance = (span: Span): void => {
    const { engine } = this;
    const until = engine.now + microsOf(span);
    for (let next = engine.rnic.pollTimeout(); next <= until; next = engine.rnic.pollTimeout()) {
      engine.now = Math.max(engine.now, next);
      this.#turn();
    }
    engine.now = until;
    this.#turn();
  };

  readonly modify = (state: StateName, attributes: QpAttributes = {}): void => {
    this.execute(this.#modification(state, attributes));
    this.#turn();
  };

  /** Takes the QP, that is in RESET again, to RTS or where `state` says. */
  readonly connect = (options: QpOptions = {}): void => this.#bring(this.#current(), options);

  /** Any command of the engine; throws when it is refused. */
  readonly execute: TestEngine['execute'] = (command) => this.engine.execute(command);

  // ── Expectations ──

  readonly expect = {
    /** The next packets that the engine sent, in this order. Fields that are not named may be anything. */
    packet: (...packets: readonly Packet[]): void => {
      for (const wanted of packets) {
        const found = this.#sent.shift();
        const norm =
          typeof wanted.payload === 'object' ? { ...wanted, payload: Uint8Array.from(wanted.payload) } : wanted;
        this.#same(asWanted(found, wanted), norm, `packet: ${lineOf(wanted)}`);
      }
    },
    /** The next completions of the QP. */
    completion: (...completions: readonly Completed[]): void => {
      for (const wanted of completions) {
        const found = this.#completion();
        const named =
          found && Object.fromEntries(Object.keys(wanted).map((name) => [name, found[name as keyof Completed]]));
        this.#same(named, wanted, `completion: ${wanted.wrId ?? ''} ${wanted.status ?? ''}`);
      }
    },
    event: (...names: readonly EventName[]): void => {
      this.#takeEvents();
      for (const name of names) this.#same(this.#events.shift()?.name, name, `event: ${name}`);
    },
    /** A completion event of this CQ. */
    wake: (cq: DrillCq): void => {
      this.#takeEvents();
      this.#same(this.#wakes.shift(), cq.handle, 'completion event');
    },
    counter: (name: CounterName, count: number): void =>
      this.#same(this.engine.rnic.counters.get(name), count, `counter ${name}`),
    state: (state: StateName): void => this.#same(this.state(), state, 'state'),
    memory: (address: number, content: Payload, memory = this.memory): void => {
      const wanted = octetsOf(content);
      this.#same(memory.octets(address, wanted.length), Uint8Array.from(wanted), `memory at 0x${address.toString(16)}`);
    },
    /** These octets are as they were at the start. */
    untouched: (address: number, bytes: number, memory = this.memory): void =>
      this.#same(
        memory.octets(address, bytes),
        memory.pattern(address, bytes),
        `untouched at 0x${address.toString(16)}`,
      ),
    word: (address: number, value: bigint): void => this.#same(this.memory.word(address), value, 'word'),
    refused: <Op extends Command['op']>(errno: keyof typeof Errno, command: CommandOf<Op>): void => {
      const result = this.engine.tryExecute(command);
      this.#same(result.ok ? 'done' : result.errno, Errno[errno], `${command.op} is refused with ${errno}`);
    },
    refusedModify: (errno: keyof typeof Errno, state: StateName, attributes: QpAttributes = {}): void =>
      this.expect.refused(errno, this.#modification(state, attributes)),
    /** Nothing that was not expected has happened so far. */
    nothing: (): void => {
      this.#takeEvents();
      const packets = this.#sent.splice(0).map(lineOf);
      const completions = this.#cqs.flatMap(takeAll);
      const rest = { packets, completions, events: this.#events.splice(0), wakes: this.#wakes.splice(0) };
      this.#same(rest, { packets: [], completions: [], events: [], wakes: [] }, 'nothing else');
    },
    that: (found: unknown, wanted: unknown, what: string): void => this.#same(found, wanted, what),
  };

  /** Packets that the engine sent and nobody expected, taken away. */
  readonly sent = (): Packet[] => this.#sent.splice(0);

  /** Events that nobody expected, taken away. */
  readonly events = (): EventName[] => {
    this.#takeEvents();
    return this.#events.splice(0).map(({ name }) => name);
  };

  readonly state = (): StateName =>
    stateName(this.engine.execute({ op: 'queryQp', qp: this.#current().handle }).attributes.qpState);

  /** Microseconds since the engine's clock began. */
  get now(): number {
    return this.engine.now;
  }

  end(): void {
    this.expect.nothing();
    if (!this.#t.passing()) for (const line of this.#trace) this.#t.comment(line);
  }

  // ── Inside ──

  #current(): DrillQp {
    if (this.#qp === null) throw new Error('the drill has no QP yet');
    return this.#qp;
  }

  #path() {
    return pathBetween(this.#ours, this.#theirs, { isIpv6: this.#isIpv6 });
  }

  #bring(qp: DrillQp, options: QpOptions): void {
    for (const { state, attributes } of stepTo(qp.type, options)) {
      this.execute(this.#modification(state, attributes));
    }
  }

  #modification(state: StateName, attributes: QpAttributes): CommandOf<'modifyQp'> {
    return {
      op: 'modifyQp',
      qp: this.#current().handle,
      mask: attributeMask(attributes),
      attributes: { qpState: QpState[state], ...attributes },
      path: this.#path(),
    };
  }

  #defaults(): Defaults {
    const transport = this.#qp === null ? 'UD' : TRANSPORTS[this.#qp.type]!.toUpperCase();
    return {
      transport,
      dest: this.#qp?.qpn ?? 1,
      from: this.#theirs,
      to: this.#ours,
      va: REMOTE,
      rKey: this.memory.key,
      qKey: 0x1111,
      isIpv6: this.#isIpv6,
    };
  }

  #receive(packets: readonly Packet[], icrcElided: boolean): void {
    for (const packet of packets) {
      this.#log('→', packet);
      const frame = frameOf(packet, this.#defaults());
      if (icrcElided) writeSpan(new DataView(frame.buffer), frame.length - 4, packet.span ?? 1);
      this.#port.receive(frame, icrcElided, this.engine.now);
    }
    this.#turn();
  }

  #send(opcode: WrOpcode, work: Work): number {
    const defaults = { address: LOCAL, lKey: this.memory.key, to: REMOTE, rKey: PEER_KEY };
    return this.#posted((qp, wrId) => putSend(qp.sq, opcode, wrId, work, defaults), work.wrId);
  }

  #posted(put: (qp: DrillQp, wrId: number) => boolean, wrId = this.#nextWrId++): number {
    const qp = this.#current();
    if (!put(qp, wrId)) throw new Error('the queue is full');
    this.engine.page.ring(qp.slot);
    this.#turn();
    return wrId;
  }

  #turn(): void {
    if (this.#isHeld) return;
    this.engine.turn();
    for (let frame = this.#looped?.shift(); frame !== undefined; frame = this.#looped?.shift()) {
      this.#port.receive(frame, false, this.engine.now);
      this.engine.turn();
    }
  }

  #note(frame: Uint8Array): void {
    const packet = packetOf(frame);
    this.#log('←', packet);
    if (this.#looped === null) this.#sent.push(packet);
    else this.#looped.push(frame);
  }

  #log(arrow: string, packet: Packet): void {
    this.#trace.push(`${this.engine.now.toFixed(3).padStart(14)} ${arrow} ${lineOf(packet)}`);
  }

  #takeEvents(): void {
    for (const { kind, code, handle } of this.engine.events()) {
      if (kind === 1) this.#wakes.push(handle);
      else this.#events.push({ name: eventName(code), handle });
    }
  }

  #completion(): Completed | undefined {
    const { sendCq, recvCq } = this.#current();
    const completion = readCompletion(sendCq.ring) ?? readCompletion(recvCq.ring);
    return completion && completed(completion);
  }

  #same(found: unknown, wanted: unknown, what: string): void {
    this.#t.strictSame(found, wanted, what);
  }
}

function completed(completion: Completion): Completed {
  const { wcFlags, immediate } = completion;
  return {
    wrId: completion.wrId,
    status: statusName(completion.status),
    opcode: completionName(completion.opcode),
    byteLen: completion.byteLen,
    srcQp: completion.srcQp,
    grh: (wcFlags & WcFlag.GRH) !== 0,
    ...((wcFlags & WcFlag.WITH_IMM) !== 0 && { imm: swapped(immediate) }),
    ...((wcFlags & WcFlag.WITH_INV) !== 0 && { invalidated: immediate }),
  };
}

function takeAll(cq: DrillCq): string[] {
  const lines: string[] = [];
  for (let next = readCompletion(cq.ring); next; next = readCompletion(cq.ring)) {
    lines.push(`${next.wrId} ${statusName(next.status)}`);
  }
  return lines;
}

export type Script = (drill: Drill) => void;

/** One rule, shown on one engine. `rule` begins with the numbers it is about: `R-037: a gap earns one NAK, then silence`. */
export function drill(rule: string, script: Script): void;
export function drill(rule: string, options: DrillOptions, script: Script): void;
export function drill(rule: string, ...rest: [Script] | [DrillOptions, Script]): void {
  const [options, script] = rest.length === 1 ? [{}, rest[0]] : rest;
  t.test(rule, (t) => {
    const drill = new Drill(t, options);
    script(drill);
    drill.end();
    t.end();
  });
}
