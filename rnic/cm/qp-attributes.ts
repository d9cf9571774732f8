/** What `rdma_init_qp_attr` says: the attributes with which an application moves its QP to a state. */
import type { QpAttributes } from '../commands.ts';
import { Access, QpAttr, QpState, QpType } from '../constants.ts';
import { type CmId, CmState } from './cm-id.ts';

const PORT = 1;
const MIN_RNR_TIMER = 0;

export function qpAttributesFor(id: CmId, state: QpState): { mask: number; attributes: QpAttributes } | null {
  if (state === QpState.INIT) return toInit(id);
  const isConnecting = id.state >= CmState.REQ_RECEIVED && id.state <= CmState.ESTABLISHED && id.av !== null;
  if (id.qpType === QpType.UD || !isConnecting) return null;
  if (state === QpState.RTR) return toRtr(id);
  return state === QpState.RTS ? toRts(id) : null;
}

function toInit(id: CmId): { mask: number; attributes: QpAttributes } {
  const attributes = { qpState: QpState.INIT, pKeyIndex: 0, portNum: PORT };
  const mask = QpAttr.STATE | QpAttr.PKEY_INDEX | QpAttr.PORT;
  if (id.qpType === QpType.UD) return { mask: mask | QpAttr.QKEY, attributes: { ...attributes, qKey: id.qKey } };
  const reads = id.responderResources > 0 ? Access.REMOTE_READ | Access.REMOTE_ATOMIC : 0;
  const qpAccessFlags = id.state >= CmState.REQ_SENT ? Access.REMOTE_WRITE | reads : 0;
  return { mask: mask | QpAttr.ACCESS_FLAGS, attributes: { ...attributes, qpAccessFlags } };
}

function toRtr(id: CmId): { mask: number; attributes: QpAttributes } {
  const attributes = {
    qpState: QpState.RTR,
    av: id.av!,
    pathMtu: id.pathMtu,
    destQpNum: id.remoteQpn,
    rqPsn: id.rqPsn,
  };
  const mask = QpAttr.STATE | QpAttr.AV | QpAttr.PATH_MTU | QpAttr.DEST_QPN | QpAttr.RQ_PSN;
  if (id.qpType !== QpType.RC) return { mask, attributes };
  return {
    mask: mask | QpAttr.MAX_DEST_RD_ATOMIC | QpAttr.MIN_RNR_TIMER,
    attributes: { ...attributes, maxDestRdAtomic: id.responderResources, minRnrTimer: MIN_RNR_TIMER },
  };
}

function toRts(id: CmId): { mask: number; attributes: QpAttributes } {
  const attributes = { qpState: QpState.RTS, sqPsn: id.sqPsn };
  const mask = QpAttr.STATE | QpAttr.SQ_PSN;
  if (id.qpType !== QpType.RC) return { mask, attributes };
  const { retryCount: retryCnt, rnrRetryCount: rnrRetry, initiatorDepth: maxRdAtomic, ackTimeout: timeout } = id;
  return {
    mask: mask | QpAttr.TIMEOUT | QpAttr.RETRY_CNT | QpAttr.RNR_RETRY | QpAttr.MAX_QP_RD_ATOMIC,
    attributes: { ...attributes, timeout, retryCnt, rnrRetry, maxRdAtomic },
  };
}
