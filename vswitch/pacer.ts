/**
 * When a vRNIC may send, and how much: its own limit, its tenant's, which it shares with the others, and its guarantee, which it may send in any case. Nothing is
 * dropped: what may not leave yet stays in the engine.
 */
import type { Micros } from '../wire/types.ts';
import { Bucket, burstOf, TenantBucket } from './bucket.ts';
import type { Limit } from './model.ts';

export class Pacer {
  readonly #own: Bucket | null;
  readonly #tenant: Bucket | null;
  readonly #guarantee: Bucket | null;
  readonly #tenantGuarantee: Bucket | null;
  /** Since it ran out, until there is a quantum again. */
  #isWaiting = false;
  #waitsSince: Micros = 0;

  /** @param meter of the tenant, shared by its vRNICs in all workers (newMeter). `now` is of one clock for all of them. */
  constructor(own: Limit, tenant: Limit, now: Micros, meter?: SharedArrayBuffer) {
    this.#own = bucketOf(own.rate, own.burst, now);
    this.#tenant = bucketOf(tenant.rate, tenant.burst, now, meter, TenantBucket.LIMIT);
    this.#guarantee = bucketOf(own.guarantee, undefined, now);
    this.#tenantGuarantee = bucketOf(tenant.guarantee, undefined, now, meter, TenantBucket.GUARANTEE);
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Octets that may leave now; 0 or less: none. What is sent may be a packet more: it is owed. */
  allowance(now: Micros): number {
    if (this.#isWaiting && this.readyAt(now) > now) return 0;
    const shared = this.#shared(now);
    return this.#own === null ? shared : Math.min(shared, this.#own.level(now));
  }

  spend(bytes: number): void {
    this.#own?.spend(bytes);
    this.#tenant?.spend(bytes);
    this.#guarantee?.spend(bytes);
    this.#tenantGuarantee?.spend(bytes);
  }

  /** Packets had to stay, or none had to. Microseconds for which they did until now. */
  setWaiting(isWaiting: boolean, now: Micros): Micros {
    const waited = this.#isWaiting ? now - this.#waitsSince : 0;
    this.#waitsSince = now;
    this.#isWaiting = isWaiting;
    return waited;
  }

  /** When it is worth while to try again. */
  readyAt(now: Micros): Micros {
    const own = this.#own === null ? now : this.#own.readyAt(now);
    if (this.#tenant === null) return own;
    const tenant = this.#tenant.readyAt(now);
    const shared = this.#guarantee === null ? tenant : Math.min(tenant, this.#guarantee.readyAt(now));
    return Math.max(own, shared);
  }

  /** It, or its tenant, has sent less than it may in any case, and no limit of its own stops it. */
  isOwed(now: Micros): boolean {
    if (this.#isWaiting && this.readyAt(now) > now) return false;
    const isOwed = this.#guarantee !== null && this.#guarantee.level(now) > 0;
    return isOwed || (this.#tenantGuarantee !== null && this.#tenantGuarantee.level(now) > 0);
  }

  /** Of the tenant's limit: a vRNIC's guarantee is its own, the rest goes to whoever comes. */
  #shared(now: Micros): number {
    if (this.#tenant === null) return Number.POSITIVE_INFINITY;
    const level = this.#tenant.level(now);
    return this.#guarantee === null ? level : Math.max(level, this.#guarantee.level(now));
  }
}

function bucketOf(
  rate: number | undefined,
  burst: number | undefined,
  now: Micros,
  meter?: SharedArrayBuffer,
  index?: number,
): Bucket | null {
  return rate === undefined ? null : new Bucket(rate, burst ?? burstOf(rate), now, meter, index);
}
