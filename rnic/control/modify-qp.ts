/** modifyQp: a transition is checked whole before anything changes (SPEC-CHECKLIST R-165 … R-167). */
import type { QpAttributes, Refusal } from '../commands.ts';
import { Errno } from '../commands.ts';
import { mtuBytes, QpAttr, QpState, QpType } from '../constants.ts';
import type { Context } from '../context.ts';
import type { QueuePair } from '../qp.ts';
import { attributeNames, mayBeCurrent, transition } from '../qp-states.ts';
import { invalid, isWhole, noSuch, refuse } from '../refusal.ts';
import type { Control, Handler } from './control.ts';
import { gidAt } from './device.ts';

const MASK_24 = 0xff_ffff;
const U32 = 0xffff_ffff;
const CONTROLLED_Q_KEY = 0x8000_0000;
/** `QpAttr` bit → the member it names and the values that member takes. */
const RANGES: readonly (readonly [bit: number, member: keyof QpAttributes, least: number, most: number])[] = [
  [QpAttr.STATE, 'qpState', 0, 6],
  [QpAttr.PATH_MTU, 'pathMtu', 1, 5],
  [QpAttr.QKEY, 'qKey', 0, U32],
  [QpAttr.RQ_PSN, 'rqPsn', 0, U32],
  [QpAttr.SQ_PSN, 'sqPsn', 0, U32],
  [QpAttr.DEST_QPN, 'destQpNum', 0, MASK_24],
  [QpAttr.ACCESS_FLAGS, 'qpAccessFlags', 0, 0x3f_ffff],
  [QpAttr.PKEY_INDEX, 'pKeyIndex', 0, 0],
  [QpAttr.PORT, 'portNum', 1, 1],
  [QpAttr.TIMEOUT, 'timeout', 0, 31],
  [QpAttr.RETRY_CNT, 'retryCnt', 0, 7],
  [QpAttr.RNR_RETRY, 'rnrRetry', 0, 7],
  [QpAttr.MIN_RNR_TIMER, 'minRnrTimer', 0, 31],
];
const STATE_NAMES = Object.keys(QpState);

export const modifyQp: Handler<'modifyQp'> = (control, context, command, now) => {
  const qp = context.qps.get(command.qp);
  if (!qp) return noSuch('queue pair', 'qp');
  const { mask, attributes } = command;
  if (!isWhole(mask, 0, 0x7fff_ffff)) return invalid('mask', 'must be a mask of attributes');
  if (typeof attributes !== 'object' || attributes === null) return invalid('attributes', 'are missing');
  const to = (mask & QpAttr.STATE) !== 0 ? (attributes.qpState as QpState) : qp.state;
  const refusal =
    checkTransition(qp, to, mask, attributes) ?? checkValues(control, mask, attributes) ?? checkPath(control, command);
  if (refusal) return refusal;
  if (to === QpState.RESET) return reset(qp);
  if (to === QpState.ERR) {
    control.enterError(qp);
    return { ok: true, state: qp.state };
  }
  apply(context, qp, mask, attributes);
  if (command.path && (mask & QpAttr.AV) !== 0) qp.path = command.path;
  if (qp.type === QpType.UD) qp.pathMtuBytes = control.mtuBytes();
  qp.state = to;
  qp.sender.stateChanged(now);
  qp.responder.stateChanged(now);
  return { ok: true, state: qp.state };
};

function reset(qp: QueuePair) {
  qp.state = QpState.RESET;
  qp.reset();
  return { ok: true, state: qp.state } as const;
}

function checkTransition(qp: QueuePair, to: QpState, mask: number, attributes: QpAttributes): Refusal | undefined {
  if (!isWhole(to, 0, 6)) return invalid('qpState', 'is not a state');
  const name = `${STATE_NAMES[qp.state]} → ${STATE_NAMES[to]}`;
  if ((mask & QpAttr.CUR_STATE) !== 0 && !(mayBeCurrent(attributes.curQpState) && attributes.curQpState === qp.state)) {
    return invalid('curQpState', `the QP is in ${STATE_NAMES[qp.state]}`);
  }
  const row = transition(qp.type, qp.state, to);
  if (!row) return invalid('qpState', `there is no transition ${name}`);
  const given = mask & ~QpAttr.STATE;
  const missing = row.required & ~given;
  if (missing !== 0) return invalid('mask', `${name} needs ${attributeNames(missing)}`);
  const extra = given & ~(row.required | row.optional);
  if (extra !== 0)
    return invalid('mask', `${name} does not take ${attributeNames(extra) || `0x${extra.toString(16)}`}`);
  return undefined;
}

function checkValues(control: Control, mask: number, attributes: QpAttributes): Refusal | undefined {
  for (const [bit, member, least, most] of RANGES) {
    if ((mask & bit) !== 0 && !isWhole(attributes[member], least, most))
      return invalid(member, `must be ${least} … ${most}`);
  }
  const { rdAtomic } = control.config.limits;
  for (const [bit, member] of [
    [QpAttr.MAX_QP_RD_ATOMIC, 'maxRdAtomic'],
    [QpAttr.MAX_DEST_RD_ATOMIC, 'maxDestRdAtomic'],
  ] as const) {
    if ((mask & bit) !== 0 && !isWhole(attributes[member], 0, rdAtomic))
      return invalid(member, `must be 0 … ${rdAtomic}`);
  }
  // R-133: controlled Q_Keys are for management; no application of a vRNIC has that privilege.
  if ((mask & QpAttr.QKEY) !== 0 && attributes.qKey! >= CONTROLLED_Q_KEY) {
    return refuse(Errno.EPERM, 'Q_Keys with the highest bit set are reserved for management', 'qKey');
  }
  if ((mask & QpAttr.PATH_MTU) !== 0 && mtuBytes(attributes.pathMtu!) > control.mtuBytes()) {
    return invalid('pathMtu', `the port carries at most ${control.mtuBytes()} octets of payload`);
  }
  return undefined;
}

function checkPath(control: Control, command: Parameters<typeof modifyQp>[2]): Refusal | undefined {
  if ((command.mask & QpAttr.AV) === 0) return undefined;
  const { av } = command.attributes;
  if (!av) return invalid('av', 'is missing');
  if (!gidAt(control, av.sgidIndex)) return invalid('av.sgidIndex', 'there is no GID at this index');
  if (!command.path) return refuse(Errno.EINVAL, 'the address was not resolved to a path', 'av');
  return undefined;
}

function apply(context: Context, qp: QueuePair, mask: number, attributes: QpAttributes): void {
  if ((mask & QpAttr.ACCESS_FLAGS) !== 0) qp.accessFlags = attributes.qpAccessFlags!;
  if ((mask & QpAttr.QKEY) !== 0) qp.qKey = attributes.qKey!;
  if ((mask & QpAttr.AV) !== 0) qp.av = context.sharedAv(attributes.av!);
  if ((mask & QpAttr.PATH_MTU) !== 0) qp.pathMtuBytes = mtuBytes(attributes.pathMtu!);
  if ((mask & QpAttr.TIMEOUT) !== 0) qp.timeout = attributes.timeout!;
  if ((mask & QpAttr.RETRY_CNT) !== 0) qp.retryCount = attributes.retryCnt!;
  if ((mask & QpAttr.RNR_RETRY) !== 0) qp.rnrRetry = attributes.rnrRetry!;
  if ((mask & QpAttr.RQ_PSN) !== 0) qp.rqPsn = attributes.rqPsn! & MASK_24;
  if ((mask & QpAttr.SQ_PSN) !== 0) qp.sqPsn = attributes.sqPsn! & MASK_24;
  if ((mask & QpAttr.DEST_QPN) !== 0) qp.destQpn = attributes.destQpNum!;
  if ((mask & QpAttr.MIN_RNR_TIMER) !== 0) qp.minRnrTimer = attributes.minRnrTimer!;
  if ((mask & QpAttr.MAX_QP_RD_ATOMIC) !== 0) qp.maxRdAtomic = attributes.maxRdAtomic!;
  if ((mask & QpAttr.MAX_DEST_RD_ATOMIC) !== 0) qp.maxDestRdAtomic = attributes.maxDestRdAtomic!;
  if ((mask & QpAttr.EN_SQD_ASYNC_NOTIFY) !== 0) qp.sqdAsyncNotify = attributes.enSqdAsyncNotify === true;
}
