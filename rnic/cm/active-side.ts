/** The side that connects: addresses and routes, REQ … RTU, SIDR_REQ, and the answers to them. IBA Vol. 1, §12.9.5 (active), §12.10. */
import type * as RejMessage from '../../wire/cm/rej.ts';
import type * as RepMessage from '../../wire/cm/rep.ts';
import * as SidrRep from '../../wire/cm/sidr-rep.ts';
import * as Gid from '../../wire/gid.ts';
import type { Micros } from '../../wire/types.ts';
import { Errno, type Refusal } from '../commands.ts';
import { guidOf } from '../control/device.ts';
import { Counter } from '../counters.ts';
import type { AddressVector } from '../path.ts';
import { invalid, refuse } from '../refusal.ts';
import { gidIndexOf, sourceIndexFor, withoutLoopback } from './addresses.ts';
import { type CmCore, exponentMicros, NO_PARAMETERS } from './cm-core.ts';
import { type CmId, CmState } from './cm-id.ts';
import { type CmAddress, CmEventType, type CmParameters, PortSpace } from './commands.ts';
import * as Letters from './letters.ts';

type Ok = { ok: true };
const OK: Ok = { ok: true };
const HOP_LIMIT = 64;
const GSI_QPN = 1;
/** How often an address that is being looked up is asked for again. */
const LOOK_MICROS = 2000;

/** The QP is in no state for this. */
export const wrongState = (what: string): Refusal => refuse(Errno.EINVAL, `the id is in no state to ${what}`, 'id');

function addressVector(core: CmCore, id: CmId, dgid: Uint8Array): AddressVector {
  const sgidIndex = gidIndexOf(core.around.config.gids, id.local.address);
  return { dgid, sgidIndex, hopLimit: HOP_LIMIT, trafficClass: id.tos, flowLabel: 0, portNum: 1 };
}

/** Gives the id an address of this vRNIC and a port of its own. */
export function bind(core: CmCore, id: CmId, wanted: CmAddress): Ok | Refusal {
  const { gids } = core.around.config;
  const address = withoutLoopback(gids, wanted.address);
  if (!Gid.isAny(address) && gidIndexOf(gids, address) < 0)
    return refuse(Errno.EADDRNOTAVAIL, 'the address is not one of this vRNIC', 'local');
  const port = wanted.port || core.ports.drawFree(id.portSpace);
  if (port === 0 || !core.ports.isFree(id.portSpace, address, port, id.reusesAddress))
    return refuse(Errno.EADDRINUSE, `port ${port} is in use`, 'local');
  id.local = { address, port };
  core.ports.hold(id);
  id.state = CmState.BOUND;
  return OK;
}

export function resolveAddr(
  core: CmCore,
  id: CmId,
  source: CmAddress | undefined,
  destination: CmAddress,
  timeoutMillis: number,
  now: Micros,
): Ok | Refusal {
  if (id.state !== CmState.IDLE && id.state !== CmState.BOUND) return wrongState('resolve an address');
  const { gids } = core.around.config;
  const address = withoutLoopback(gids, destination.address);
  const own =
    source && !Gid.isAny(source.address) ? source.address : Gid.isAny(id.local.address) ? null : id.local.address;
  const index = own ? gidIndexOf(gids, own) : sourceIndexFor(gids, address);
  if (index < 0) return refuse(Errno.ENETUNREACH, 'this vRNIC has no address of that kind', 'destination');
  if (id.state === CmState.IDLE) {
    const bound = bind(core, id, { address: gids[index]!.gid, port: source?.port ?? 0 });
    if (!bound.ok) return bound;
  } else {
    core.ports.release(id);
    id.local = { address: gids[index]!.gid, port: id.local.port };
    core.ports.hold(id);
  }
  id.remote = { address, port: destination.port };
  id.av = addressVector(core, id, address);
  id.madAv = id.av;
  id.state = CmState.ADDR_QUERY;
  id.sent = { mad: new Uint8Array(0), triesLeft: 0, intervalMicros: now + timeoutMillis * 1000 };
  lookUp(core, id, now);
  return OK;
}

/** Is the neighbour known by now? */
export function lookUp(core: CmCore, id: CmId, now: Micros): void {
  const found = Gid.isMulticast(id.remote.address) ? 'known' : core.around.resolve(id.av!, GSI_QPN, GSI_QPN, now);
  const deadline = id.sent?.intervalMicros ?? 0;
  if (found === null && now < deadline) return core.around.timers.arm(id, now + LOOK_MICROS);
  core.stop(id);
  if (found !== null && !(typeof found === 'object' && 'ok' in found)) {
    id.state = CmState.ADDR_RESOLVED;
    return core.raise(id, CmEventType.ADDR_RESOLVED);
  }
  id.state = CmState.BOUND;
  core.raise(id, CmEventType.ADDR_ERROR, { status: -(found === null ? Errno.ETIMEDOUT : found.errno) });
}

export function resolveRoute(core: CmCore, id: CmId): Ok | Refusal {
  if (id.state !== CmState.ADDR_RESOLVED) return wrongState('resolve a route');
  id.state = CmState.ROUTE_RESOLVED;
  core.raise(id, CmEventType.ROUTE_RESOLVED);
  return OK;
}

const PRIVATE_TCP_MAX = 56;
const PRIVATE_UDP_MAX = 180;

export function connect(core: CmCore, id: CmId, parameters: CmParameters, now: Micros): Ok | Refusal {
  if (id.state !== CmState.ROUTE_RESOLVED) return wrongState('connect');
  const isDatagram = id.portSpace === PortSpace.UDP;
  const most = isDatagram ? PRIVATE_UDP_MAX : PRIVATE_TCP_MAX;
  if (parameters.privateData.length > most) return invalid('parameters.privateData', `has at most ${most} octets`);
  id.transactionHi = id.localCommId;
  id.transactionLo = core.around.host.random32();
  adopt(id, parameters);
  id.state = isDatagram ? CmState.SIDR_REQ_SENT : CmState.REQ_SENT;
  const mad = isDatagram
    ? Letters.sidrReq(id, parameters.privateData)
    : Letters.req(id, parameters, guidOf(core.around.config.mac));
  core.ask(id, mad, now);
  return OK;
}

/** Our side's parameters count for our QP. */
export function adopt(id: CmId, parameters: CmParameters): void {
  id.localQpn = parameters.qpNum;
  id.responderResources = parameters.responderResources;
  id.initiatorDepth = parameters.initiatorDepth;
  id.retryCount = parameters.retryCount;
  id.rnrRetryCount = parameters.rnrRetryCount;
}

export function receiveRep(core: CmCore, id: CmId, rep: RepMessage.Fields): void {
  if (id.state === CmState.ESTABLISHED) return core.answerAgain(id); // the RTU was lost
  if (id.state !== CmState.REQ_SENT) return;
  core.stop(id);
  id.remoteCommId = rep.localCommId;
  id.remoteQpn = rep.localQpn;
  id.sqPsn = rep.startingPsn;
  id.initiatorDepth = rep.responderResources;
  id.responderResources = rep.initiatorDepth;
  id.rnrRetryCount = rep.rnrRetryCount;
  id.state = CmState.REP_RECEIVED;
  core.raise(id, CmEventType.CONNECT_RESPONSE, {
    parameters: {
      ...NO_PARAMETERS,
      qpNum: rep.localQpn,
      privateData: rep.privateData,
      srq: rep.srq === 1,
      responderResources: id.responderResources,
      initiatorDepth: id.initiatorDepth,
      flowControl: rep.endToEndFlowControl === 1,
      rnrRetryCount: rep.rnrRetryCount,
    },
  });
}

/** The active side agrees: the connection is made. */
export function confirm(core: CmCore, id: CmId): Ok | Refusal {
  if (id.state !== CmState.REP_RECEIVED) return wrongState('accept');
  id.state = CmState.ESTABLISHED;
  core.answer(id, Letters.rtu(id));
  return OK;
}

export function receiveMra(core: CmCore, id: CmId, serviceTimeout: number, now: Micros): void {
  if (id.sent === null) return;
  core.around.timers.disarm(id);
  core.around.timers.arm(id, now + exponentMicros(serviceTimeout) + id.sent.intervalMicros);
}

export function receiveRej(core: CmCore, id: CmId, rej: RejMessage.Fields): void {
  const isOpen = id.state >= CmState.REQ_SENT && id.state <= CmState.ESTABLISHED;
  if (!isOpen || id.state === CmState.REQ_RECEIVED) return;
  // Once the peer has a name: one that comes late, from an id that refused the same request before, is not for this connection.
  if (id.state !== CmState.REQ_SENT && id.remoteCommId !== rej.localCommId)
    return core.around.counters.add(Counter.cm_drop_unknown);
  core.stop(id);
  id.state = CmState.BOUND;
  core.raise(id, CmEventType.REJECTED, {
    status: rej.reason,
    parameters: { ...NO_PARAMETERS, privateData: rej.privateData },
  });
}

export function receiveSidrRep(core: CmCore, id: CmId, rep: SidrRep.Fields): void {
  if (id.state !== CmState.SIDR_REQ_SENT) return;
  core.stop(id);
  id.state = CmState.SIDR_DONE;
  const parameters = { ...NO_PARAMETERS, qpNum: rep.qpn, qKey: rep.qKey, privateData: rep.privateData };
  if (rep.status !== SidrRep.SUCCESS) {
    id.state = CmState.BOUND;
    return core.raise(id, CmEventType.UNREACHABLE, { status: rep.status, parameters });
  }
  id.remoteQpn = rep.qpn;
  core.raise(id, CmEventType.ESTABLISHED, { parameters, av: id.av! });
}
