/** How a QP of a drill comes to its state: attributes that mean something, where the drill says no others. */
import type { QpAttributes, QpCap } from '../../../rnic/commands.ts';
import { Access, QpAttr, QpState, QpType } from '../../../rnic/constants.ts';
import { AV } from '../../support/engine.ts';
import type { DrillCq, DrillSrq } from './drill.ts';
import type { StateName } from './names.ts';

export type TypeName = 'rc' | 'uc' | 'ud';

const ACCESS_ALL = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ | Access.REMOTE_ATOMIC;
const FLUSHES = Access.FLUSH_GLOBAL | Access.FLUSH_PERSISTENT;

export interface QpOptions extends Omit<QpAttributes, 'qpState' | 'cap' | 'pathMtu'> {
  /** Where it stops: RTS unless said otherwise. */
  readonly state?: StateName;
  /** Octets of the path MTU. */
  readonly mtu?: 256 | 512 | 1024 | 2048 | 4096;
  readonly cap?: Partial<QpCap>;
  readonly pd?: number;
  readonly srq?: DrillSrq;
  readonly sendCq?: DrillCq;
  readonly recvCq?: DrillCq;
  readonly sqSigAll?: boolean;
}

const BITS: readonly (readonly [keyof QpAttributes, number])[] = [
  ['curQpState', QpAttr.CUR_STATE],
  ['pathMtu', QpAttr.PATH_MTU],
  ['qKey', QpAttr.QKEY],
  ['rqPsn', QpAttr.RQ_PSN],
  ['sqPsn', QpAttr.SQ_PSN],
  ['destQpNum', QpAttr.DEST_QPN],
  ['qpAccessFlags', QpAttr.ACCESS_FLAGS],
  ['av', QpAttr.AV],
  ['pKeyIndex', QpAttr.PKEY_INDEX],
  ['enSqdAsyncNotify', QpAttr.EN_SQD_ASYNC_NOTIFY],
  ['maxRdAtomic', QpAttr.MAX_QP_RD_ATOMIC],
  ['maxDestRdAtomic', QpAttr.MAX_DEST_RD_ATOMIC],
  ['minRnrTimer', QpAttr.MIN_RNR_TIMER],
  ['portNum', QpAttr.PORT],
  ['timeout', QpAttr.TIMEOUT],
  ['retryCnt', QpAttr.RETRY_CNT],
  ['rnrRetry', QpAttr.RNR_RETRY],
];

/** The mask of the attributes that are given. */
export const attributeMask = (attributes: QpAttributes): number =>
  BITS.reduce((mask, [name, bit]) => (attributes[name] === undefined ? mask : mask | bit), QpAttr.STATE as number);

const MTUS = { 256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5 } as const;
const PEER_QPN = 0x77;

interface Step {
  readonly state: StateName;
  readonly attributes: QpAttributes;
}

/** The way from RESET to the state asked for. */
export function stepTo(type: QpType, options: QpOptions): Step[] {
  const { state = 'RTS', mtu = 256 } = options;
  const [isRc, isUd] = [type === QpType.RC, type === QpType.UD];
  const { qpAccessFlags = ACCESS_ALL | FLUSHES, qKey = 0x1111, rqPsn = 0, sqPsn = 0 } = options;
  const { av = AV, destQpNum = PEER_QPN, minRnrTimer = 12, maxDestRdAtomic = 4 } = options;
  const { timeout = 14, retryCnt = 7, rnrRetry = 7, maxRdAtomic = 4 } = options;
  const port = { pKeyIndex: 0, portNum: 1 };
  const toRtr = { av, pathMtu: MTUS[mtu], destQpNum, rqPsn, ...(isRc && { minRnrTimer, maxDestRdAtomic }) };
  const steps: Step[] = [
    { state: 'INIT', attributes: { ...port, ...(isUd ? { qKey } : { qpAccessFlags }) } },
    { state: 'RTR', attributes: isUd ? {} : toRtr },
    { state: 'RTS', attributes: { sqPsn, ...(isRc && { timeout, retryCnt, rnrRetry, maxRdAtomic }) } },
    { state: 'SQD', attributes: {} },
  ];
  if (state === 'ERR') return [...steps.slice(0, 1), { state: 'ERR', attributes: {} }];
  return steps.slice(0, QpState[state]);
}
