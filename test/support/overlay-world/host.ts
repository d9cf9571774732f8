/**
 * A host for as long as its daemon lives: the daemon's own directory, mirror and presence, and what it makes of what they say, as daemon/daemon.ts, vrnics.ts and switch-ports.ts do.
 * Its vRNICs and ports are told of a change a little later, as workers are.
 */
import { Presence } from '../../../daemon/presence.ts';
import { TenantDirectory } from '../../../daemon/tenant-directory.ts';
import type { Change, TenantOp } from '../../../daemon/tenant-edits.ts';
import { endpointAt, type Tenant } from '../../../vswitch/model.ts';
import { gidText } from '../../../workers/linux/netdev.ts';
import type { Random } from '../sim/random.ts';
import { claimOf, vtepOf } from './catalogue.ts';
import { gidOf } from './frames.ts';
import { type End, isSameGid, Place, type Wire } from './place.ts';
import { type Ledger, reasonToEnd } from './referee.ts';
import { StoreClient } from './store-client.ts';
import type { StoreServer } from './store-server.ts';
import type { VirtualTime } from './virtual-time.ts';

/** Until a worker has heard. */
const TELL_MILLIS = 20;
/** What a host knew is looked at for so long. */
const MEMORY_MILLIS = 1000;
const LEASE_SECONDS = 1;

export interface Vrnic {
  readonly tenant: string;
  readonly address: string;
}

/** The store's state at `revision` is what the host knows since then. */
export interface View {
  readonly since: number;
  readonly revision: number;
}

export interface HostWorld {
  readonly time: VirtualTime;
  readonly random: Random;
  readonly server: StoreServer;
  readonly ledger: Ledger;
  readonly wire: Wire;
  /** What is in every host's file of tenants. */
  readonly declared: Parameters<TenantDirectory['declare']>[1];
  ended(ends: readonly End[]): void;
  violated(what: string): void;
}

const keyOf = ({ tenant, address }: Vrnic): string => `${tenant} ${address}`;

export class Host {
  readonly index: number;
  readonly vtep: Uint8Array;
  readonly client: StoreClient;
  readonly views: View[] = [];
  /** By tenant and address. */
  readonly places = new Map<string, Place>();
  /** Endpoints that it has told the store to be its own. */
  readonly claimed = new Set<string>();
  /** Commands that have not been answered. */
  pending = 0;
  isAlive = true;
  readonly #world: HostWorld;
  readonly #vrnics = new Map<string, Vrnic>();
  #directory: TenantDirectory | undefined;
  #presence: Presence | undefined;
  #isReady = false;

  /** Resolves once it runs, with what its file says. @throws Error: the store is out of reach, or its file cannot be now. Then it is no more. */
  static async start(
    index: number,
    world: HostWorld,
    vrnics: readonly Vrnic[],
    ports: readonly Vrnic[],
  ): Promise<Host> {
    const host = new Host(index, world);
    try {
      await host.#begin(vrnics, ports);
      return host;
    } catch (error) {
      await host.stop();
      throw error;
    }
  }

  private constructor(index: number, world: HostWorld) {
    this.index = index;
    this.vtep = gidOf(vtepOf(index));
    this.#world = world;
    this.client = new StoreClient(world.server, world.time, world.random, (revision) => this.#see(revision));
  }

  get isReady(): boolean {
    return this.isAlive && this.#isReady;
  }

  get directory(): TenantDirectory {
    return this.#directory!;
  }

  /** What it knew at any time of the last so many milliseconds. */
  recent(millis: number): View[] {
    const from = this.#world.time.now - millis;
    return this.views.filter((_, i) => (this.views[i + 1]?.since ?? Number.POSITIVE_INFINITY) > from);
  }

  /** What it came to know behind a revision. */
  since(revision: number): View[] {
    return this.views.filter((view) => view.revision > revision);
  }

  /** Answers how it ended; undefined: well. */
  async change(tenant: string, op: TenantOp, change: Change): Promise<string | undefined> {
    return this.#command(() => this.directory.change(tenant, op, change));
  }

  /** As a command does. @param isTaken its endpoint moves here from wherever it is. */
  async addVrnic(vrnic: Vrnic, isTaken: boolean): Promise<string | undefined> {
    if (this.#vrnics.has(keyOf(vrnic))) return 'it has a vRNIC on this host already';
    this.#vrnics.set(keyOf(vrnic), vrnic);
    return this.#command(async () => {
      const claim = claimOf(vrnic, this.index);
      const before = this.directory.endpointOf(claim.tenant, claim.address);
      const endpoint = { address: claim.address, host: claim.host };
      try {
        if (before && isTaken) await this.directory.change(claim.tenant, 'moveEndpoint', { endpoint });
        await this.#presence!.claim([claim]);
      } catch (error) {
        this.#vrnics.delete(keyOf(vrnic));
        const isOthers = before && before.host !== claim.host && !isTaken;
        await (isOthers ? this.#presence!.release(claim) : this.#presence!.takeBack(claim, before));
        throw error;
      }
      this.claimed.add(keyOf(vrnic));
      this.#define(vrnic);
    });
  }

  async deleteVrnic(vrnic: Vrnic): Promise<string | undefined> {
    if (!this.claimed.has(keyOf(vrnic)) || !this.#vrnics.delete(keyOf(vrnic))) return 'no such vRNIC';
    this.#close(keyOf(vrnic));
    this.claimed.delete(keyOf(vrnic));
    return this.#command(() => this.#presence!.release(claimOf(vrnic, this.index)));
  }

  /** As kill -9 does: nobody is told. */
  kill(): void {
    this.isAlive = false;
    this.client.kill();
    for (const key of [...this.places.keys()]) this.#close(key);
  }

  /** As SIGTERM does. */
  async stop(): Promise<void> {
    this.#isReady = false;
    await this.#presence?.stop();
    await this.#directory?.close();
    this.kill();
  }

  async #begin(vrnics: readonly Vrnic[], ports: readonly Vrnic[]): Promise<void> {
    const { time } = this.#world;
    const sleep = (millis: number, signal?: AbortSignal): Promise<void> => time.sleep(millis, signal);
    const complained = (reason: string): void => this.#complain(reason);
    const changed = (tenants: readonly Tenant[]): Promise<number> => this.#changed(tenants);
    this.#directory = await TenantDirectory.open(this.client, { changed, complained }, sleep);
    const name = `host-${this.index}`;
    await this.#directory.declare(name, this.#world.declared);
    const options = { name, ttl: LEASE_SECONDS, complain: complained, sleep };
    this.#presence = await Presence.start(this.client, this.#directory, options);
    const all = [...vrnics, ...ports];
    await this.#presence.claim(all.map((one) => claimOf(one, this.index)));
    for (const one of all) this.claimed.add(keyOf(one));
    for (const one of vrnics) this.#vrnics.set(keyOf(one), one);
    this.#isReady = true;
    for (const one of vrnics) this.#define(one);
    this.#followPorts();
  }

  async #command(act: () => Promise<unknown>): Promise<string | undefined> {
    this.pending++;
    try {
      await act();
      return undefined;
    } catch (error) {
      if ((error as Error).constructor !== Error) this.#world.violated(`host ${this.index}: ${(error as Error).stack}`);
      return (error as Error).message;
    } finally {
      this.pending--;
    }
  }

  #complain(reason: string): void {
    if (/stays as it was|is no such entry|is not a function|undefined/.test(reason))
      this.#world.violated(`host ${this.index}: ${reason}`);
  }

  /** The store's state reaches it now. */
  #see(revision: number): void {
    const { time, ledger } = this.#world;
    this.views.push({ since: time.now, revision });
    const old = this.views.findIndex((_, i) => (this.views[i + 1]?.since ?? time.now) > time.now - MEMORY_MILLIS);
    this.views.splice(0, Math.max(0, old));
    const state = ledger.at(revision);
    for (const place of this.places.values())
      for (const end of place.ends.values()) {
        const isForbidden = reasonToEnd(state, end.facts)?.isBinding === true;
        end.forbiddenSince = isForbidden ? (end.forbiddenSince ?? time.now) : undefined;
      }
  }

  get #revision(): number {
    return this.views.at(-1)?.revision ?? 0;
  }

  /** Those that run are told, and those that could not run before are made. */
  async #changed(tenants: readonly Tenant[]): Promise<number> {
    this.#presence?.review();
    const { time, random } = this.#world;
    const revision = this.#revision;
    const told = tenants.flatMap((tenant) =>
      [...this.places.values()].filter((place) => place.tenant === tenant.name).map((place) => ({ tenant, place })),
    );
    let ended = 0;
    await Promise.all(
      told.map(async ({ tenant, place }) => {
        await time.sleep(random.fraction() * TELL_MILLIS);
        if (this.isAlive && place.isOpen) ended += this.#tell(place, tenant, revision);
      }),
    );
    if (!this.isReady) return ended;
    for (const vrnic of this.#vrnics.values()) if (this.claimed.has(keyOf(vrnic))) this.#define(vrnic);
    this.#followPorts();
    return ended;
  }

  /** One that has another VNI now is another vRNIC, and is made anew. */
  #tell(place: Place, tenant: Tenant, revision: number): number {
    if (tenant.vni !== place.vni) {
      const ended = place.ends.size;
      this.#close(keyOf(place));
      return ended;
    }
    const before = place.toldRevision;
    const ends = place.update(tenant, revision);
    const views = this.since(before);
    for (const end of ends) {
      const reasons = views.map((view) => reasonToEnd(this.#world.ledger.at(view.revision), end.facts));
      if (!end.isAlone && !reasons.some((reason) => reason !== undefined))
        this.#world.violated(
          `${place}: its connection to ${end.facts.remote} of host ${end.facts.remoteHost} ended without a reason, at revision ${revision}`,
        );
    }
    this.#world.ended(ends);
    return ends.length;
  }

  #close(key: string): void {
    const place = this.places.get(key);
    this.places.delete(key);
    if (place) this.#world.ended(place.close());
  }

  /** Nothing where it is already, or where its tenant has no such endpoint yet. */
  #define(vrnic: Vrnic): void {
    const tenant = this.directory.find(vrnic.tenant);
    const endpoint = tenant && endpointAt(tenant, gidOf(vrnic.address));
    if (endpoint && !this.places.has(keyOf(vrnic))) this.#open(tenant, endpoint);
  }

  /** One for each veth that lives here. */
  #followPorts(): void {
    const wanted = new Map(
      this.directory.tenants.flatMap((tenant) =>
        tenant.endpoints
          .filter(({ kind, host }) => kind === 'veth' && isSameGid(host, this.vtep))
          .map((endpoint) => [
            keyOf({ tenant: tenant.name, address: gidText(endpoint.address) }),
            { tenant, endpoint },
          ]),
      ),
    );
    for (const [key, place] of this.places)
      if (place.pipeline && wanted.get(key)?.tenant.vni !== place.vni) this.#close(key);
    for (const [key, { tenant, endpoint }] of wanted) if (!this.places.has(key)) this.#open(tenant, endpoint);
  }

  #open(tenant: Tenant, endpoint: Parameters<typeof endpointAt>[0]['endpoints'][number]): void {
    const place = new Place(this.index, this.vtep, tenant, endpoint, this.#revision, this.#world.wire);
    this.places.set(keyOf(place), place);
  }
}
