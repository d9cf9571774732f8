/** What lives on a vRNIC, as plain values: for `urnic res`. */
import type { Context } from './context.ts';

export interface QpResource {
  readonly qpn: number;
  readonly type: number;
  readonly state: number;
  readonly destQpn: number;
  readonly sqPsn: number;
  readonly rqPsn: number;
}

/** Of one context: how many of each kind, and its QPs. */
export interface ContextResources {
  readonly context: number;
  readonly pds: number;
  readonly mrs: number;
  readonly mws: number;
  readonly cqs: number;
  readonly srqs: number;
  readonly ahs: number;
  readonly qps: readonly QpResource[];
}

export function resourcesOf(context: Context): ContextResources {
  const qps = [...context.qps].map(({ qpn, type, state, destQpn, sqPsn, rqPsn }) => ({
    qpn,
    type,
    state,
    destQpn,
    sqPsn,
    rqPsn,
  }));
  return {
    context: context.id,
    pds: context.pds.size,
    mrs: context.regions.size,
    mws: context.windows.size,
    cqs: context.cqs.size,
    srqs: context.srqs.size,
    ahs: context.addressHandles.size,
    qps,
  };
}
