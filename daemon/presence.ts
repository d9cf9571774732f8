/** What this host says of itself in a store that it shares with others: that it lives, and which endpoints live on it. All under one lease. */
import type { TenantText } from './configuration.ts';
import type { ControlStore, Lease } from './store/control-store.ts';
import { type Sleep, sleep } from './store/sleep.ts';
import type { TenantDirectory } from './tenant-directory.ts';
import { type EndpointOf, type HostText, hostKey } from './tenant-entries.ts';

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
  /** Every endpoint that could live here; those that do; and those that do no more, until the store knows, with what is to be there again. */
  readonly #claims = new Map<string, Claim>();
  readonly #held = new Set<string>();
  readonly #leaving = new Map<string, { readonly claim: Claim; readonly before: EndpointOf | undefined }>();
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

  /** Those that nobody else has are ours from now on; the others once they move here. @throws Error: no such tenant, a collision, the store. None of them is claimed then, and what the store may have of them is for `takeBack`. */
  claim(claims: readonly Claim[]): Promise<void> {
    return this.#inTurn(async () => {
      const fresh = claims.filter((claim) => !this.#claims.has(keyOf(claim)));
      for (const claim of claims) this.#claims.set(keyOf(claim), claim);
      try {
        await this.#sayHost();
        await this.#announce(claims);
      } catch (error) {
        for (const claim of fresh) this.#unclaim(claim);
        throw error;
      }
      for (const claim of claims) this.#leaving.delete(keyOf(claim));
    });
  }

  /** The vRNIC is no more, and so is its endpoint if it was here: where the store is away, once it is back. */
  release(claim: Claim): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#unclaim(claim)) await this.#leaveWith(claim, undefined);
    });
  }

  /** The claim failed, or what it was for, and is as if it had never been: where the store is away, once it is back. @param before its endpoint then; undefined: there was none. */
  takeBack(claim: Claim, before: EndpointOf | undefined): Promise<void> {
    return this.#inTurn(async () => {
      this.#unclaim(claim);
      const last = this.#leaving.get(keyOf(claim));
      // Where one before it is not taken back yet, what was before that one.
      await this.#leaveWith(claim, last ? last.before : before);
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

  /** Whether its endpoint was here. */
  #unclaim(claim: Claim): boolean {
    this.#claims.delete(keyOf(claim));
    return this.#held.delete(keyOf(claim));
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act, act);
    this.#last = done.catch(() => {});
    return done;
  }

  /** The store has of this host what is so. Until all are back it says that it is returning: who lists the store meanwhile takes none of them for deleted. @throws Error of the store. */
  async #appear(): Promise<void> {
    await this.#sayHost();
    const lease = this.#lease;
    const possible = new Set(this.#directory.possible(this.#here));
    for (const claim of this.#here) if (!possible.has(claim)) this.#forgo(claim);
    await this.#announce([...possible]);
    const wasReturning = this.#isReturning;
    this.#wholeLease = lease;
    if (wasReturning) await this.#sayHost();
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

  async #sayHost(): Promise<void> {
    const vteps = [...new Set([...this.#claims.values()].map(({ host }) => host))];
    const lease = await this.#livingLease();
    const host: HostText = { vteps, ...(this.#isReturning && { isReturning: true }) };
    const key = hostKey(this.#options.name);
    await this.#store.commit([{ key, value: JSON.stringify(host), lease }]);
  }

  async #announce(claims: readonly Claim[]): Promise<void> {
    for (const claim of await this.#directory.announce(claims, await this.#livingLease())) this.#held.add(keyOf(claim));
  }

  async #leaveWith(claim: Claim, before: EndpointOf | undefined): Promise<void> {
    this.#leaving.set(keyOf(claim), { claim, before });
    await this.#leave().catch((error: Error) => {
      const { tenant, address } = claim;
      const then = before ? 'is as it was' : 'goes';
      this.#options.complain(`${error.message}; endpoint ${address} of tenant ${tenant} ${then} once that is over`);
      void this.#mend();
    });
  }

  /** @throws Error of the store: those that are still there leave later. */
  async #leave(): Promise<void> {
    for (const [key, { claim, before }] of this.#leaving) {
      await this.#directory.undo(claim, before);
      this.#leaving.delete(key);
    }
  }
}
