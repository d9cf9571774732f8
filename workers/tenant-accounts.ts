/** What tenants' vRNICs of this host hold of their quotas, in the supervisor's thread: it gives each its account, and takes back what one held that has ended. */
import { type Account, type Held, heldIn, newCells, settle } from '../vswitch/quota.ts';

export class TenantAccounts {
  /** By tenant. */
  readonly #all = new Map<string, SharedArrayBuffer>();
  /** By vRNIC. */
  readonly #open = new Map<string, Account>();

  /** For a vRNIC that starts. */
  open(vrnic: string, tenant: string): Account {
    const all = this.#all.get(tenant) ?? newCells();
    const account = { all, own: newCells() };
    this.#all.set(tenant, all);
    this.#open.set(vrnic, account);
    return account;
  }

  /** It has ended, or its worker has, or it did not start. */
  close(vrnic: string): void {
    const account = this.#open.get(vrnic);
    this.#open.delete(vrnic);
    if (account) settle(account);
  }

  /** Undefined: the tenant has had no vRNIC here. */
  heldBy(tenant: string): Held | undefined {
    const all = this.#all.get(tenant);
    return all && heldIn(all);
  }
}
