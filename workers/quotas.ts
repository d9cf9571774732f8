/** The quotas of a vRNIC in its worker: its endpoint's own, and its tenant's, which it shares with the tenant's other vRNICs of this host. */
import { newMeter, TenantBucket } from '../vswitch/bucket.ts';
import { endpointAt, type Quotas as Most, type Tenant } from '../vswitch/model.ts';
import { type Account, ConnectionQuota, newCells, TenantQuota, withinQuotas } from '../vswitch/quota.ts';
import type { Micros } from '../wire/types.ts';
import { ORIGIN } from './clock.ts';

const OWN = 'this vRNIC';

export class Quotas {
  /** What the engine shares. */
  readonly shared: TenantQuota;
  readonly #address: Uint8Array;
  readonly #meter: SharedArrayBuffer;
  #own: Most = {};
  /** Null where connections are not counted. */
  #ownConnections: ConnectionQuota | null = null;
  #tenantConnections: ConnectionQuota | null = null;

  /** @param tenant its name. @param address names the vRNIC in its tenant. @param meter of the tenant; like the account one of its own by default. */
  constructor(
    tenant: string,
    address: Uint8Array,
    meter: SharedArrayBuffer = newMeter(),
    account: Account = { all: newCells(), own: newCells() },
  ) {
    this.#address = address;
    this.#meter = meter;
    this.shared = new TenantQuota(`tenant ${tenant} on this host`, account);
  }

  update(tenant: Tenant, now: Micros): void {
    this.#own = endpointAt(tenant, this.#address)?.quotas ?? {};
    this.shared.quotas = tenant.quotas ?? {};
    const own = this.#own.connectionsPerSecond;
    if (own !== this.#ownConnections?.perSecond)
      this.#ownConnections = own === undefined ? null : new ConnectionQuota(own, now + ORIGIN);
    const all = tenant.quotas?.connectionsPerSecond;
    if (all === this.#tenantConnections?.perSecond) return;
    const bucket = [this.#meter, TenantBucket.CONNECTIONS] as const;
    this.#tenantConnections = all === undefined ? null : new ConnectionQuota(all, now + ORIGIN, ...bucket);
  }

  /** The counts of `most` that the endpoint leaves its vRNIC. */
  own<T extends Parameters<typeof withinQuotas>[0]>(most: T): T {
    return withinQuotas(most, this.#own);
  }

  /** Why no connection may be made now, in words; null when one may. */
  refusal(now: Micros): string | null {
    for (const [holder, quota] of [
      [OWN, this.#ownConnections],
      [this.shared.holder, this.#tenantConnections],
    ] as const)
      if (quota !== null && !quota.hasRoom(now + ORIGIN))
        return `${holder} has made ${quota.perSecond} connections in a second, its limit`;
    return null;
  }

  /** One has been made. */
  connected(): void {
    this.#ownConnections?.take();
    this.#tenantConnections?.take();
  }
}
