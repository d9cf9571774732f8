/** What this host says of itself in a store that it shares with others: that it lives, and which endpoints live on it. All under one lease. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TenantText } from './configuration.ts';
import type { ControlStore, Lease } from './store/control-store.ts';
import type { TenantDirectory } from './tenant-directory.ts';
import { hostKey } from './tenant-entries.ts';

/** An endpoint that a vRNIC of this host stands for. */
export interface Claim {
  readonly tenant: string;
  readonly address: string;
  /** The VTEP of this host. */
  readonly host: string;
  /** What the configuration says of it besides. */
  readonly more?: Partial<TenantText['endpoints'][number]> | undefined;
}

export interface PresenceOptions {
  /** This host's name in the store. */
  readonly name: string;
  /** Seconds after which a host that is not heard of is gone. */
  readonly ttl: number;
  readonly complain: (reason: string) => void;
}

const RETRY_MILLIS = 1000;
const PATIENCE_MILLIS = 2000;
const keyOf = ({ tenant, address }: Claim): string => `${tenant} ${address}`;

export class Presence {
  readonly #store: ControlStore;
  readonly #directory: TenantDirectory;
  readonly #options: PresenceOptions;
  /** Every endpoint that could live here; and those that do. */
  readonly #claims = new Map<string, Claim>();
  readonly #held = new Set<string>();
  #lease: Lease | null = null;
  /** One thing after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #isStopping = false;

  /** @throws Error of the store. */
  static async start(store: ControlStore, directory: TenantDirectory, options: PresenceOptions): Promise<Presence> {
    const presence = new Presence(store, directory, options);
    await presence.#appear();
    return presence;
  }

  private constructor(store: ControlStore, directory: TenantDirectory, options: PresenceOptions) {
    this.#store = store;
    this.#directory = directory;
    this.#options = options;
  }

  /** Those that nobody else has are ours from now on; the others once they move here. @throws Error: no such tenant, a collision, the store. */
  claim(claims: readonly Claim[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const claim of claims) this.#claims.set(keyOf(claim), claim);
      await this.#sayHost();
      await this.#announce(claims);
    });
  }

  /** The vRNIC is no more, and so is its endpoint if it was here. */
  release(claim: Claim): Promise<void> {
    return this.#inTurn(async () => {
      this.#claims.delete(keyOf(claim));
      if (!this.#held.delete(keyOf(claim))) return;
      await this.#directory.change(claim.tenant, 'deleteEndpoint', { key: claim.address }).catch(() => {}); // somebody was faster
    });
  }

  /** The store has changed: what has moved here is announced, what has moved away is ours no more. */
  review(): void {
    this.#inTurn(async () => {
      const arrived: Claim[] = [];
      for (const claim of this.#claims.values()) {
        const host = this.#directory.hostOf(claim.tenant, claim.address);
        const isHeld = this.#held.has(keyOf(claim));
        if (host === claim.host && !isHeld) arrived.push(claim);
        // Gone with our lease: it comes back with the next one.
        if (host !== claim.host && isHeld && !this.#directory.isLost(claim.tenant, claim.address))
          this.#held.delete(keyOf(claim));
      }
      if (arrived.length > 0) await this.#announce(arrived);
    }).catch((error: Error) => this.#options.complain(error.message));
  }

  /** Says goodbye: peers need not wait for the lease to end. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    // What waits for a store that does not answer waits no longer.
    await Promise.race([this.#last.catch(() => {}), sleep(PATIENCE_MILLIS, undefined, { ref: false })]);
    try {
      await this.#directory.withdraw([...this.#claims.values()].filter((claim) => this.#held.has(keyOf(claim))));
      await this.#lease?.revoke();
    } catch (error) {
      this.#options.complain(`${(error as Error).message}; this host is forgotten when its lease ends`);
    }
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act, act);
    this.#last = done.catch(() => {});
    return done;
  }

  async #appear(): Promise<void> {
    const lease = await this.#store.lease(this.#options.ttl);
    this.#lease = lease;
    void lease.ended.then(() => this.#reappear(lease));
    await this.#sayHost();
    await this.#announce([...this.#claims.values()].filter((claim) => this.#held.has(keyOf(claim))));
  }

  /** The store was out of reach for longer than the lease. */
  async #reappear(ended: Lease): Promise<void> {
    while (!this.#isStopping && this.#lease === ended) {
      try {
        await this.#inTurn(() => this.#appear());
      } catch (error) {
        this.#options.complain((error as Error).message);
        await sleep(RETRY_MILLIS, undefined, { ref: false });
      }
    }
  }

  async #sayHost(): Promise<void> {
    const vteps = [...new Set([...this.#claims.values()].map(({ host }) => host))];
    await this.#store.commit([
      { key: hostKey(this.#options.name), value: JSON.stringify({ vteps }), lease: this.#lease! },
    ]);
  }

  async #announce(claims: readonly Claim[]): Promise<void> {
    for (const claim of await this.#directory.announce(claims, this.#lease!)) this.#held.add(keyOf(claim));
  }
}
