/** What a NAK that is not to be retried makes of the request that it names: IBA Vol. 1, §9.9.2. */
import * as Aeth from '../wire/aeth.ts';
import { WcStatus } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import { Counter } from './counters.ts';

interface Consequence {
  readonly counter: number;
  /** SUCCESS: none, the code is a reserved one. */
  readonly status: WcStatus;
}

const INVALID_REQUEST = { counter: Counter.req_remote_invalid_request, status: WcStatus.REM_INV_REQ_ERR };
const ACCESS = { counter: Counter.req_remote_access_errors, status: WcStatus.REM_ACCESS_ERR };
const OPERATIONAL = { counter: Counter.req_remote_operational_errors, status: WcStatus.REM_OP_ERR };
const RESERVED = { counter: Counter.drop_response, status: WcStatus.SUCCESS };

/** Ends the oldest work request, and its QP; a reserved code does nothing but count. */
export function endByNak(qp: Qp, core: EngineCore, syndrome: number): void {
  const { counter, status } = consequenceOf(syndrome);
  core.counters.add(counter);
  if (status !== WcStatus.SUCCESS) core.fail(qp, status, -1);
}

function consequenceOf(syndrome: number): Consequence {
  switch (syndrome) {
    case Aeth.NAK_INVALID_REQUEST:
      return INVALID_REQUEST;
    case Aeth.NAK_REMOTE_ACCESS_ERROR:
      return ACCESS;
    case Aeth.NAK_REMOTE_OPERATIONAL_ERROR:
      return OPERATIONAL;
    default:
      return RESERVED;
  }
}
