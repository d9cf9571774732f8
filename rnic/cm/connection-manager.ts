/**
 * The connection manager of one vRNIC: rdma_cm's verbs on one side, management datagrams over QP1 on the other. IBA Vol. 1, ch. 12 and Annex A11. Sans-IO like all of
 * the engine. State lives in cm-core.ts; who connects in active-side.ts, who listens in passive-side.ts; here commands and messages find their way.
 */
import * as Bth from '../../wire/bth.ts';
import * as Drep from '../../wire/cm/drep.ts';
import * as Dreq from '../../wire/cm/dreq.ts';
import * as Messages from '../../wire/cm/messages.ts';
import * as Mra from '../../wire/cm/mra.ts';
import * as Rej from '../../wire/cm/rej.ts';
import * as Rep from '../../wire/cm/rep.ts';
import * as Req from '../../wire/cm/req.ts';
import * as Rtu from '../../wire/cm/rtu.ts';
import * as SidrRep from '../../wire/cm/sidr-rep.ts';
import * as SidrReq from '../../wire/cm/sidr-req.ts';
import * as Deth from '../../wire/deth.ts';
import * as Gid from '../../wire/gid.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Mad from '../../wire/mad.ts';
import type { Micros } from '../../wire/types.ts';
import { type Answers, Errno, type Refusal, type Result } from '../commands.ts';
import { QpType } from '../constants.ts';
import { Counter } from '../counters.ts';
import type { GsiSink } from '../ingress.ts';
import type { ReceivedPacket } from '../packet.ts';
import type { PacketWriter } from '../packet-writer.ts';
import { full, invalid, isWhole, noSuch, refuse } from '../refusal.ts';
import * as Active from './active-side.ts';
import { gidIndexOf, sourceIndexFor } from './addresses.ts';
import { CmCore, type CmSurroundings, NO_PARAMETERS } from './cm-core.ts';
import { type CmId, CmState } from './cm-id.ts';
import { type CmCommand, type CmEvent, CmEventType, PortSpace } from './commands.ts';
import * as Letters from './letters.ts';
import * as Passive from './passive-side.ts';
import { qpAttributesFor } from './qp-attributes.ts';

type Ok = { ok: true };
const OK: Ok = { ok: true };
const BACKLOG_MAX = 1024;
const MULTICAST_QPN = 0xff_ffff;

type Of<Op extends CmCommand['op']> = Extract<CmCommand, { op: Op }>;
type Handler<Op extends CmCommand['op']> = (
  core: CmCore,
  context: number,
  command: Of<Op>,
  now: Micros,
) => ({ ok: true } & Answers[Op]) | Refusal;

export class ConnectionManager implements GsiSink {
  readonly #core: CmCore;

  constructor(around: CmSurroundings) {
    this.#core = new CmCore(around, (id, now) => handleTimeout(this.#core, id, now));
  }

  /** Ids of all applications. */
  get idCount(): number {
    return this.#core.count;
  }

  execute(context: number, command: CmCommand, now: Micros): Result {
    if (!Object.hasOwn(HANDLERS, command.op)) return refuse(Errno.ENOSYS, 'no such command', 'op');
    const handler = HANDLERS[command.op] as Handler<typeof command.op>;
    return handler(this.#core, context, command as never, now) as Result;
  }

  /** The application is gone: its connections end as if it had destroyed their ids. */
  closeContext(context: number): void {
    for (const id of this.#core.idsOf(context)) destroy(this.#core, id);
    this.#core.forgetContext(context);
  }

  pollTransmit(out: PacketWriter, now: Micros): boolean {
    return this.#core.outbox.pollTransmit(out, now);
  }

  pollEvent(): CmEvent | undefined {
    return this.#core.pollEvent();
  }

  handleMad(packet: ReceivedPacket, now: Micros): void {
    const { counters } = this.#core.around;
    const at = packet.bthAt + Bth.BYTES + Deth.BYTES;
    if (packet.end - at < Mad.MAD_BYTES) return counters.add(Counter.cm_drop_malformed);
    const { view } = packet;
    const isOurs =
      Mad.baseVersion(view, at) === Mad.BASE_VERSION &&
      Mad.managementClass(view, at) === Mad.CLASS_CM &&
      Mad.classVersion(view, at) === Mad.CLASS_VERSION_CM &&
      Mad.method(view, at) === Mad.METHOD_SEND;
    const arrival = isOurs ? arrivalOf(this.#core, packet, at, now) : null;
    if (!arrival) return counters.add(Counter.cm_drop_malformed);
    counters.add(Counter.cm_rx_msgs);
    receive(this.#core, Mad.attributeId(view, at), view, at + Mad.BYTES, arrival);
  }
}

/** Where a datagram came from, and which of our addresses it was for. */
function arrivalOf(core: CmCore, packet: ReceivedPacket, madAt: number, now: Micros): Passive.Arrival | null {
  const { view, bytes, ipAt, isIpv6 } = packet;
  const address = (at: number): Uint8Array => {
    const gid = new Uint8Array(16);
    if (isIpv6) gid.set(bytes.subarray(at, at + 16));
    else {
      gid.fill(0xff, 10, 12);
      gid.set(bytes.subarray(at, at + 4), 12);
    }
    return gid;
  };
  const local = address(isIpv6 ? ipAt + Ipv6.DESTINATION_AT : ipAt + Ipv4.SOURCE_AT + 4);
  const dgid = address(isIpv6 ? ipAt + Ipv6.SOURCE_AT : ipAt + Ipv4.SOURCE_AT);
  const sgidIndex = gidIndexOf(core.around.config.gids, local);
  if (sgidIndex < 0) return null;
  const av = { dgid, sgidIndex, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };
  return {
    transactionHi: Mad.transactionIdHi(view, madAt),
    transactionLo: Mad.transactionIdLo(view, madAt),
    av,
    local,
    now,
  };
}

function receive(core: CmCore, attributeId: number, view: DataView, at: number, arrival: Passive.Arrival): void {
  switch (attributeId) {
    case Messages.REQ:
      return Passive.receiveReq(core, Req.read(view, at), arrival);
    case Messages.SIDR_REQ:
      return Passive.receiveSidrReq(core, SidrReq.read(view, at), arrival);
    case Messages.DREQ:
      return receiveDreq(core, Dreq.read(view, at), arrival);
    default:
      return receiveAnswer(core, attributeId, view, at, arrival);
  }
}

/** Messages that name a connection of ours by our name of it. */
function receiveAnswer(core: CmCore, attributeId: number, view: DataView, at: number, arrival: Passive.Arrival): void {
  const ours = attributeId === Messages.SIDR_REP ? view.getUint32(at) : view.getUint32(at + 4);
  const id = core.byCommId.get(ours);
  if (!id) return core.around.counters.add(Counter.cm_drop_unknown);
  switch (attributeId) {
    case Messages.REP:
      return Active.receiveRep(core, id, Rep.read(view, at));
    case Messages.RTU:
      return isFromPeer(core, id, Rtu.read(view, at).localCommId) ? Passive.establish(core, id) : undefined;
    case Messages.MRA:
      return Active.receiveMra(core, id, Mra.read(view, at).serviceTimeout, arrival.now);
    case Messages.REJ:
      return Active.receiveRej(core, id, Rej.read(view, at));
    case Messages.DREP:
      return isFromPeer(core, id, Drep.read(view, at).localCommId) ? receiveDrep(core, id, arrival.now) : undefined;
    case Messages.SIDR_REP:
      return Active.receiveSidrRep(core, id, SidrRep.read(view, at));
    default:
      return core.around.counters.add(Counter.cm_drop_malformed);
  }
}

function isFromPeer(core: CmCore, id: CmId, commId: number): boolean {
  if (id.remoteCommId === commId) return true;
  core.around.counters.add(Counter.cm_drop_unknown);
  return false;
}

function receiveDreq(core: CmCore, dreq: Dreq.Fields, arrival: Passive.Arrival): void {
  const id = core.byCommId.get(dreq.remoteCommId);
  if (!id || id.remoteCommId !== dreq.localCommId) {
    // Over already, here: the peer must not wait for it.
    return core.outbox.post(Letters.drep(arrival, dreq.remoteCommId, dreq.localCommId), arrival.av);
  }
  if (id.state === CmState.TIMEWAIT || id.state === CmState.BOUND) {
    core.around.counters.add(Counter.cm_rx_duplicates);
    return core.outbox.post(Letters.drep(arrival, id.localCommId, id.remoteCommId), arrival.av);
  }
  id.transactionHi = arrival.transactionHi;
  id.transactionLo = arrival.transactionLo;
  if (id.state === CmState.DREQ_RECEIVED) return;
  if (id.state === CmState.DREQ_SENT) return endBoth(core, id, arrival.now);
  if (id.state !== CmState.ESTABLISHED && id.state !== CmState.REP_SENT) return;
  core.stop(id);
  id.state = CmState.DREQ_RECEIVED;
  core.raise(id, CmEventType.DISCONNECTED);
}

/** Both sides asked at once. */
function endBoth(core: CmCore, id: CmId, now: Micros): void {
  core.answer(id, Letters.drep(id, id.localCommId, id.remoteCommId));
  core.enterTimewait(id, now);
  core.raise(id, CmEventType.DISCONNECTED);
}

function receiveDrep(core: CmCore, id: CmId, now: Micros): void {
  if (id.state !== CmState.DREQ_SENT) return;
  core.enterTimewait(id, now);
  core.raise(id, CmEventType.DISCONNECTED);
}

function disconnect(core: CmCore, id: CmId, now: Micros): Ok | Refusal {
  if (id.state === CmState.DREQ_RECEIVED) {
    core.answer(id, Letters.drep(id, id.localCommId, id.remoteCommId));
    core.enterTimewait(id, now);
    return OK;
  }
  const isOpen = id.state === CmState.ESTABLISHED || id.state === CmState.REP_SENT;
  if (!isOpen) return Active.wrongState('disconnect');
  core.stop(id);
  id.state = CmState.DREQ_SENT;
  core.ask(id, Letters.dreq(id), now);
  return OK;
}

/** A REJ of something other than a REQ or a REP. */
const REJECTED_NOTHING = 2;

const refusal = (id: CmId, messageRejected: number, reason: number): Uint8Array =>
  Letters.rej(id, { localCommId: id.localCommId, remoteCommId: id.remoteCommId, messageRejected, reason });

/** The peer is told where it waits for us; nobody here hears of it any more. */
function destroy(core: CmCore, id: CmId): void {
  const { localCommId, remoteCommId } = id;
  if (id.state === CmState.REQ_SENT) core.outbox.post(refusal(id, REJECTED_NOTHING, Rej.TIMEOUT), id.madAv!);
  else if (id.state === CmState.REQ_RECEIVED) core.outbox.post(refusal(id, 0, Rej.CONSUMER_DEFINED), id.madAv!);
  else if (id.state === CmState.REP_RECEIVED) core.outbox.post(refusal(id, 1, Rej.CONSUMER_DEFINED), id.madAv!);
  else if (id.state === CmState.SIDR_REQ_RECEIVED) Passive.reject(core, id, new Uint8Array(0), 0);
  else if (id.state === CmState.ESTABLISHED || id.state === CmState.REP_SENT)
    core.outbox.post(Letters.dreq(id), id.madAv!);
  else if (id.state === CmState.DREQ_RECEIVED) core.outbox.post(Letters.drep(id, localCommId, remoteCommId), id.madAv!);
  core.remove(id);
}

function handleTimeout(core: CmCore, id: CmId, now: Micros): void {
  if (id.state === CmState.ADDR_QUERY) return Active.lookUp(core, id, now);
  if (id.state === CmState.TIMEWAIT) {
    id.state = CmState.BOUND;
    return core.raise(id, CmEventType.TIMEWAIT_EXIT);
  }
  const { sent } = id;
  if (!sent) return;
  if (sent.triesLeft > 0) {
    sent.triesLeft--;
    core.around.counters.add(Counter.cm_tx_retries);
    core.outbox.post(sent.mad, id.madAv!);
    return core.around.timers.arm(id, now + sent.intervalMicros);
  }
  core.stop(id);
  if (id.state === CmState.DREQ_SENT) {
    core.enterTimewait(id, now);
    return core.raise(id, CmEventType.DISCONNECTED, { status: -Errno.ETIMEDOUT });
  }
  // The peer may have agreed, and its RTUs are lost: it must not take itself for connected.
  if (id.state === CmState.REP_SENT) core.outbox.post(refusal(id, REJECTED_NOTHING, Rej.TIMEOUT), id.madAv!);
  id.state = CmState.BOUND;
  core.raise(id, CmEventType.UNREACHABLE, { status: -Errno.ETIMEDOUT });
}

// ── Commands ──

function withId<C extends { id: number }>(
  run: (core: CmCore, id: CmId, command: C, now: Micros) => Ok | Refusal,
): (core: CmCore, context: number, command: C, now: Micros) => Ok | Refusal {
  return (core, context, command, now) => {
    const id = core.find(context, command.id);
    return id ? run(core, id, command, now) : noSuch('id', 'id');
  };
}

const createId: Handler<'cmCreateId'> = (core, context, { portSpace, qpType, cookie = 0n }) => {
  if (portSpace !== PortSpace.TCP && portSpace !== PortSpace.UDP)
    return refuse(Errno.EOPNOTSUPP, 'port spaces are TCP and UDP', 'portSpace');
  const type = portSpace === PortSpace.UDP ? QpType.UD : qpType === QpType.UC ? QpType.UC : QpType.RC;
  const id = core.newId(context, portSpace, type, cookie);
  return id ? { ok: true, id: id.handle } : full('connection ids', 65_536);
};

function listen(core: CmCore, id: CmId, { backlog }: Of<'cmListen'>): Ok | Refusal {
  if (id.state === CmState.IDLE) {
    const bound = Active.bind(core, id, { address: new Uint8Array(16), port: 0 });
    if (!bound.ok) return bound;
  }
  if (id.state !== CmState.BOUND && id.state !== CmState.LISTEN) return Active.wrongState('listen');
  id.backlog = backlog > 0 && backlog < BACKLOG_MAX ? backlog : BACKLOG_MAX;
  id.state = CmState.LISTEN;
  return OK;
}

function accept(core: CmCore, id: CmId, { parameters, cookie }: Of<'cmAccept'>, now: Micros): Ok | Refusal {
  const done = parameters ? Passive.accept(core, id, parameters, now) : Active.confirm(core, id);
  if (done.ok && cookie !== undefined) id.cookie = cookie;
  return done;
}

const queryRoute: Handler<'cmQueryRoute'> = (core, context, command) => {
  const id = core.find(context, command.id);
  if (!id) return noSuch('id', 'id');
  const { local, remote, av, state } = id;
  const hasRoute = av !== null && state >= CmState.ROUTE_RESOLVED;
  return { ok: true, local, remote, isBound: !Gid.isAny(local.address), ...(hasRoute && { av }) };
};

const initQpAttr: Handler<'cmInitQpAttr'> = (core, context, command) => {
  const id = core.find(context, command.id);
  if (!id) return noSuch('id', 'id');
  const found = qpAttributesFor(id, command.state);
  return found ? { ok: true, ...found } : Active.wrongState('say the attributes of that state');
};

const joinMulticast: Handler<'cmJoinMulticast'> = (core, context, { id: handle, group, cookie = 0n }) => {
  const id = core.find(context, handle);
  if (!id) return noSuch('id', 'id');
  if (!Gid.isMulticast(group)) return invalid('group', 'is no multicast address');
  const { gids } = core.around.config;
  const own = Gid.isAny(id.local.address) ? sourceIndexFor(gids, group) : gidIndexOf(gids, id.local.address);
  if (own < 0) return refuse(Errno.EADDRNOTAVAIL, 'this vRNIC has no address of that kind', 'group');
  const join = core.newJoin(id);
  const av = { dgid: group, sgidIndex: own, hopLimit: 1, trafficClass: id.tos, flowLabel: 0, portNum: 1 };
  const parameters = { ...NO_PARAMETERS, qpNum: MULTICAST_QPN, qKey: id.qKey };
  core.raise(id, CmEventType.MULTICAST_JOIN, { cookie, multicast: join.handle, parameters, av });
  return { ok: true, multicast: join.handle };
};

function setOption(_core: CmCore, id: CmId, { option, value }: Of<'cmSetOption'>): Ok | Refusal {
  if (!isWhole(value, 0, 255)) return invalid('value', 'must be a whole number, 0 … 255');
  if (option === 'tos') id.tos = value;
  else if (option === 'reuseAddr') id.reusesAddress = value !== 0;
  else if (option === 'afOnly') id.isAfOnly = value !== 0;
  else if (option === 'ackTimeout' && value <= 31) id.ackTimeout = value;
  else return invalid('option', 'no such option, or no such value of it');
  return OK;
}

const HANDLERS: { readonly [Op in CmCommand['op']]: Handler<Op> } = {
  cmCreateId: createId,
  cmDestroyId: withId((core, id) => {
    destroy(core, id);
    return OK;
  }),
  cmBindAddr: withId((core, id, { local }: Of<'cmBindAddr'>) =>
    id.state === CmState.IDLE ? Active.bind(core, id, local) : Active.wrongState('be bound'),
  ),
  cmResolveAddr: withId((core, id, command: Of<'cmResolveAddr'>, now) =>
    Active.resolveAddr(core, id, command.source, command.destination, command.timeoutMillis, now),
  ),
  cmResolveRoute: withId((core, id) => Active.resolveRoute(core, id)),
  cmQueryRoute: queryRoute,
  cmListen: withId(listen),
  cmConnect: withId((core, id, { parameters }: Of<'cmConnect'>, now) => Active.connect(core, id, parameters, now)),
  cmAccept: withId(accept),
  cmReject: withId((core, id, { privateData, reason = Rej.CONSUMER_DEFINED }: Of<'cmReject'>) =>
    Passive.reject(core, id, privateData, reason),
  ),
  cmDisconnect: withId((core, id, _command, now) => disconnect(core, id, now)),
  cmInitQpAttr: initQpAttr,
  cmNotify: withId((core, id) => {
    Passive.establish(core, id);
    return OK;
  }),
  cmJoinMulticast: joinMulticast,
  cmLeaveMulticast: (core, context, { multicast }) =>
    core.removeJoin(context, multicast) ? OK : noSuch('multicast join', 'multicast'),
  cmSetOption: withId(setOption),
};
