/**
 * The QP state machine: which attributes a transition requires and which it allows, for each type. IBA Vol. 1, §10.3 and §11.2.5.2 as the kernel's
 * `qp_state_table` and ibv_modify_qp(3) have it. STATE itself is always allowed.
 */
import { QpAttr, QpState, QpType } from './constants.ts';

export interface Transition {
  readonly required: number;
  readonly optional: number;
}

const {
  CUR_STATE,
  EN_SQD_ASYNC_NOTIFY,
  ACCESS_FLAGS,
  PKEY_INDEX,
  PORT,
  QKEY,
  AV,
  PATH_MTU,
  TIMEOUT,
  RETRY_CNT,
  RNR_RETRY,
} = QpAttr;
const { RQ_PSN, MAX_QP_RD_ATOMIC, ALT_PATH, MIN_RNR_TIMER, SQ_PSN, MAX_DEST_RD_ATOMIC, PATH_MIG_STATE, DEST_QPN } =
  QpAttr;
const { RESET, INIT, RTR, RTS, SQD, SQE, ERR } = QpState;

const UC_TO_RTR = AV | PATH_MTU | DEST_QPN | RQ_PSN;
const RC_TIMING = TIMEOUT | RETRY_CNT | RNR_RETRY;

// biome-ignore-start format: a table.
const ROWS: readonly (readonly [
  from: QpState,
  to: QpState,
  ud: Transition | null,
  uc: Transition | null,
  rc: Transition | null,
])[] = [
  [
    RESET,
    INIT,
    need(PKEY_INDEX | PORT | QKEY),
    need(PKEY_INDEX | PORT | ACCESS_FLAGS),
    need(PKEY_INDEX | PORT | ACCESS_FLAGS),
  ],
  [
    INIT,
    INIT,
    need(0, PKEY_INDEX | PORT | QKEY),
    need(0, PKEY_INDEX | PORT | ACCESS_FLAGS),
    need(0, PKEY_INDEX | PORT | ACCESS_FLAGS),
  ],
  [
    INIT,
    RTR,
    need(0, PKEY_INDEX | QKEY),
    need(UC_TO_RTR, ALT_PATH | ACCESS_FLAGS | PKEY_INDEX),
    need(UC_TO_RTR | MAX_DEST_RD_ATOMIC | MIN_RNR_TIMER, ALT_PATH | ACCESS_FLAGS | PKEY_INDEX),
  ],
  [
    RTR,
    RTS,
    need(SQ_PSN, CUR_STATE | QKEY),
    need(SQ_PSN, CUR_STATE | ALT_PATH | ACCESS_FLAGS | PATH_MIG_STATE),
    need(SQ_PSN | RC_TIMING | MAX_QP_RD_ATOMIC, CUR_STATE | ALT_PATH | ACCESS_FLAGS | MIN_RNR_TIMER | PATH_MIG_STATE),
  ],
  [
    RTS,
    RTS,
    need(0, CUR_STATE | QKEY),
    need(0, CUR_STATE | ACCESS_FLAGS | ALT_PATH | PATH_MIG_STATE),
    need(0, CUR_STATE | ACCESS_FLAGS | ALT_PATH | PATH_MIG_STATE | MIN_RNR_TIMER),
  ],
  [RTS, SQD, need(0, EN_SQD_ASYNC_NOTIFY), need(0, EN_SQD_ASYNC_NOTIFY), need(0, EN_SQD_ASYNC_NOTIFY)],
  [
    SQD,
    RTS,
    need(0, CUR_STATE | QKEY),
    need(0, CUR_STATE | ALT_PATH | ACCESS_FLAGS | PATH_MIG_STATE),
    need(0, CUR_STATE | ALT_PATH | ACCESS_FLAGS | MIN_RNR_TIMER | PATH_MIG_STATE),
  ],
  [
    SQD,
    SQD,
    need(0, PKEY_INDEX | QKEY),
    need(0, AV | ALT_PATH | ACCESS_FLAGS | PKEY_INDEX | PATH_MIG_STATE),
    need(
      0,
      PORT |
        AV |
        RC_TIMING |
        MAX_QP_RD_ATOMIC |
        MAX_DEST_RD_ATOMIC |
        ALT_PATH |
        ACCESS_FLAGS |
        PKEY_INDEX |
        MIN_RNR_TIMER |
        PATH_MIG_STATE,
    ),
  ],
  [SQE, RTS, need(0, CUR_STATE | QKEY), need(0, CUR_STATE | ACCESS_FLAGS), null],
];
// biome-ignore-end format: a table.

const ANY = need(0);
const CUR_STATES: readonly number[] = [RTR, RTS, SQD, SQE];

function need(required: number, optional = 0): Transition {
  return { required, optional };
}

/** The transition's attributes; null when there is no such transition. Any state goes to RESET; any but RESET to ERR. */
export function transition(type: QpType, from: QpState, to: QpState): Transition | null {
  if (to === RESET) return ANY;
  if (to === ERR) return from === RESET ? null : ANY;
  const row = ROWS.find(([rowFrom, rowTo]) => rowFrom === from && rowTo === to);
  if (!row) return null;
  const [, , ud, uc, rc] = row;
  return type === QpType.RC ? rc : type === QpType.UC ? uc : ud;
}

/** States in which CUR_STATE may be given. */
export const mayBeCurrent = (state: unknown): boolean => CUR_STATES.includes(state as number);

/** The names of the attributes in a mask: for errors. */
export function attributeNames(mask: number): string {
  return Object.entries(QpAttr)
    .filter(([, bit]) => (mask & bit) !== 0)
    .map(([name]) => name)
    .join(', ');
}
