/** What a tenant's quotas mean for one of its vRNICs. */
import type { Micros } from '../wire/types.ts';
import { Bucket } from './bucket.ts';
import type { Quotas } from './model.ts';

/** How many connections a vRNIC may make: so many in a second, and so many at once after a pause of a second. */
export class ConnectionQuota {
  readonly perSecond: number;
  /** Of one octet for each connection. */
  readonly #bucket: Bucket;

  constructor(perSecond: number, now: Micros) {
    this.perSecond = perSecond;
    this.#bucket = new Bucket(perSecond * 8, perSecond, now);
  }

  hasRoom(now: Micros): boolean {
    return this.#bucket.level(now) >= 1;
  }

  take(): void {
    this.#bucket.spend(1);
  }
}

/** The counts of `most`, lowered to what the quotas say. Names are those of an engine's limits. */
export function withinQuotas<T extends { qps: number; cqs: number; mrs: number; registeredBytes: number }>(
  most: T,
  { qps, cqs, mrs, pinnedBytes }: Quotas,
): T {
  return {
    ...most,
    qps: Math.min(most.qps, qps ?? most.qps),
    cqs: Math.min(most.cqs, cqs ?? most.cqs),
    mrs: Math.min(most.mrs, mrs ?? most.mrs),
    registeredBytes: Math.min(most.registeredBytes, pinnedBytes ?? most.registeredBytes),
  };
}
