/** The ports of tenants' switches on this host: one for each endpoint that is a tap or a veth and lives at an address of ours. They come and go with the endpoints. */
import { statSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { pino } from 'pino';
import type { Endpoint, Tenant } from '../vswitch/model.ts';
import { gidText } from '../workers/linux/netdev.ts';
import type { SwitchPortConfig } from '../workers/overlay/switch-port.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import { mtuOf } from './tenants.ts';

const RETRY_MILLIS = 1000;
const OWN_NAMESPACE = '/proc/thread-self/ns/net';

/** The interface of this host that has an address. */
function holderOf(address: string): string | undefined {
  for (const [netdev, entries = []] of Object.entries(networkInterfaces()))
    if (entries.some((entry) => entry.address === address)) return netdev;
  return undefined;
}

/** An endpoint that is an interface of this host. */
interface Place {
  readonly tenant: Tenant;
  readonly endpoint: Endpoint;
  readonly kind: SwitchPortConfig['kind'];
  readonly netdev: string;
  /** The interface that has its VTEP's address. */
  readonly holder: string;
}

function placesOf(tenant: Tenant): Place[] {
  return tenant.endpoints.flatMap((endpoint) => {
    const { kind = 'vrnic', netdev, host } = endpoint;
    if (kind === 'vrnic' || netdev === undefined) return [];
    const holder = holderOf(gidText(host));
    return holder === undefined ? [] : [{ tenant, endpoint, kind, netdev, holder }];
  });
}

/** Names of a tenant's ports: its own and the interface's, and the namespace's where it has interfaces of that name in several. */
function namesOf(places: readonly Place[]): string[] {
  const counts = new Map<string, number>();
  for (const { netdev } of places) counts.set(netdev, (counts.get(netdev) ?? 0) + 1);
  return places.map(({ tenant, endpoint: { namespace }, netdev }) => {
    const isPlain = namespace === undefined || counts.get(netdev) === 1;
    return `${tenant.name}/${netdev}${isPlain ? '' : `@${namespace}`}`;
  });
}

/** The same for all paths of one namespace. */
function identityOf({ netdev, endpoint: { namespace = OWN_NAMESPACE } }: Place): string {
  try {
    const { dev, ino } = statSync(namespace);
    return `${netdev} ${dev} ${ino}`;
  } catch {
    return `${netdev} ${namespace}`; // it is not there: who opens the port says so
  }
}

/** What the tenants want of this host, by name; what cannot be, in words, goes to `failures`. */
function wantedPorts(tenants: readonly Tenant[], failures: string[]): Map<string, SwitchPortConfig> {
  const wanted = new Map<string, SwitchPortConfig>();
  const owners = new Map<string, string>();
  for (const places of tenants.map(placesOf)) {
    const names = namesOf(places);
    for (const [i, place] of places.entries()) {
      const name = names[i]!;
      try {
        const identity = identityOf(place);
        const owner = owners.get(identity);
        if (owner !== undefined) throw new Error(`port ${owner} is that interface already: give each its own`);
        owners.set(identity, name);
        wanted.set(name, configOf(place, name));
      } catch (error) {
        failures.push(`port ${name}: ${(error as Error).message}`);
      }
    }
  }
  return wanted;
}

/** @throws Error: the interface of the VTEP carries less than the tenant was given. */
function configOf({ tenant, endpoint, kind, netdev, holder }: Place, name: string): SwitchPortConfig {
  const { namespace, address, host: local } = endpoint;
  const place = { netdev, ...(namespace !== undefined && { namespace }) };
  return { name, tenant, address, kind, ...place, local, mtu: mtuOf(tenant, local, holder) };
}

/** What a port was opened with, but for the tenant, which it is told of. */
const shapeOf = ({ tenant, ...shape }: SwitchPortConfig): string =>
  JSON.stringify({ ...shape, vni: tenant.vni, mac: macOf(tenant, shape) });

const macOf = ({ endpoints }: Tenant, { address }: Pick<SwitchPortConfig, 'address'>): string =>
  String(endpoints.find((endpoint) => gidText(endpoint.address) === gidText(address))?.mac);

export class SwitchPorts {
  readonly #supervisor: Supervisor;
  readonly #log: pino.Logger;
  readonly #configs = new Map<string, SwitchPortConfig>();
  /** Nothing until the daemon has started. */
  #tenants: () => readonly Tenant[] = () => [];
  /** What could not be opened, as it was said last. */
  #complaints: ReadonlySet<string> = new Set();
  #retry: NodeJS.Timeout | undefined;
  /** One change after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(supervisor: Supervisor, log: pino.Logger) {
    this.#supervisor = supervisor;
    this.#log = log;
  }

  get names(): string[] {
    return [...this.#configs.keys()];
  }

  namesOf(tenant: string): string[] {
    return [...this.#configs.values()].filter((config) => config.tenant.name === tenant).map(({ name }) => name);
  }

  /** @throws Error: an interface here does not carry packets of that length. */
  checkMtu(name: string, mtu: number): void {
    for (const { tenant, local } of this.#configs.values()) {
      const holder = holderOf(gidText(local));
      if (tenant.name === name && holder !== undefined) mtuOf({ ...tenant, mtu }, local, holder);
    }
  }

  has(name: string): boolean {
    return this.#configs.has(name);
  }

  /** @throws Error in words: the first that cannot be opened. */
  async start(tenants: () => readonly Tenant[]): Promise<void> {
    this.#tenants = tenants;
    const [failure] = await this.#next();
    if (failure !== undefined) throw new Error(failure);
  }

  /** The tenants have changed. What cannot be opened is said in the log, once, and tried again: a container may come later than its endpoint. */
  async follow(): Promise<void> {
    const failures = await this.#next();
    for (const failure of failures) if (!this.#complaints.has(failure)) this.#log.warn(failure);
    this.#complaints = new Set(failures);
    if (failures.length > 0) this.#retryLater();
  }

  stop(): void {
    this.#tenants = () => [];
    clearTimeout(this.#retry);
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.follow(), RETRY_MILLIS).unref();
  }

  /** Their worker has ended. */
  async restart(names: readonly string[]): Promise<void> {
    for (const name of names) this.#configs.delete(name);
    await this.follow();
  }

  #next(): Promise<string[]> {
    const next = this.#last.then(() => this.#follow());
    this.#last = next;
    return next;
  }

  async #follow(): Promise<string[]> {
    const failures: string[] = [];
    const attempt = (name: string, work: Promise<void>): Promise<void> =>
      work.catch((error: Error) => void failures.push(`port ${name}: ${error.message}`));
    const wanted = wantedPorts(this.#tenants(), failures);
    for (const [name, config] of this.#configs) {
      const next = wanted.get(name);
      if (next && shapeOf(next) === shapeOf(config)) continue;
      this.#configs.delete(name);
      await attempt(name, this.#supervisor.stopPort(name));
    }
    for (const [name, config] of wanted) await attempt(name, this.#put(config));
    return failures;
  }

  async #put(config: SwitchPortConfig): Promise<void> {
    const known = this.#configs.get(config.name);
    if (!known) {
      await this.#supervisor.startPort(config);
      this.#log.info({ port: config.name }, 'started');
    } else if (known.tenant !== config.tenant) await this.#supervisor.setTenant(config.name, config.tenant);
    this.#configs.set(config.name, config);
  }
}
