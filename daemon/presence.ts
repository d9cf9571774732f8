/** What this host says of itself in a store that it shares with others: that it lives, and which endpoints live on it. All under one lease. */
import type { TenantText } from './configuration.ts';
import type { ControlStore, Lease } from './store/control-store.ts';
import { type Sleep, sleep } from './store/sleep.ts';
import type { TenantDirectory } from './tenant-directory.ts';
import { type HostText, hostKey } from './tenant-entries.ts';

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
  readonly sleep?: Sleep;
}

const RETRY_MILLIS = 1000;
const PATIENCE_MILLIS = 2000;
const keyOf = ({ tenant, address }: Claim): string => `${tenant} ${address}`;

export class Presence {
  readonly #store: ControlStore;
  readonly #directory: TenantDirectory;
  readonly #options: PresenceOptions;
  readonly #sleep: Sleep;
  /** Every endpoint that could live here; those that do; and those that do no more, until the store knows. */
  readonly #claims = new Map<string, Claim>();
  readonly #held = new Set<string>();
  readonly #leaving = new Map<string, Claim>();
  /** Null once it has ended, until there is another one. */
  #lease: Lease | null = null;
  /** The one that all who live here are under: with another one they are not back yet. */
  #wholeLease: Lease | null = null;
  /** One thing after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** The store may not have what is here. */
  #isStale = false;
  #isMending = false;
  #isStopping = false;

  /** @throws Error of the store. */
  static async start(store: ControlStore, directory: TenantDirectory, options: PresenceOptions): Promise<Presence> {
    const presence = new Presence(store, directory, options);
    try {
      await presence.#appear();
    } catch (error) {
      presence.#isStopping = true;
      throw error;
    }
    return presence;
  }

  private constructor(store: ControlStore, directory: TenantDirectory, options: PresenceOptions) {
    this.#store = store;
    this.#directory = directory;
    this.#options = options;
    this.#sleep = options.sleep ?? sleep;
  }

  /** Those that nobody else has are ours from now on; the others once they move here. @throws Error: no such tenant, a collision, the store. None of them is claimed then. */
  claim(claims: readonly Claim[]): Promise<void> {
    return this.#inTurn(async () => {
      const fresh = claims.filter((claim) => !this.#claims.has(keyOf(claim)));
      const absent = fresh.filter(({ tenant, address }) => this.#directory.hostOf(tenant, address) === undefined);
      for (const claim of claims) this.#claims.set(keyOf(claim), claim);
      try {
        await this.#sayHost();
        await this.#announce(claims);
      } catch (error) {
        this.#unclaim(fresh, absent);
        throw error;
      }
      for (const claim of claims) this.#leaving.delete(keyOf(claim));
    });
  }

  /** @param absent Those that the store may have from us nevertheless: whoever did not hear its answer cannot know. */
  #unclaim(claims: readonly Claim[], absent: readonly Claim[]): void {
    for (const claim of claims) {
      this.#claims.delete(keyOf(claim));
      this.#held.delete(keyOf(claim));
    }
    for (const claim of absent) this.#leaving.set(keyOf(claim), claim);
    if (absent.length > 0) void this.#mend();
  }

  /** The vRNIC is no more, and so is its endpoint if it was here: where the store is away, once it is back. */
  release(claim: Claim): Promise<void> {
    return this.#inTurn(async () => {
      this.#claims.delete(keyOf(claim));
      if (!this.#held.delete(keyOf(claim))) return;
      this.#leaving.set(keyOf(claim), claim);
      await this.#leave().catch((error: Error) => {
        const { tenant, address } = claim;
        this.#options.complain(`${error.message}; endpoint ${address} of tenant ${tenant} goes once that is over`);
        void this.#mend();
      });
    });
  }

  /** The store has changed: what has moved here is announced, what has moved away is ours no more. */
  review(): void {
    if (this.#isStopping) return;
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
    await Promise.race([this.#last.catch(() => {}), this.#sleep(PATIENCE_MILLIS)]);
    try {
      await this.#directory.withdraw(this.#here);
      await this.#lease?.revoke();
    } catch (error) {
      this.#options.complain(`${(error as Error).message}; this host is forgotten when its lease ends`);
    }
  }

  get #here(): Claim[] {
    return [...this.#claims.values()].filter((claim) => this.#held.has(keyOf(claim)));
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act, act);
    this.#last = done.catch(() => {});
    return done;
  }

  /** The store has of this host what is so. Until all are back it says that it is returning: who lists the store meanwhile takes none of them for deleted. @throws Error of the store. */
  async #appear(): Promise<void> {
    const revision = await this.#sayHost();
    const lease = this.#lease;
    const possible = new Set(this.#directory.possible(this.#here));
    for (const claim of this.#here) if (!possible.has(claim)) this.#forgo(claim);
    await this.#announce([...possible]);
    const wasReturning = this.#isReturning;
    this.#wholeLease = lease;
    if (wasReturning) await this.#sayHost();
    if (this.#leaving.size === 0) return;
    // What we did before is known here then, whether we heard the answer or not.
    await this.#directory.until(revision);
    await this.#leave();
  }

  /** While our lease was over its place was taken. */
  #forgo(claim: Claim): void {
    this.#held.delete(keyOf(claim));
    const { tenant, address } = claim;
    this.#options.complain(
      `endpoint ${address} of tenant ${tenant} collides with what was put meanwhile: it is ours no more`,
    );
  }

  /** Tries until the store has of this host what is so: it was out of reach, for longer than the lease perhaps. */
  async #mend(): Promise<void> {
    this.#isStale = true;
    if (this.#isMending) return;
    this.#isMending = true;
    while (this.#isStale && !this.#isStopping) {
      this.#isStale = false; // a lease that ends meanwhile makes it so again
      try {
        await this.#inTurn(() => this.#appear());
      } catch (error) {
        this.#isStale = true;
        this.#options.complain((error as Error).message);
        await this.#sleep(RETRY_MILLIS);
      }
    }
    this.#isMending = false;
  }

  get #isReturning(): boolean {
    return this.#held.size > 0 && this.#lease !== this.#wholeLease;
  }

  async #livingLease(): Promise<Lease> {
    if (this.#lease) return this.#lease;
    if (this.#isStopping) throw new Error('this host is leaving');
    const lease = await this.#store.lease(this.#options.ttl);
    this.#lease = lease;
    void lease.ended.then(() => {
      this.#lease = null;
      return this.#mend();
    });
    return lease;
  }

  /** The revision that made it so. */
  async #sayHost(): Promise<number> {
    const vteps = [...new Set([...this.#claims.values()].map(({ host }) => host))];
    const lease = await this.#livingLease();
    const host: HostText = { vteps, ...(this.#isReturning && { isReturning: true }) };
    const key = hostKey(this.#options.name);
    return (await this.#store.commit([{ key, value: JSON.stringify(host), lease }]))!;
  }

  async #announce(claims: readonly Claim[]): Promise<void> {
    for (const claim of await this.#directory.announce(claims, await this.#livingLease())) this.#held.add(keyOf(claim));
  }

  /** @throws Error of the store: those that are still there leave later. */
  async #leave(): Promise<void> {
    for (const [key, claim] of this.#leaving) {
      const isThere = (): boolean => this.#directory.hostOf(claim.tenant, claim.address) === claim.host;
      try {
        if (isThere()) await this.#directory.change(claim.tenant, 'deleteEndpoint', { key: claim.address });
      } catch (error) {
        if (isThere()) throw error; // else somebody was faster
      }
      this.#leaving.delete(key);
    }
  }
}
