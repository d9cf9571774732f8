/** One host's application of connection management: it listens, asks, accepts, refuses, hangs up and gives up, by chance, sooner or later; and holds what it hears against what was said. */
import { type CmCommand, type CmEvent, CmEventType, type CmParameters, PortSpace } from '../../../rnic/cm/commands.ts';
import { QpType } from '../../../rnic/constants.ts';
import * as Rej from '../../../wire/cm/rej.ts';
import type { Micros } from '../../../wire/types.ts';
import { Broken } from './broken.ts';
import { type Attempt, attemptIn, CmSimId, checkData, privateData, Says } from './cm-attempt.ts';
import type { SimHost } from './host.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

const SERVICE = 7174;
/** Requests that wait for a decision. */
const BACKLOG = 3;
const NO_RESOURCES = 3;
const ETIMEDOUT = 110;
/** Octets of private data: of a REQ and a SIDR_REQ behind the addresses, of a REP, SIDR_REP and REJ. */
const MOST = { ask: 56, askDatagrams: 180, accept: 196, acceptDatagrams: 136, reject: 136 };
const Q_KEY = 0x1234;
/** How long until a decision is made, a connection has lived enough. */
const DELAYS: readonly Micros[] = [0, 0, 0, 1e6, 30e6];

interface Deed {
  readonly at: Micros;
  readonly id: CmSimId;
  readonly run: () => void;
}

export class CmApplication {
  /** Ids that are not destroyed, besides the listeners. */
  readonly ids = new Map<number, CmSimId>();
  completions = 0;
  errors = 0;
  readonly #world: World;
  readonly #host: SimHost;
  readonly #peer: Uint8Array;
  readonly #random: Random;
  readonly #attempts: Map<number, Attempt>;
  /** From when on the other side is reached within the retries. */
  readonly #reachableFrom: Micros;
  readonly #listeners: Record<number, number> = {};
  #deeds: Deed[] = [];
  /** When all places for requests were last taken. */
  #fullAt = Number.NEGATIVE_INFINITY;

  constructor(
    world: World,
    host: SimHost,
    peer: SimHost,
    attempts: Map<number, Attempt>,
    reachableFrom: Micros,
    random: Random,
  ) {
    this.#world = world;
    this.#host = host;
    this.#peer = peer.gid;
    this.#attempts = attempts;
    this.#reachableFrom = reachableFrom;
    this.#random = random;
    for (const portSpace of [PortSpace.TCP, PortSpace.UDP]) {
      const id = this.#create(portSpace);
      this.#do({ op: 'cmBindAddr', id, local: { address: host.gid, port: SERVICE } });
      this.#do({ op: 'cmListen', id, backlog: BACKLOG });
      this.#listeners[portSpace] = id;
    }
  }

  /** Places of the listeners, which stay. */
  get listeners(): number {
    return Object.keys(this.#listeners).length;
  }

  act(): void {
    const { rnic } = this.#host;
    for (let event = rnic.pollCmEvent(); event; event = rnic.pollCmEvent()) this.#hear(event);
    const undecided = [...this.ids.values()].filter((id) => id.story === 'Q' && !this.#isDecided.has(id));
    for (const portSpace of [PortSpace.TCP, PortSpace.UDP])
      if (undecided.filter((id) => id.attempt.portSpace === portSpace).length >= BACKLOG)
        this.#fullAt = this.#world.now;
    const due = this.#deeds.filter(({ at }) => at <= this.#world.now);
    this.#deeds = this.#deeds.filter(({ at }) => at > this.#world.now);
    for (const { id, run } of due) if (!id.isGone) run();
  }
  readonly #isDecided = new WeakSet<CmSimId>();

  /** Asks for a connection, or for a datagram service. */
  begin(attempt: Attempt): void {
    const id = new CmSimId(this.#create(attempt.portSpace), attempt, 'active');
    this.ids.set(id.id, id);
    const destination = { address: this.#peer, port: SERVICE };
    this.#do({ op: 'cmResolveAddr', id: id.id, destination, timeoutMillis: 1000 });
    if (!this.#random.chance(0.05)) return;
    this.#later(id, this.#random.below(10_000_000), () => {
      attempt.isGivenUp = true;
      this.#destroy(id);
    });
  }

  #hear(event: CmEvent): void {
    if (event.type === CmEventType.CONNECT_REQUEST) return this.#hearRequest(event);
    const id = this.ids.get(event.id);
    if (!id) throw new Broken(`event ${event.type} for an id that was destroyed`);
    id.hears(event.type);
    switch (event.type) {
      case CmEventType.ADDR_RESOLVED:
        return this.#do({ op: 'cmResolveRoute', id: id.id });
      case CmEventType.ROUTE_RESOLVED:
        return this.#connect(id);
      case CmEventType.CONNECT_RESPONSE:
        return this.#hearResponse(id, event.parameters!);
      case CmEventType.ESTABLISHED:
        return this.#hearEstablished(id, event);
      case CmEventType.DISCONNECTED:
        return this.#hearDisconnected(id);
      case CmEventType.UNREACHABLE:
        return this.#hearUnreachable(id, event);
      case CmEventType.REJECTED:
        return this.#hearRejected(id, event);
      default:
        return this.#later(id, this.#random.pick(DELAYS), () => this.#destroy(id));
    }
  }

  #connect(id: CmSimId): void {
    const { number, portSpace } = id.attempt;
    const most = portSpace === PortSpace.TCP ? MOST.ask : MOST.askDatagrams;
    const parameters = parametersOf(qpnOf(number, 'active'), privateData(number, Says.CONNECT, most));
    this.#do({ op: 'cmConnect', id: id.id, parameters });
    id.waitsSince = this.#world.now;
  }

  #hearRequest({ id: handle, listenId, parameters }: CmEvent): void {
    const { privateData: said, qpNum } = parameters!;
    const attempt = this.#attempts.get(attemptIn(said));
    if (!attempt || listenId !== this.#listeners[attempt.portSpace])
      throw new Broken('a request that nobody made, or made elsewhere');
    const isStream = attempt.portSpace === PortSpace.TCP;
    checkData(said, privateData(attempt.number, Says.CONNECT, isStream ? MOST.ask : MOST.askDatagrams), 'request');
    if (isStream && qpNum !== qpnOf(attempt.number, 'active')) throw new Broken('a request names another QP');
    if (attempt.passives.some((passive) => !passive.isGone))
      throw new Broken(`connection ${attempt.number} was asked for twice`);
    const id = new CmSimId(handle, attempt, 'passive');
    attempt.passives.push(id);
    this.ids.set(handle, id);
    id.hears(CmEventType.CONNECT_REQUEST);
    this.#later(id, this.#random.pick(DELAYS), () => this.#decide(id));
  }

  #decide(id: CmSimId): void {
    this.#isDecided.add(id);
    const { number, portSpace } = id.attempt;
    const isStream = portSpace === PortSpace.TCP;
    const choice = this.#random.fraction();
    if (choice < 0.1) return this.#destroy(id);
    if (choice < 0.25)
      this.#do({ op: 'cmReject', id: id.id, privateData: privateData(number, Says.REJECT, MOST.reject) });
    else {
      const data = privateData(number, Says.ACCEPT, isStream ? MOST.accept : MOST.acceptDatagrams);
      this.#do({ op: 'cmAccept', id: id.id, parameters: parametersOf(qpnOf(number, 'passive'), data) });
    }
    if (choice >= 0.25 && isStream) id.waitsSince = this.#world.now;
    else this.#later(id, this.#random.pick(DELAYS), () => this.#destroy(id));
  }

  #hearResponse(id: CmSimId, { qpNum, privateData: said }: CmParameters): void {
    const { attempt } = id;
    checkData(said, privateData(attempt.number, Says.ACCEPT, MOST.accept), 'response');
    if (qpNum !== qpnOf(attempt.number, 'passive')) throw new Broken('a response names another QP');
    this.#later(id, this.#random.pick(DELAYS) / 10, () => {
      const choice = this.#random.fraction();
      if (choice < 0.05) return this.#destroy(id);
      if (choice < 0.1) {
        const data = privateData(attempt.number, Says.REJECT, MOST.reject);
        this.#do({ op: 'cmReject', id: id.id, privateData: data });
        return this.#later(id, 0, () => this.#destroy(id));
      }
      this.#do({ op: 'cmAccept', id: id.id });
      attempt.isConfirmed = true;
      this.#live(id, 20e6);
    });
  }

  #hearEstablished(id: CmSimId, { parameters }: CmEvent): void {
    const { attempt } = id;
    this.completions++;
    if (attempt.portSpace === PortSpace.UDP) {
      checkData(parameters!.privateData, privateData(attempt.number, Says.ACCEPT, MOST.acceptDatagrams), 'answer');
      const isRight = parameters!.qpNum === qpnOf(attempt.number, 'passive') && parameters!.qKey === Q_KEY;
      if (!isRight) throw new Broken('an answer names another QP or Q_Key');
      return this.#later(id, this.#random.pick(DELAYS), () => this.#destroy(id));
    }
    if (!attempt.isConfirmed) throw new Broken('established, and the peer has not agreed');
    this.#live(id, 60e6);
  }

  /** Each side hangs up in the end, whatever the other one does. */
  #live(id: CmSimId, mostMicros: Micros): void {
    this.#later(id, this.#random.below(mostMicros), () => {
      if (id.story.includes('D')) return;
      this.#do({ op: 'cmDisconnect', id: id.id });
      id.waitsSince = this.#world.now;
    });
  }

  #hearDisconnected(id: CmSimId): void {
    // As rdma_disconnect(3) of one who was told: answers the peer; refused where this side asked.
    this.#host.manage({ op: 'cmDisconnect', id: id.id });
    if (this.#random.chance(0.5)) this.#destroy(id);
  }

  #hearUnreachable(id: CmSimId, { status }: CmEvent): void {
    this.errors++;
    const { startedAt, portSpace, passives } = id.attempt;
    // A datagram service's id that is destroyed answers no more, and each new one thinks as long: few answers, which may all be lost.
    const isAskedAnew = portSpace === PortSpace.UDP && passives.length > 1;
    if (startedAt >= this.#reachableFrom && !isAskedAnew && id.side === 'active' && status === -ETIMEDOUT)
      throw new Broken(`connection ${id.attempt.number}: no answer, and hardly anything was lost`);
    this.#destroy(id);
  }

  #hearRejected(id: CmSimId, { status, parameters }: CmEvent): void {
    this.errors++;
    if (status === NO_RESOURCES) {
      if (!this.peerWasFullSince(id.attempt.startedAt)) throw new Broken('refused for want of room that there was');
    } else if (!mayBeRefusedWith(status, id))
      throw new Broken(
        `the ${id.side} side of connection ${id.attempt.number}, after ${id.story}: refused with ${status}`,
      );
    const said = parameters!.privateData;
    if (said.some((octet) => octet !== 0))
      checkData(said, privateData(id.attempt.number, Says.REJECT, MOST.reject), 'refusal');
    this.#destroy(id);
  }

  /** Set by the scenario: the other side's word. */
  peerWasFullSince: (then: Micros) => boolean = () => true;
  wasFullSince(then: Micros): boolean {
    return this.#fullAt >= then;
  }

  #later(id: CmSimId, delay: Micros, run: () => void): void {
    this.#deeds.push({ at: this.#world.now + delay, id, run });
  }

  #destroy(id: CmSimId): void {
    this.#do({ op: 'cmDestroyId', id: id.id });
    id.isGone = true;
    this.ids.delete(id.id);
  }

  #create(portSpace: PortSpace): number {
    const qpType = portSpace === PortSpace.TCP ? QpType.RC : QpType.UD;
    const made = this.#host.manage({ op: 'cmCreateId', portSpace, qpType });
    if (!made.ok) throw new Broken(made.reason);
    return (made as unknown as { id: number }).id;
  }

  #do(command: CmCommand): void {
    const result = this.#host.manage(command);
    if (!result.ok) throw new Broken(`${command.op}: ${result.reason}`);
  }
}

const qpnOf = (attempt: number, side: CmSimId['side']): number => (side === 'active' ? 0x1000 : 0x2000) + attempt;

/** Who waits in vain for an answer to its REP says TIMEOUT; that may arrive though none of its REPs did. */
function mayBeRefusedWith(status: number, { story, attempt }: CmSimId): boolean {
  if (story.endsWith('PR')) return status === Rej.TIMEOUT;
  const isWaitOver = attempt.passives.some((passive) => passive.story.endsWith('U'));
  return status === Rej.CONSUMER_DEFINED || (status === Rej.TIMEOUT && isWaitOver);
}

const parametersOf = (qpNum: number, data: Uint8Array): CmParameters => ({
  qpNum,
  qKey: Q_KEY,
  privateData: data,
  srq: false,
  responderResources: 3,
  initiatorDepth: 2,
  flowControl: false,
  retryCount: 7,
  rnrRetryCount: 7,
});
