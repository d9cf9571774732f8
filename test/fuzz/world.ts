/**
 * An engine with QPs of every type in every state, and the application that keeps it busy: what frames are thrown at. The application posts work, takes completions,
 * answers requests for connections, and brings each QP that a frame has ended back to the state in which it is to be met.
 */
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Access, QpAttr, QpState, QpType, SendFlag, WrOpcode } from '../../rnic/constants.ts';
import type { Path } from '../../rnic/path.ts';
import type { Ring } from '../../rnic/queue/ring.ts';
import * as Bth from '../../wire/bth.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { Psn } from '../../wire/types.ts';
import type { Port } from '../../workers/port.ts';
import { Receiver } from '../../workers/receive.ts';
import { putFlush } from '../drills/language/post.ts';
import { AV, attributesFor, CAP, OURS, stepsTo, TestEngine, THEIRS } from '../support/engine.ts';
import { pathBetween } from '../support/paths.ts';
import type { Random } from '../support/sim/random.ts';
import { openRing, type SendRequest, type SgeValue, writeReceive, writeSend } from '../support/sim/work.ts';
import { Connections } from './connections.ts';
import type { Envelope } from './envelope.ts';
import { Letters, MAD_AT } from './letters.ts';
import { type Home, Target } from './target.ts';
import { OPEN_BYTES, Terrain } from './terrain.ts';

const CQES = 4096;
const SHORT_CQES = 500;
const SRQ_WRS = 63;
const RECEIVE_BYTES = 2048;
const GSI_QPN = 1;
const FIRST_PEER_QPN = 0x77_0000;
const WIRE = { link: 'ethernet' } as Port;
const { RESET, INIT, RTR, RTS, SQD, SQE, ERR } = QpState;
const { RC, UC, UD } = QpType;
const EVERY_RIGHT = Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC | Access.FLUSH_GLOBAL;
/** The frames that show most come to the states that do most. */
const STATES: Readonly<Record<number, readonly QpState[]>> = {
  [RC]: [RESET, INIT, RTR, RTR, RTS, RTS, RTS, RTS, RTS, RTS, SQD, ERR],
  [UC]: [RESET, INIT, RTR, RTS, RTS, SQD, SQE, ERR],
  [UD]: [RESET, INIT, RTR, RTS, RTS, SQD, SQE, ERR],
};
/** Upper octets of a group, and its lowest: an IPv4 one mapped, and an IPv6 one. */
const GROUP_IPV4 = 0xef01_0101;
const GROUP_IPV6 = Uint8Array.of(0xff, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1);

/** An IPv4 address as a GID. */
export function mapped(address: number): Uint8Array {
  const gid = new Uint8Array(16);
  gid.fill(0xff, 10, 12);
  new DataView(gid.buffer).setUint32(12, address);
  return gid;
}

/** The IPv6 address that `pathBetween` gives to a host. */
export function long(address: number): Uint8Array {
  const gid = new Uint8Array(16);
  gid[0] = 0xfd;
  new DataView(gid.buffer).setUint32(12, address);
  return gid;
}

export class World {
  readonly engine: TestEngine;
  readonly targets: Target[] = [];
  readonly terrain: Terrain;
  readonly letters: Letters;
  readonly groupPaths: readonly Path[] = [groupPath(false), groupPath(true)];
  /** A response of the engine holds octets that no key lets a peer read. */
  hasTold = false;
  groupMembers = 0;
  /** Whom the last frame was for. */
  aimedAt: Target | null = null;
  readonly #random: Random;
  readonly #pd: number;
  readonly #cq: number;
  /** In some worlds one that nobody polls: it overruns, and its QPs with it. */
  readonly #shortCq: number;
  readonly #cqs: Ring[] = [];
  readonly #srq: number;
  readonly #srqRing: Ring;
  readonly #ah: number;
  readonly #byPeer = new Map<number, Target>();
  readonly #connections: Connections;
  #ghost: Target | null = null;
  readonly #burst = new ReceiveBurst();
  readonly #receiver: Receiver;
  #frames = 0;

  constructor(random: Random) {
    this.#random = random;
    this.letters = new Letters(random);
    this.engine = new TestEngine({
      gids: [mapped(OURS), long(OURS)],
      managesConnections: true,
      strictTimers: random.chance(0.5),
      reorderWindow: random.pick([0, 4, 32]),
      datagramsWait: random.chance(0.5),
      onFrame: (frame) => this.#saw(frame),
    });
    const { engine } = this;
    this.#receiver = new Receiver(engine.rnic, null, this.#burst);
    this.#pd = engine.execute({ op: 'allocPd' }).pd;
    this.#cq = this.#createCq(CQES);
    this.#shortCq = random.chance(0.2) ? this.#createCq(SHORT_CQES, false) : this.#cq;
    this.terrain = new Terrain(engine, this.#pd);
    const { srq, queue } = engine.execute({ op: 'createSrq', pd: this.#pd, maxWr: SRQ_WRS, maxSge: 2, srqLimit: 30 });
    this.#srq = srq;
    this.#srqRing = openRing(queue);
    this.#ah = engine.execute({ op: 'createAh', pd: this.#pd, av: AV, path: pathBetween(OURS, THEIRS) }).ahNum;
    for (const type of [RC, UC, UD]) for (const [i, state] of STATES[type]!.entries()) this.#add(type, state, i);
    this.#leaveGhost();
    this.#connections = new Connections(engine, random, () => random.pick(this.targets).qp.qpn);
  }

  /** One frame from the wire. */
  receive({ bytes, segmentBytes }: Envelope): void {
    const burst = this.#burst;
    burst.bytes.set(bytes);
    burst.frameBytes[0] = bytes.length;
    burst.segmentBytes[0] = segmentBytes;
    burst.count = 1;
    this.#receiver.handleBurst(burst, WIRE, 0, false, this.engine.now);
  }

  /** All that follows from it, and now and then what an application does. */
  settle(): void {
    const random = this.#random;
    const isLong = random.chance(0.01);
    // Some packets come together, and keys go while what they grant is being read.
    if (random.chance(0.1)) return this.#regrant();
    this.engine.turn(isLong ? random.pick([1000, 100_000, 3_000_000]) : 3);
    if (this.aimedAt !== null && random.chance(0.4)) this.#tend(this.aimedAt);
    if (++this.#frames % 8 !== 0) return;
    this.engine.events();
    this.#connections.act();
    for (const ring of this.#cqs) ring.publishConsumer(ring.producer());
  }

  // ── What leaves ──

  #saw(frame: Uint8Array): void {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    const bthAt = view.getUint16(12) === 0x86dd ? 62 : 42;
    const destQpn = Bth.destQp(view, bthAt);
    if (destQpn === GSI_QPN) return this.letters.saw(view, bthAt + MAD_AT);
    const opcode = Bth.opcode(view, bthAt);
    const flags = Opcode.flags(opcode);
    if ((flags & Opcode.IS_RESPONSE) !== 0 && Terrain.tells(frame.subarray(bthAt))) this.hasTold = true;
    this.#byPeer.get(destQpn)?.saw(view, bthAt);
  }

  // ── Objects ──

  #createCq(cqe: number, isPolled = true): number {
    const { cq, queue } = this.engine.execute({ op: 'createCq', cqe });
    if (isPolled) this.#cqs.push(openRing(queue));
    return cq;
  }

  #add(type: QpType, state: QpState, index: number): void {
    const { engine } = this;
    const random = this.#random;
    const usesSrq = type === RC && index % 3 === 2;
    const isPoor = type !== UD && index === 6;
    const home: Home = {
      type,
      state,
      isIpv6: type !== UD && (index & 1) === 1,
      mtu: random.pick([1, 1, 2, 3, 5]),
      access: isPoor ? random.below(16) : EVERY_RIGHT,
      usesSrq,
    };
    const srq = usesSrq ? this.#srq : undefined;
    const cq = index === 4 ? this.#shortCq : this.#cq;
    const qp = engine.createQp(type, this.#pd, cq, cq, srq);
    const target = new Target(qp, home, FIRST_PEER_QPN + this.targets.length);
    this.targets.push(target);
    this.#byPeer.set(target.peerQpn, target);
    this.#bringHome(target);
    if (type !== UD || state === RESET) return;
    for (const gid of [mapped(GROUP_IPV4), GROUP_IPV6])
      engine.execute({ op: 'attachMcast', qp: target.qp.handle, gid });
    this.groupMembers++;
  }

  /** A QPN that was in use a short while ago. */
  #leaveGhost(): void {
    const { engine } = this;
    const qp = engine.createQp(RC, this.#pd, this.#cq);
    const home: Home = { type: RC, state: RTS, isIpv6: false, mtu: 3, access: EVERY_RIGHT, usesSrq: false };
    engine.execute({ op: 'destroyQp', qp: qp.handle });
    const ghost = new Target(qp, { ...home, state: RESET }, 1);
    this.targets.push(ghost);
    this.#ghost = ghost;
  }

  // ── States ──

  /** From wherever it is, by RESET. */
  #bringHome(target: Target): void {
    const { qp, home } = target;
    const random = this.#random;
    const isNearWrap = random.chance(0.5);
    const psn = (isNearWrap ? 2 ** 24 - random.below(20) : random.bits()) & 0xff_ffff;
    this.#modify(target, RESET, QpAttr.STATE, psn);
    target.forget(psn as Psn);
    const through = home.state === SQE ? RTS : home.state;
    for (const [to, mask] of stepsTo(home.type, through)) {
      if (to === SQD) this.#postSends(target);
      this.#modify(target, to, mask, psn);
      if (to === INIT) this.#postReceives(target);
      if (to === RTS && home.type !== UD) this.terrain.grant(qp);
    }
    if (home.state === SQE) this.#postWrong(target);
    if (home.state === RTS) this.#postSends(target);
    this.engine.turn(0);
  }

  #modify({ qp, home, peerQpn, out }: Target, to: QpState, mask: number, psn: number): void {
    const attributes = {
      ...attributesFor(to),
      pathMtu: home.mtu,
      destQpNum: peerQpn,
      qpAccessFlags: home.access,
      timeout: this.#random.pick([1, 8, 14]),
      retryCnt: this.#random.below(8),
      rnrRetry: this.#random.below(8),
      minRnrTimer: this.#random.below(32),
      rqPsn: psn,
      sqPsn: psn ^ 0x10,
    };
    this.engine.execute({ op: 'modifyQp', qp: qp.handle, mask, attributes, path: out });
  }

  #tend(target: Target): void {
    const { qp, home } = target;
    if (target === this.#ghost) return;
    const state = this.engine.rnic.qps.find(qp.qpn)!.state;
    if (state !== home.state || this.#random.chance(0.005)) this.#bringHome(target);
    else if (home.state !== RESET) this.#postReceives(target);
    if (home.state === RTS) this.#postSends(target);
    if (home.state === SQE && this.#random.chance(0.1)) this.#postWrong(target);
  }

  #regrant(): void {
    const target = this.aimedAt;
    const isGranted = target !== null && target.home.state === RTS && target.home.type !== UD;
    if (isGranted && this.#random.chance(0.3)) this.terrain.grant(target.qp);
  }

  // ── Work ──

  #postReceives({ qp }: Target): void {
    const random = this.#random;
    // Now and then there is none, and now and then one that is too short.
    if (random.chance(0.1)) return;
    const ring = qp.rq ?? this.#srqRing;
    const bytes = random.chance(0.05) ? random.below(64) : RECEIVE_BYTES;
    const first = random.below(bytes + 1);
    const at = random.below(OPEN_BYTES - RECEIVE_BYTES);
    const sges = [this.terrain.inbox(at, first), this.terrain.inbox(at + first, bytes - first)];
    if (random.chance(0.02)) sges[1] = this.#wrong(sges[1]!);
    while (ring.count() < Math.min(ring.mask, CAP.maxRecvWr) && writeReceive(ring, 5, sges));
  }

  #postSends(target: Target): void {
    const { qp, home } = target;
    const limit = 1 + this.#random.below(CAP.maxSendWr);
    while (qp.sq.count() < limit) {
      if (home.type === RC ? !this.#postReliable(target) : !writeSend(qp.sq, this.#request(home.type))) break;
    }
    this.engine.page.ring(qp.slot);
  }

  #postReliable(target: Target): boolean {
    const { qp, mtuBytes } = target;
    const random = this.#random;
    if (random.chance(0.1)) return putFlush(qp.sq, 4, random.below(4096), random.below(4096), random.bits());
    const opcode = random.pick([
      WrOpcode.RDMA_READ,
      WrOpcode.RDMA_READ,
      WrOpcode.ATOMIC_CMP_AND_SWP,
      WrOpcode.ATOMIC_FETCH_AND_ADD,
      WrOpcode.ATOMIC_WRITE,
      WrOpcode.SEND,
      WrOpcode.SEND_WITH_INV,
      WrOpcode.RDMA_WRITE_WITH_IMM,
    ]);
    const isAtomic = opcode === WrOpcode.ATOMIC_CMP_AND_SWP || opcode === WrOpcode.ATOMIC_FETCH_AND_ADD;
    const common = {
      wrId: 3,
      opcode,
      flags: flagsOf(random),
      remoteAddress: random.below(2 ** 20),
      rKey: random.bits(),
    };
    if (opcode === WrOpcode.ATOMIC_WRITE) return writeSend(qp.sq, { ...common, inline: new Uint8Array(8) });
    const length = isAtomic ? 8 : random.below(3 * Math.min(1024, mtuBytes));
    const isBack = isAtomic || opcode === WrOpcode.RDMA_READ;
    const sge = isBack
      ? this.terrain.inbox(random.below(16_384), length)
      : this.terrain.outbox(random.below(8192), length);
    const sges = [random.chance(0.01) ? this.#wrong(sge) : sge];
    return writeSend(qp.sq, { ...common, sges, immediate: random.bits() });
  }

  /** An element whose key is not, or no longer, or of another PD. */
  #wrong(sge: SgeValue): SgeValue {
    const random = this.#random;
    return { ...sge, lKey: random.chance(0.5) ? random.bits() : random.pick(this.terrain.places).key };
  }

  #request(type: QpType): SendRequest {
    const random = this.#random;
    const sges = [this.terrain.outbox(random.below(8192), random.below(256))];
    const request = { wrId: 3, flags: flagsOf(random), sges, immediate: random.bits() };
    if (type === UD)
      return { ...request, opcode: WrOpcode.SEND, ahNum: this.#ah, destQpn: random.below(2 ** 24), qKey: 0x1111 };
    return { ...request, opcode: WrOpcode.RDMA_WRITE, remoteAddress: 0x1000, rKey: random.bits() };
  }

  /** What its transport has not: SQE. */
  #postWrong({ qp }: Target): void {
    writeSend(qp.sq, { wrId: 6, opcode: WrOpcode.RDMA_READ, flags: SendFlag.SIGNALED });
    this.engine.page.ring(qp.slot);
    this.engine.turn(0);
  }
}

const flagsOf = (random: Random): number =>
  (random.chance(0.8) ? SendFlag.SIGNALED : 0) |
  (random.chance(0.1) ? SendFlag.FENCE : 0) |
  (random.chance(0.1) ? SendFlag.SOLICITED : 0);

function groupPath(isIpv6: boolean): Path {
  const path = pathBetween(THEIRS, OURS, { isIpv6 });
  const { template } = path;
  if (isIpv6) template.set(GROUP_IPV6, 14 + 24);
  else new DataView(template.buffer).setUint32(14 + 16, GROUP_IPV4);
  return path;
}
