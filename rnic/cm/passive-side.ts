/** The side that listens: REQ and SIDR_REQ come in, an id is made for each, and the application accepts or refuses. IBA Vol. 1, §12.9.6 (passive). */
import * as IpPrivateData from '../../wire/cm/ip-private-data.ts';
import * as Rej from '../../wire/cm/rej.ts';
import * as Rep from '../../wire/cm/rep.ts';
import * as Req from '../../wire/cm/req.ts';
import * as SidrRep from '../../wire/cm/sidr-rep.ts';
import type * as SidrReq from '../../wire/cm/sidr-req.ts';
import * as Gid from '../../wire/gid.ts';
import type { Micros } from '../../wire/types.ts';
import type { Refusal } from '../commands.ts';
import { QpType } from '../constants.ts';
import { guidOf } from '../control/device.ts';
import { Counter } from '../counters.ts';
import type { AddressVector } from '../path.ts';
import { invalid } from '../refusal.ts';
import { adopt, wrongState } from './active-side.ts';
import { fromPrivateData } from './addresses.ts';
import { type CmCore, NO_PARAMETERS, requestKey, settlePending } from './cm-core.ts';
import { type CmId, CmState } from './cm-id.ts';
import { CmEventType, type CmParameters, PortSpace } from './commands.ts';
import * as Letters from './letters.ts';

type Ok = { ok: true };
const OK: Ok = { ok: true };
const NO_RESOURCES = 3;

/** What came, and how to answer it. */
export interface Arrival extends Letters.Transaction {
  /** Back to its sender. */
  readonly av: AddressVector;
  /** The address that it was sent to, one of ours. */
  readonly local: Uint8Array;
  readonly now: Micros;
}

interface Addresses {
  readonly source: Uint8Array;
  readonly sourcePort: number;
  readonly destination: Uint8Array;
  /** Behind the addresses. */
  readonly privateData: Uint8Array;
}

function addressesIn(privateData: Uint8Array): Addresses | null {
  const view = new DataView(privateData.buffer, privateData.byteOffset, privateData.byteLength);
  if (!IpPrivateData.fits(privateData.length, 0)) return null;
  const fields = IpPrivateData.read(view, 0);
  if (fields.majorVersion !== 0 || (fields.ipVersion !== 4 && fields.ipVersion !== 6)) return null;
  return {
    source: fromPrivateData(fields.source, fields.ipVersion),
    sourcePort: fields.sourcePort,
    destination: fromPrivateData(fields.destination, fields.ipVersion),
    privateData: privateData.slice(IpPrivateData.BYTES),
  };
}

/** Who listens there: an exact address goes before a wildcard. */
function listenerAt(core: CmCore, portSpace: PortSpace, serviceIdLo: number, local: Uint8Array): CmId | undefined {
  let found: CmId | undefined;
  for (const id of core.ports.holders(portSpace, IpPrivateData.servicePort(serviceIdLo))) {
    if (id.state !== CmState.LISTEN) continue;
    if (Gid.isSame(id.local.address, local)) return id;
    if (Gid.isAny(id.local.address)) found = id;
  }
  return found;
}

export function receiveReq(core: CmCore, req: Req.Fields, arrival: Arrival): void {
  const known = core.byRequest.get(requestKey(req.localCommId, arrival.av));
  if (known) return receiveReqAgain(core, known);
  const refusal = (reason: number): void =>
    core.outbox.post(
      Letters.rej(arrival, { localCommId: 0, remoteCommId: req.localCommId, messageRejected: 0, reason }),
      arrival.av,
    );
  if (!IpPrivateData.isIpServiceId(req.serviceIdHi, req.serviceIdLo)) return refusal(Rej.INVALID_SERVICE_ID);
  const addresses = addressesIn(req.privateData);
  const listener = addresses && listenerAt(core, PortSpace.TCP, req.serviceIdLo, arrival.local);
  if (!listener) return refusal(Rej.INVALID_SERVICE_ID);
  if (isStale(core, req, arrival)) return refusal(Rej.STALE_CONNECTION);
  if (listener.pending >= listener.backlog) {
    core.around.counters.add(Counter.cm_backlog_full);
    return refusal(NO_RESOURCES);
  }
  const type = req.transportServiceType === Req.SERVICE_UC ? QpType.UC : QpType.RC;
  const id = newPassive(core, listener, type, arrival, addresses);
  if (!id) return refusal(NO_RESOURCES);
  if (req.pathMtu > id.pathMtu) {
    core.remove(id);
    return refusal(Rej.INVALID_MTU);
  }
  id.remoteCommId = req.localCommId;
  id.remoteQpn = req.localQpn;
  id.sqPsn = req.startingPsn;
  id.pathMtu = req.pathMtu;
  id.av = { ...id.madAv!, dgid: req.primaryLocalGid, trafficClass: req.primaryTrafficClass };
  id.ackTimeout = req.primaryLocalAckTimeout;
  id.retryCount = req.retryCount;
  id.rnrRetryCount = req.rnrRetryCount;
  id.responderResources = req.initiatorDepth;
  id.initiatorDepth = req.responderResources;
  id.state = CmState.REQ_RECEIVED;
  core.byRequest.set(requestKey(req.localCommId, arrival.av), id);
  tellListener(core, listener, id, {
    qpNum: req.localQpn,
    privateData: addresses.privateData,
    srq: req.srq === 1,
    responderResources: id.responderResources,
    initiatorDepth: id.initiatorDepth,
    flowControl: req.endToEndFlowControl === 1,
    retryCount: req.retryCount,
    rnrRetryCount: req.rnrRetryCount,
  });
}

/** Its answer was lost, or the application has not decided yet. */
function receiveReqAgain(core: CmCore, id: CmId): void {
  if (id.state === CmState.REP_SENT) return core.answerAgain(id);
  core.around.counters.add(Counter.cm_rx_duplicates);
  if (id.state === CmState.REQ_RECEIVED) core.outbox.post(Letters.mra(id), id.madAv!);
}

/** The same QP of the same peer is connected here already: the peer began anew without a word. */
function isStale(core: CmCore, req: Req.Fields, { av }: Arrival): boolean {
  for (const id of core.byRequest.values()) {
    const isConnected = id.state === CmState.ESTABLISHED || id.state === CmState.REP_SENT;
    if (isConnected && id.remoteQpn === req.localQpn && Gid.isSame(id.madAv!.dgid, av.dgid)) return true;
  }
  return false;
}

function newPassive(
  core: CmCore,
  listener: CmId,
  type: QpType,
  arrival: Arrival,
  { source, sourcePort }: Addresses,
): CmId | null {
  const id = core.newId(listener.context, listener.portSpace, type, listener.cookie);
  if (!id) return null;
  id.listener = listener;
  id.transactionHi = arrival.transactionHi;
  id.transactionLo = arrival.transactionLo;
  id.local = { address: arrival.local, port: listener.local.port };
  id.remote = { address: source, port: sourcePort };
  id.madAv = arrival.av;
  id.av = arrival.av;
  listener.pending++;
  return id;
}

function tellListener(core: CmCore, listener: CmId, id: CmId, parameters: CmParameters): void {
  core.raise(id, CmEventType.CONNECT_REQUEST, { cookie: listener.cookie, listenId: listener.handle, parameters });
}

export function receiveSidrReq(core: CmCore, req: SidrReq.Fields, arrival: Arrival): void {
  const known = core.byRequest.get(requestKey(req.requestId, arrival.av));
  if (known) return known.answer ? core.answerAgain(known) : undefined;
  const { requestId, serviceIdLo } = req;
  const addresses = addressesIn(req.privateData);
  const listener =
    addresses && IpPrivateData.isIpServiceId(req.serviceIdHi, serviceIdLo)
      ? listenerAt(core, PortSpace.UDP, serviceIdLo, arrival.local)
      : undefined;
  const isFull = listener !== undefined && listener.pending >= listener.backlog;
  if (isFull) core.around.counters.add(Counter.cm_backlog_full);
  const id = listener && !isFull ? newPassive(core, listener, QpType.UD, arrival, addresses!) : null;
  if (!id) {
    const status = isFull ? SidrRep.NO_QP : SidrRep.UNSUPPORTED;
    const answer = { requestId, status, qpn: 0, qKey: 0, serviceIdLo, privateData: new Uint8Array(0) };
    return core.outbox.post(Letters.sidrRep(arrival, answer), arrival.av);
  }
  id.remoteCommId = requestId;
  id.state = CmState.SIDR_REQ_RECEIVED;
  core.byRequest.set(requestKey(requestId, arrival.av), id);
  tellListener(core, listener!, id, { ...NO_PARAMETERS, privateData: addresses!.privateData });
}

export function accept(core: CmCore, id: CmId, parameters: CmParameters, now: Micros): Ok | Refusal {
  if (id.state === CmState.SIDR_REQ_RECEIVED) return acceptDatagrams(core, id, parameters);
  if (id.state !== CmState.REQ_RECEIVED) return wrongState('accept');
  if (parameters.privateData.length > Rep.PRIVATE_DATA_BYTES)
    return invalid('parameters.privateData', `has at most ${Rep.PRIVATE_DATA_BYTES} octets`);
  settlePending(id);
  const { retryCount } = id; // how often to repeat is what the REQ said
  adopt(id, { ...parameters, retryCount });
  id.state = CmState.REP_SENT;
  const mad = Letters.rep(id, parameters, guidOf(core.around.config.mac));
  id.answer = mad;
  core.ask(id, mad, now);
  return OK;
}

function acceptDatagrams(core: CmCore, id: CmId, parameters: CmParameters): Ok | Refusal {
  if (parameters.privateData.length > SidrRep.PRIVATE_DATA_BYTES)
    return invalid('parameters.privateData', `has at most ${SidrRep.PRIVATE_DATA_BYTES} octets`);
  settlePending(id);
  id.state = CmState.SIDR_DONE;
  if (parameters.qKey) id.qKey = parameters.qKey;
  core.answer(id, sidrAnswer(id, SidrRep.SUCCESS, parameters.qpNum, parameters.privateData));
  return OK;
}

function sidrAnswer(id: CmId, status: number, qpn: number, privateData: Uint8Array): Uint8Array {
  const serviceIdLo = IpPrivateData.serviceIdLo(id.portSpace & 0xff, id.local.port);
  return Letters.sidrRep(id, { requestId: id.remoteCommId, status, qpn, qKey: id.qKey, serviceIdLo, privateData });
}

export function reject(core: CmCore, id: CmId, privateData: Uint8Array, reason: number): Ok | Refusal {
  if (privateData.length > Rej.PRIVATE_DATA_BYTES) return invalid('privateData', 'is too long for a REJ');
  if (id.state === CmState.SIDR_REQ_RECEIVED) {
    if (privateData.length > SidrRep.PRIVATE_DATA_BYTES) return invalid('privateData', 'is too long for a SIDR_REP');
    settlePending(id);
    id.state = CmState.SIDR_DONE;
    core.answer(id, sidrAnswer(id, SidrRep.REJECTED, 0, privateData));
    return OK;
  }
  if (id.state !== CmState.REQ_RECEIVED && id.state !== CmState.REP_RECEIVED) return wrongState('reject');
  const messageRejected = id.state === CmState.REQ_RECEIVED ? 0 : 1;
  settlePending(id);
  id.state = CmState.BOUND;
  const { localCommId, remoteCommId } = id;
  core.answer(id, Letters.rej(id, { localCommId, remoteCommId, messageRejected, reason, privateData }));
  return OK;
}

/** RTU, or data that came before it. */
export function establish(core: CmCore, id: CmId): void {
  if (id.state !== CmState.REP_SENT) return;
  core.stop(id);
  id.state = CmState.ESTABLISHED;
  core.raise(id, CmEventType.ESTABLISHED);
}
