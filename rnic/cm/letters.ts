/** The messages that we send, whole: 256 octets each. IBA Vol. 1, §12.6 to §12.11; fields as Linux's cm.c fills them for RoCE. */
import * as Drep from '../../wire/cm/drep.ts';
import * as Dreq from '../../wire/cm/dreq.ts';
import * as IpPrivateData from '../../wire/cm/ip-private-data.ts';
import type { Layout, Message, Values } from '../../wire/cm/layout.ts';
import * as Messages from '../../wire/cm/messages.ts';
import * as Mra from '../../wire/cm/mra.ts';
import * as Rej from '../../wire/cm/rej.ts';
import * as Rep from '../../wire/cm/rep.ts';
import * as Req from '../../wire/cm/req.ts';
import * as Rtu from '../../wire/cm/rtu.ts';
import * as SidrRep from '../../wire/cm/sidr-rep.ts';
import * as SidrReq from '../../wire/cm/sidr-req.ts';
import * as Gid from '../../wire/gid.ts';
import * as Mad from '../../wire/mad.ts';
import { QpType } from '../constants.ts';
import type { AddressVector } from '../path.ts';
import { toPrivateData } from './addresses.ts';
import { CM_RESPONSE_TIMEOUT, MAX_CM_RETRIES } from './cm-core.ts';
import type { CmId } from './cm-id.ts';
import type { CmParameters } from './commands.ts';

const NOTHING = new Uint8Array(0);
const DEFAULT_PKEY = 0xffff;
/** RoCE has no LIDs: the permissive one, as Linux says. */
const NO_LID = 0xffff;
const RATE_PORT_CURRENT = 0;
/** What a `REP` says of the time that an acknowledgement takes here (4.096 µs · 2^n). */
const TARGET_ACK_DELAY = 15;

function letter<L extends Layout>(
  attributeId: number,
  id: Transaction,
  message: Message<L>,
  fields: Values<L>,
): Uint8Array {
  const mad = new Uint8Array(Mad.MAD_BYTES);
  const view = new DataView(mad.buffer);
  Mad.writeCm(view, 0, attributeId, id.transactionHi, id.transactionLo);
  message.write(view, Mad.BYTES, fields);
  return mad;
}

export interface Transaction {
  readonly transactionHi: number;
  readonly transactionLo: number;
}

const guidHalves = (guid: bigint) => ({
  localCaGuidHi: Number(guid >> 32n),
  localCaGuidLo: Number(guid & 0xffff_ffffn),
});

/** IP private data in front of the consumer's own. */
function withAddresses(id: CmId, privateData: Uint8Array): Uint8Array {
  const octets = new Uint8Array(IpPrivateData.BYTES + privateData.length);
  IpPrivateData.writeFields(new DataView(octets.buffer), 0, {
    majorVersion: 0,
    minorVersion: 0,
    ipVersion: Gid.isMappedIpv4(id.local.address) ? 4 : 6,
    reserved4: 0,
    sourcePort: id.local.port,
    source: toPrivateData(id.local.address),
    destination: toPrivateData(id.remote.address),
  });
  octets.set(privateData, IpPrivateData.BYTES);
  return octets;
}

const serviceId = (id: CmId) => ({
  serviceIdHi: IpPrivateData.SERVICE_ID_HI,
  serviceIdLo: IpPrivateData.serviceIdLo(id.portSpace & 0xff, id.remote.port),
});

const ALTERNATE_NONE = {
  alternateLocalLid: 0,
  alternateRemoteLid: 0,
  alternateLocalGid: NOTHING,
  alternateRemoteGid: NOTHING,
  alternateFlowLabel: 0,
  alternatePacketRate: 0,
  alternateTrafficClass: 0,
  alternateHopLimit: 0,
  alternateSl: 0,
  alternateSubnetLocal: 0,
  alternateLocalAckTimeout: 0,
};

function primaryPath(id: CmId, av: AddressVector) {
  return {
    primaryLocalLid: NO_LID,
    primaryRemoteLid: NO_LID,
    primaryLocalGid: id.local.address,
    primaryRemoteGid: id.remote.address,
    primaryFlowLabel: av.flowLabel,
    primaryPacketRate: RATE_PORT_CURRENT,
    primaryTrafficClass: av.trafficClass,
    primaryHopLimit: av.hopLimit,
    primarySl: 0,
    primarySubnetLocal: 0,
    primaryLocalAckTimeout: id.ackTimeout,
  };
}

export function req(id: CmId, parameters: CmParameters, guid: bigint): Uint8Array {
  return letter(Messages.REQ, id, Req, {
    localCommId: id.localCommId,
    ...serviceId(id),
    ...guidHalves(guid),
    localQKey: 0,
    localQpn: parameters.qpNum,
    responderResources: parameters.responderResources,
    localEecn: 0,
    initiatorDepth: parameters.initiatorDepth,
    remoteEecn: 0,
    remoteCmResponseTimeout: CM_RESPONSE_TIMEOUT,
    transportServiceType: id.qpType === QpType.UC ? Req.SERVICE_UC : Req.SERVICE_RC,
    endToEndFlowControl: parameters.flowControl ? 1 : 0,
    startingPsn: id.rqPsn,
    localCmResponseTimeout: CM_RESPONSE_TIMEOUT,
    retryCount: parameters.retryCount,
    pKey: DEFAULT_PKEY,
    pathMtu: id.pathMtu,
    rdcExists: 0,
    rnrRetryCount: parameters.rnrRetryCount,
    maxCmRetries: MAX_CM_RETRIES,
    srq: parameters.srq ? 1 : 0,
    extendedTransportType: 0,
    ...primaryPath(id, id.av!),
    ...ALTERNATE_NONE,
    privateData: withAddresses(id, parameters.privateData),
  });
}

export function rep(id: CmId, parameters: CmParameters, guid: bigint): Uint8Array {
  return letter(Messages.REP, id, Rep, {
    localCommId: id.localCommId,
    remoteCommId: id.remoteCommId,
    localQKey: parameters.qKey ?? 0,
    localQpn: parameters.qpNum,
    localEecn: 0,
    startingPsn: id.rqPsn,
    responderResources: parameters.responderResources,
    initiatorDepth: parameters.initiatorDepth,
    targetAckDelay: TARGET_ACK_DELAY,
    failoverAccepted: 0,
    endToEndFlowControl: parameters.flowControl ? 1 : 0,
    rnrRetryCount: parameters.rnrRetryCount,
    srq: parameters.srq ? 1 : 0,
    ...guidHalves(guid),
    privateData: parameters.privateData,
  });
}

const both = ({ localCommId, remoteCommId }: CmId) => ({ localCommId, remoteCommId });

export const rtu = (id: CmId): Uint8Array => letter(Messages.RTU, id, Rtu, { ...both(id), privateData: NOTHING });

export const dreq = (id: CmId): Uint8Array =>
  letter(Messages.DREQ, id, Dreq, { ...both(id), remoteQpn: id.remoteQpn, privateData: NOTHING });

/** Also for a connection that we do not know: then with the names that the DREQ gave. */
export const drep = (id: Transaction, localCommId: number, remoteCommId: number): Uint8Array =>
  letter(Messages.DREP, id, Drep, { localCommId, remoteCommId, privateData: NOTHING });

/** MRA to a repeated REQ: the application is still thinking (CMA_CM_MRA_SETTING). */
const MRA_SERVICE_TIMEOUT = 24;
export const mra = (id: CmId): Uint8Array =>
  letter(Messages.MRA, id, Mra, {
    ...both(id),
    messageMraed: 0,
    serviceTimeout: MRA_SERVICE_TIMEOUT,
    privateData: NOTHING,
  });

export interface Rejection {
  readonly localCommId: number;
  readonly remoteCommId: number;
  /** 0 a REQ, 1 a REP, 2 nothing that was received. */
  readonly messageRejected: number;
  readonly reason: number;
  readonly privateData?: Uint8Array;
}

export const rej = (id: Transaction, { privateData = NOTHING, ...rejection }: Rejection): Uint8Array =>
  letter(Messages.REJ, id, Rej, { ...rejection, rejectedInfoLength: 0, additionalInfo: NOTHING, privateData });

export const sidrReq = (id: CmId, privateData: Uint8Array): Uint8Array =>
  letter(Messages.SIDR_REQ, id, SidrReq, {
    requestId: id.localCommId,
    pKey: DEFAULT_PKEY,
    ...serviceId(id),
    privateData: withAddresses(id, privateData),
  });

export interface SidrAnswer {
  readonly requestId: number;
  readonly status: number;
  readonly qpn: number;
  readonly qKey: number;
  readonly serviceIdLo: number;
  readonly privateData: Uint8Array;
}

export const sidrRep = (id: Transaction, answer: SidrAnswer): Uint8Array =>
  letter(Messages.SIDR_REP, id, SidrRep, {
    ...answer,
    serviceIdHi: IpPrivateData.SERVICE_ID_HI,
    additionalInfoLength: 0,
    additionalInfo: NOTHING,
  });
