/** An RC connection, its work in both directions, and what becomes of it when it breaks: both QPs go to ERR, are flushed, and begin anew. */
import { AsyncEvent, QpAttr, QpState, QpType } from '../../../rnic/constants.ts';
import type { Micros } from '../../../wire/types.ts';
import { Broken } from './broken.ts';
import type { Fate, Flow, FlowEnd } from './flow.ts';
import type { Connection, QpExtras, SimHost } from './host.ts';
import type { Random } from './random.ts';
import type { RcWork } from './rc-work.ts';
import type { World } from './world.ts';

/** What a QP hears that refused a request and ended. */
const REFUSALS = [AsyncEvent.QP_ACCESS_ERR, AsyncEvent.QP_REQ_ERR];
const CQ_SIZES = [300, 600, 1200];
const SMALL_CQ_SIZES = [1, 3, 7];
/** So long an application leaves a CQ alone. */
const UNPOLLED_MICROS = 50_000;
/** So long an application takes at most to see that its connection broke. */
const NOTICE_MICROS = 20_000;
/** No frame stays longer on the slowest wire behind the longest queue. */
const QUIET_MICROS = 100_000;

/** What is posted to a QP in ERR is flushed within this. */
const FLUSH_MICROS = 90_000;

/** What an end is created and connected with. */
export interface EndSetup {
  readonly depth: number;
  readonly sqSigAll: boolean;
  readonly extras: QpExtras;
  connection(): Connection;
}

/** A flow one of whose CQs nobody polls. */
interface Unpolled {
  readonly flow: Flow;
  /** Whose CQ it is. */
  readonly end: FlowEnd;
  readonly until: Micros;
}

/** Two QPs from one connecting to the next, and where in the trace that begins. */
export interface Incarnation {
  readonly qpnA: number;
  readonly qpnB: number;
  readonly from: number;
}

export class RcPair implements Fate {
  readonly mayBreak: boolean;
  isBroken = false;
  isForced = false;
  readonly incarnations: Incarnation[] = [];
  readonly #world: World;
  readonly #ends: readonly [FlowEnd, FlowEnd];
  readonly #setups: readonly [EndSetup, EndSetup];
  readonly #random: Random;
  /** Its application may give it up with work under way. */
  readonly #mayAbandon: boolean;
  #isAbandoned = false;
  /** It begins anew with new QPs. */
  #isReplaced = false;
  /** An application that does not look at a CQ; the end whose CQ has overrun of it; and one whose CQs are of no use. */
  #unpolled: Unpolled | null = null;
  #overran: FlowEnd | null = null;
  #hasDeadCq: FlowEnd | null = null;
  #flows: readonly { flow: Flow; work: RcWork }[] = [];
  /** Ends whose send queue was asked to stop. */
  readonly #draining = new Set<FlowEnd>();
  #forceAt: Micros = 0;
  #restartAt: Micros = 0;

  constructor(
    world: World,
    ends: readonly [FlowEnd, FlowEnd],
    setups: readonly [EndSetup, EndSetup],
    mayBreak: boolean,
    mayAbandon: boolean,
    random: Random,
  ) {
    this.#world = world;
    this.#ends = ends;
    this.#setups = setups;
    this.mayBreak = mayBreak;
    this.#mayAbandon = mayAbandon;
    this.#random = random;
    this.#connect();
  }

  /** Its work, one flow for each direction that has some. */
  set flows(flows: readonly { flow: Flow; work: RcWork }[]) {
    this.#flows = flows;
    const [forth, back] = flows;
    if (forth !== undefined && back !== undefined) {
      forth.flow.opposite = back.flow;
      back.flow.opposite = forth.flow;
    }
  }

  get flows(): readonly { flow: Flow; work: RcWork }[] {
    return this.#flows;
  }

  get ends(): readonly [FlowEnd, FlowEnd] {
    return this.#ends;
  }

  /** Receive completions of a host that nobody has looked at. */
  unpolledReceives(host: SimHost): number {
    const unpolled = this.#unpolled;
    const isHere = unpolled?.flow.unpolled === 'recvCq' && unpolled.end.host === host;
    return isHere ? unpolled.end.qp.recvCq.count() : 0;
  }

  get isDone(): boolean {
    if (this.isBroken) return this.mayBreak && this.#flows.every(({ flow }) => flow.isIdle);
    return this.#flows.every(({ flow, work }) => work.isDone && flow.isIdle);
  }

  hasLosses(): boolean {
    const { lost, corrupted, reordered } = this.#world.wire;
    return lost + corrupted + reordered > 0;
  }

  poll(): void {
    if (this.#unpolled !== null) this.#checkOverrun(this.#unpolled);
    for (const { flow } of this.#flows) flow.poll();
    for (const { keys } of this.#ends) for (const key of keys) key.check();
    const hasEnded = ({ host, qp }: FlowEnd): boolean => REFUSALS.some((code) => host.hasEvent(code, qp.handle));
    if (this.#ends.some(hasEnded)) this.isBroken = true;
  }

  /** After all ends of both hosts were polled. */
  act(): void {
    if (!this.isBroken || this.#overran !== null) this.#work();
    else if (!this.mayBreak) this.#recover();
  }

  finish(): void {
    for (const { flow } of this.#flows) flow.finish();
    this.#checkEvents();
  }

  #work(): void {
    if (this.#overran !== null) return this.#leaveOverrun(this.#overran);
    if (this.#mayAbandon && this.#unpolled === null) {
      if (this.#random.chance(0.002)) return this.#abandon();
      if (this.#draining.size === 0 && this.#random.chance(0.0005)) this.#stopPolling();
    }
    for (const { work } of this.#flows) work.act();
    for (const { flow } of this.#flows) {
      const { from } = flow;
      if (this.#unpolled !== null) continue;
      if (this.#random.chance(0.01))
        for (const which of ['sendCq', 'recvCq'] as const)
          from.qp = from.host.resizeCq(from.qp, which, this.#random.pick(CQ_SIZES));
      if (!this.mayBreak) this.#drain(from);
    }
  }

  /** Stops a send queue now and then, hears that it is drained, and lets it go on. */
  #drain(end: FlowEnd): void {
    const { host, qp } = end;
    const events = host.takeEvents(AsyncEvent.SQ_DRAINED, qp.handle);
    const isAsked = this.#draining.has(end);
    if (events > (isAsked && !end.isDrained ? 1 : 0)) throw new Broken('SQ_DRAINED came, and was not due');
    if (events > 0) end.isDrained = true;
    if (end.isDrained && this.#random.chance(0.3)) this.#resume(end);
    else if (!isAsked && this.#random.chance(0.01)) {
      this.#draining.add(end);
      const { STATE, EN_SQD_ASYNC_NOTIFY } = QpAttr;
      host.modify(qp, STATE | EN_SQD_ASYNC_NOTIFY, { qpState: QpState.SQD, enSqdAsyncNotify: true });
    }
  }

  #resume(end: FlowEnd): void {
    end.host.modify(end.qp, QpAttr.STATE, { qpState: QpState.RTS });
    this.#forgetDrain(end);
  }

  #forgetDrain(end: FlowEnd): void {
    this.#draining.delete(end);
    end.isDrained = false;
  }

  /** What an application does with a connection that broke. */
  #recover(): void {
    const { now } = this.#world;
    if (this.#forceAt === 0) this.#forceAt = now + this.#random.below(NOTICE_MICROS);
    if (now < this.#forceAt) return;
    if (!this.isForced) this.#force();
    else if (now >= this.#restartAt) this.#restart();
    else if (!this.#isAbandoned && now < this.#restartAt - FLUSH_MICROS && this.#random.chance(0.1))
      for (const { flow } of this.#flows) flow.to.receives.post(this.#random);
  }

  #force(): void {
    for (const { host, qp } of this.#ends) host.modify(qp, QpAttr.STATE, { qpState: QpState.ERR });
    this.isForced = true;
    this.#isReplaced = this.#random.chance(0.5);
    this.#restartAt = this.#world.now + QUIET_MICROS;
  }

  /** The application makes a CQ small, and looks at it no more. */
  #stopPolling(): void {
    const { flow } = this.#random.pick(this.#flows);
    flow.unpolled = this.#random.pick(['sendCq', 'recvCq'] as const);
    const end = flow.unpolled === 'sendCq' ? flow.from : flow.to;
    end.qp = end.host.resizeCq(end.qp, flow.unpolled, this.#random.pick(SMALL_CQ_SIZES));
    this.#unpolled = { flow, end, until: this.#world.now + UNPOLLED_MICROS };
  }

  /** A CQ that has overrun says so once, is full, and its QP has ended. */
  #checkOverrun({ flow, end, until }: Unpolled): void {
    const { host, qp } = end;
    const which = flow.unpolled!;
    const events = host.takeEvents(AsyncEvent.CQ_ERR, qp[`${which}Handle`]);
    const ring = qp[which];
    if (events === 0 && this.#world.now < until && !this.isBroken) return;
    this.#unpolled = null;
    flow.unpolled = null;
    if (events === 0) {
      end.qp = host.resizeCq(qp, which, CQ_SIZES[0]!);
      return;
    }
    if (events > 1 || ring.count() !== ring.mask)
      throw new Broken(`a CQ of ${ring.mask} CQEs overran ${events} times with ${ring.count()}`);
    const { attributes } = host.execute({ op: 'queryQp', qp: qp.handle });
    if (attributes.qpState !== QpState.ERR) throw new Broken('a QP goes on whose CQ has overrun');
    host.takeEvents(AsyncEvent.QP_FATAL, qp.handle);
    host.takeEvents(AsyncEvent.QP_LAST_WQE_REACHED, qp.handle);
    this.isBroken = true;
    this.#overran = end;
  }

  /** What the full CQ held was polled, in order: now both QPs go, and it with them. */
  #leaveOverrun(end: FlowEnd): void {
    this.#overran = null;
    // The other one may have been told so by then, and have ended.
    for (const { host, qp } of this.#ends)
      if (host.takeEvents(AsyncEvent.QP_LAST_WQE_REACHED, qp.handle) > 1)
        throw new Broken('QP_LAST_WQE_REACHED came twice');
    this.#abandon(true);
    this.#hasDeadCq = end;
  }

  /** Both QPs are reset or destroyed while they work: nothing completes any more. */
  #abandon(isReplaced = this.#random.chance(0.5)): void {
    this.isBroken = true;
    this.isForced = true;
    this.#isAbandoned = true;
    this.#isReplaced = isReplaced;
    this.#forceAt = this.#world.now;
    this.#restartAt = this.#world.now + QUIET_MICROS;
    for (const end of this.#ends) this.#empty(end);
    for (const { flow } of this.#flows) flow.isAbandoned = true;
  }

  /** Destroys its QP, or resets it. */
  #empty({ host, qp }: FlowEnd): void {
    if (this.#isReplaced) host.execute({ op: 'destroyQp', qp: qp.handle });
    else host.modify(qp, QpAttr.STATE, { qpState: QpState.RESET });
  }

  #restart(): void {
    for (const { flow } of this.#flows) flow.close();
    for (const { receives } of this.#ends) receives.close(this.#isAbandoned);
    this.#checkEvents();
    for (const { flow, work } of this.#flows) {
      flow.restart();
      work.restart();
    }
    for (const end of this.#ends) {
      this.#forgetDrain(end);
      for (const key of end.keys) key.forgetPeer(this.#isAbandoned);
    }
    for (const i of [0, 1] as const) {
      if (!this.#isAbandoned) this.#empty(this.#ends[i]);
      if (this.#isReplaced) this.#replace(this.#ends[i], this.#setups[i]);
    }
    this.#isAbandoned = false;
    this.isBroken = false;
    this.isForced = false;
    this.#forceAt = 0;
    this.#connect();
  }

  /** A new QP, with a new number; windows of type 2 go with the old one. */
  #replace(end: FlowEnd, { depth, sqSigAll, extras }: EndSetup): void {
    const { host, qp } = end;
    const isDead = this.#hasDeadCq === end;
    end.qp = host.createQp(QpType.RC, depth, sqSigAll, { ...extras, ...(!isDead && { inheritsFrom: qp }) });
    if (!isDead) return this.#renewWindows(end);
    for (const cq of [qp.sendCqHandle, qp.recvCqHandle]) host.execute({ op: 'destroyCq', cq });
    for (const { flow } of this.#flows) if (flow.to === end) flow.forgetArming();
    this.#hasDeadCq = null;
    this.#renewWindows(end);
  }

  #renewWindows(end: FlowEnd): void {
    for (const key of end.keys) if (key.kind === 2) key.renew();
  }

  #connect(): void {
    const [a, b] = this.#ends;
    const [toA, toB] = [this.#setups[0].connection(), this.#setups[1].connection()];
    b.host.connect(b.qp, QpType.RC, a.host.options.address, a.qp.qpNum, toA.sqPsn, toB);
    a.host.connect(a.qp, QpType.RC, b.host.options.address, b.qp.qpNum, toB.sqPsn, toA);
    this.incarnations.push({ qpnA: a.qp.qpNum, qpnB: b.qp.qpNum, from: this.#world.trace?.length ?? 0 });
  }

  /** A QP hears why it ended once at most, and always when the peer was told; its SRQ is done with it once. */
  #checkEvents(): void {
    for (const [i, { host, qp, receives }] of this.#ends.entries()) {
      const flow = this.#flows.find(({ flow: { to } }) => to === this.#ends[i])?.flow;
      let refusals = 0;
      for (const code of REFUSALS) {
        const count = host.takeEvents(code, qp.handle);
        if (count > 0 && !flow?.events.has(code)) throw new Broken(`asynchronous event ${code} came unexpectedly`);
        refusals += count;
      }
      if (refusals > 1 || refusals < (flow?.refusals ?? 0))
        throw new Broken(`${refusals} asynchronous events for ${flow?.refusals} refusals`);
      if (host.takeEvents(AsyncEvent.SQ_DRAINED, qp.handle) > 1) throw new Broken('SQ_DRAINED came twice');
      const lastWqe = host.takeEvents(AsyncEvent.QP_LAST_WQE_REACHED, qp.handle);
      const isDue = receives.isShared && this.isForced && !this.#isAbandoned ? 1 : 0;
      if (!this.mayBreak && lastWqe !== isDue)
        throw new Broken(`QP_LAST_WQE_REACHED came ${lastWqe} times of ${isDue}`);
    }
  }
}
