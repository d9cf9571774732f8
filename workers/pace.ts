/** The limits of a vRNIC in its worker: made anew when they change, and only then, by a clock that all workers have in common. */
import { sameLimit } from '../vswitch/limit.ts';
import { endpointAt, type Limit, type Tenant } from '../vswitch/model.ts';
import { Pacer } from '../vswitch/pacer.ts';
import type { Micros } from '../wire/types.ts';
import { ORIGIN } from './clock.ts';

const NONE: Limit = {};

export class Pace {
  readonly #address: Uint8Array;
  readonly #meter: SharedArrayBuffer | undefined;
  #own: Limit = NONE;
  #tenant: Limit = NONE;
  /** Null where nothing is limited or guaranteed. */
  #pacer: Pacer | null = null;
  /** It sent until its limit stopped it: others first, now. */
  hasRunOut = false;

  /** @param address names the vRNIC in its tenant. @param meter of the tenant. */
  constructor(address: Uint8Array, meter: SharedArrayBuffer | undefined) {
    this.#address = address;
    this.#meter = meter;
  }

  get isWaiting(): boolean {
    return this.#pacer?.isWaiting ?? false;
  }

  get hasGuarantee(): boolean {
    return this.#own.guarantee !== undefined || this.#tenant.guarantee !== undefined;
  }

  update(tenant: Tenant, now: Micros): void {
    const own = endpointAt(tenant, this.#address)?.limit ?? NONE;
    const shared = tenant.limit ?? NONE;
    if (sameLimit(own, this.#own) && sameLimit(shared, this.#tenant)) return;
    this.#own = own;
    this.#tenant = shared;
    const isNeeded = own.rate !== undefined || shared.rate !== undefined || this.hasGuarantee;
    this.#pacer = isNeeded ? new Pacer(own, shared, now + ORIGIN, this.#meter) : null;
  }

  /** Octets that may leave now. */
  allowance(now: Micros): number {
    return this.#pacer === null ? Number.POSITIVE_INFINITY : this.#pacer.allowance(now + ORIGIN);
  }

  /** So much has left, and some had to stay or none. Microseconds for which packets have waited until now. */
  settle(bytes: number, hasMore: boolean, now: Micros): Micros {
    this.hasRunOut = hasMore && bytes > 0;
    if (this.#pacer === null) return 0;
    if (bytes > 0) this.#pacer.spend(bytes);
    return this.#pacer.setWaiting(hasMore, now + ORIGIN);
  }

  readyAt(now: Micros): Micros {
    return this.#pacer === null ? now : this.#pacer.readyAt(now + ORIGIN) - ORIGIN;
  }

  /** It has sent less than it is guaranteed. */
  isOwed(now: Micros): boolean {
    return this.#pacer?.isOwed(now + ORIGIN) ?? false;
  }
}
