/** What tenants' vRNICs of this host hold of their quotas, in the supervisor's thread: it gives each its account, and takes back what one held that has ended. */
import { type Account, type Held, heldIn, newCells, settle } from '../vswitch/quota.ts';

export class TenantAccounts {
  /** By tenant, of those that have vRNICs here. */
  readonly #all = new Map<string, SharedArrayBuffer>();
  /** By vRNIC, with its tenant. */
  readonly #open = new Map<string, Account & { readonly tenant: string }>();

  /** For a vRNIC that starts. */
  open(vrnic: string, tenant: string): Account {
    const all = this.#all.get(tenant) ?? newCells();
    const account = { tenant, all, own: newCells() };
    this.#all.set(tenant, all);
    this.#open.set(vrnic, account);
    return account;
  }

  /** It has ended, or its worker has, or it did not start. */
  close(vrnic: string): void {
    const account = this.#open.get(vrnic);
    if (!account) return;
    this.#open.delete(vrnic);
    settle(account);
    const { tenant } = account;
    if (![...this.#open.values()].some((other) => other.tenant === tenant)) this.#all.delete(tenant);
  }

  /** Undefined: the tenant has no vRNIC here. */
  heldBy(tenant: string): Held | undefined {
    const all = this.#all.get(tenant);
    return all && heldIn(all);
  }
}
