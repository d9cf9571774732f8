/** Work requests that never leave: LOCAL_INV, BIND_MW, REG_MR. */
import { WcStatus, WrOpcode } from './constants.ts';
import type { EngineCore, Qp } from './core.ts';
import type { SendWork } from './send-work.ts';

/** Does it; the status that it completes with. Fields as `SendWork` read them: see `queue/layout.ts`. */
export function runLocalWork(qp: Qp, core: EngineCore, work: SendWork): WcStatus {
  const { regions } = core;
  const hi = work.remoteHi >>> 0;
  const lo = work.remoteLo >>> 0;
  switch (work.opcode) {
    case WrOpcode.LOCAL_INV:
      return regions.invalidate(work.immediate >>> 0, qp.pd, qp.qpn) === 0 ? WcStatus.SUCCESS : WcStatus.MW_BIND_ERR;
    case WrOpcode.BIND_MW:
      return regions.bindWindow(
        qp.pd,
        qp.qpn,
        qp.type,
        work.windowKey >>> 0,
        work.newKey >>> 0,
        work.rKey >>> 0,
        hi,
        lo,
        work.length,
        work.access,
      );
    default:
      return regions.registerFast(qp.pd, work.rKey >>> 0, work.windowKey >>> 0, hi, lo, work.length, work.access);
  }
}
