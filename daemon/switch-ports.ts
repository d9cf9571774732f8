/** The ports of tenants' switches on this host: one for each endpoint that is a tap or a veth and lives at an address of ours. They come and go with the endpoints. */
import { networkInterfaces } from 'node:os';
import type { pino } from 'pino';
import type { Endpoint, Tenant } from '../vswitch/model.ts';
import { gidText } from '../workers/linux/netdev.ts';
import type { SwitchPortConfig } from '../workers/overlay/switch-port.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import { mtuOf } from './tenants.ts';

const RETRY_MILLIS = 1000;

/** A port's name: the tenant's and the interface's. */
const nameOf = (tenant: Tenant, { netdev }: Endpoint): string => `${tenant.name}/${netdev}`;

/** The interface of this host that has an address. */
function holderOf(address: string): string | undefined {
  for (const [netdev, entries = []] of Object.entries(networkInterfaces()))
    if (entries.some((entry) => entry.address === address)) return netdev;
  return undefined;
}

/** What the tenants want of this host, by name; what cannot be, in words, goes to `failures`. */
function wantedPorts(tenants: readonly Tenant[], failures: string[]): Map<string, SwitchPortConfig> {
  const wanted = new Map<string, SwitchPortConfig>();
  for (const tenant of tenants)
    for (const endpoint of tenant.endpoints) {
      const { kind = 'vrnic', netdev, namespace, address, host: local } = endpoint;
      if (kind === 'vrnic' || netdev === undefined) continue;
      const holder = holderOf(gidText(local));
      if (holder === undefined) continue;
      const name = nameOf(tenant, endpoint);
      const place = { netdev, ...(namespace !== undefined && { namespace }) };
      try {
        wanted.set(name, { name, tenant, address, kind, ...place, local, mtu: mtuOf(tenant, local, holder) });
      } catch (error) {
        failures.push(`port ${name}: ${(error as Error).message}`);
      }
    }
  return wanted;
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
