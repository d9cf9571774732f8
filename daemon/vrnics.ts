/** The vRNICs of a daemon: which are defined, which run, and what unmodified programs attach to. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { pino } from 'pino';
import { type AttachedProgram, UverbsServer } from '../verbs/uverbs/server.ts';
import { endpointAt, type Tenant } from '../vswitch/model.ts';
import { macNumber } from '../vswitch/tenant-view.ts';
import type { LinkEndpoint } from '../workers/device-link.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';
import { checkSocketPath, isAnswered } from './socket-path.ts';

export interface VrnicsOptions {
  readonly supervisor: Supervisor;
  /** Has one for each vRNIC. */
  readonly directory: string;
  readonly log: pino.Logger;
  /** A worker has ended, and what it ran beside vRNICs. */
  othersEnded(names: readonly string[]): void;
}

export interface Definition {
  readonly name: string;
  readonly netdev: string;
  /** Its tenant's name. */
  readonly tenant?: string | undefined;
  /** See UverbsServerOptions. */
  readonly user?: number | undefined;
  /** It runs from the first use on; else at once. */
  readonly isLazy: boolean;
  /** Seconds without a program after which a lazy one ends, until it is used again. */
  readonly idle?: number | undefined;
  /** What it is to be, asked whenever it starts. @throws Error: that cannot be. */
  place(): VrnicConfig;
  /** The largest IP packet of its tenant, by its interface; undefined outside of tenants. @throws Error: the interface cannot carry what the tenant wants. */
  mtu(): number | undefined;
}

interface Defined {
  readonly definition: Definition;
  server: UverbsServer | null;
  /** What it is since it was started last. */
  config: VrnicConfig | null;
  /** It is starting or ending: what comes waits for that. */
  change: Promise<void> | null;
  idleSince: number;
}

const RESTART_MILLIS = 1000;
const IDLE_LOOK_MILLIS = 1000;

export class Vrnics {
  readonly #options: VrnicsOptions;
  readonly #defined = new Map<string, Defined>();
  readonly #idleTimer: NodeJS.Timeout;
  #isStopping = false;

  constructor(options: VrnicsOptions) {
    this.#options = options;
    this.#idleTimer = setInterval(() => this.#endIdle().catch(() => {}), IDLE_LOOK_MILLIS).unref();
    options.supervisor.onFailure = (names, error) => this.#handleFailure(names, error);
    options.supervisor.onStale = (name) => void this.#renew(name, 'its interface was made anew');
  }

  /** Those that run. */
  get running(): string[] {
    return this.#options.supervisor.names;
  }

  /** Those of a tenant that run. */
  runningOf(tenant: string): string[] {
    return this.running.filter((name) => this.tenantOf(name) === tenant);
  }

  tenantOf(name: string): string | undefined {
    return this.#defined.get(name)?.definition.tenant;
  }

  get count(): number {
    return this.#defined.size;
  }

  isDefined(name: string): boolean {
    return this.#defined.has(name);
  }

  /** Removes what a daemon that was killed has left: programs would find vRNICs there that nobody serves. */
  async sweep(): Promise<void> {
    const { directory } = this.#options;
    for (const name of existsSync(directory) ? readdirSync(directory) : []) {
      const socket = join(directory, name, 'uverbs');
      if (existsSync(socket) && !(await isAnswered(socket))) rmSync(dirname(socket), { recursive: true, force: true });
    }
  }

  /** @throws Error that says which vRNIC cannot run, and why. */
  async define(definition: Definition): Promise<void> {
    const { name, netdev, user, isLazy } = definition;
    if (this.#defined.has(name)) throw new Error(`there is a vRNIC named ${name} already`);
    const defined: Defined = { definition, server: null, config: null, change: null, idleSince: 0 };
    this.#defined.set(name, defined);
    const directory = join(this.#options.directory, name);
    try {
      const socket = join(directory, 'uverbs');
      checkSocketPath(socket);
      if (await isAnswered(socket))
        throw new Error(`vRNIC ${name}: another daemon has one at ${directory}: give this one a --socket elsewhere`);
      defined.server = await UverbsServer.start({
        directory,
        netdev,
        isLazy,
        endpoint: () => this.endpoint(name),
        ...(user !== undefined && { user }),
      });
    } catch (error) {
      await this.remove(name);
      throw error;
    }
  }

  /** Its programs' commands fail from then on. */
  async remove(name: string): Promise<void> {
    const defined = this.#defined.get(name);
    if (!defined) return;
    this.#defined.delete(name);
    await defined.server?.stop();
    await defined.change?.catch(() => {});
    if (this.running.includes(name)) await this.#options.supervisor.stopVrnic(name);
  }

  /** It runs, and programs find it. @throws Error that says why it cannot run. */
  async wake(name: string): Promise<void> {
    await this.#ensure(name);
    await this.#named(name).server?.wake();
  }

  /** A new way to it. */
  async endpoint(name: string): Promise<LinkEndpoint> {
    await this.#ensure(name);
    return this.#options.supervisor.endpoint(name);
  }

  list(): { name: string; isRunning: boolean; netdev: string; tenant?: string | undefined; worker?: number }[] {
    const running = new Set(this.running);
    return [...this.#defined.values()].map(({ definition: { name, netdev, tenant } }) => {
      const worker = this.#options.supervisor.workerOf(name);
      return {
        name,
        isRunning: running.has(name),
        netdev,
        ...(tenant !== undefined && { tenant }),
        ...(worker !== undefined && { worker }),
      };
    });
  }

  #named(name: string): Defined {
    const defined = this.#defined.get(name);
    if (!defined) throw new Error(`no vRNIC named ${JSON.stringify(name)}`);
    return defined;
  }

  async #ensure(name: string): Promise<void> {
    const defined = this.#named(name);
    defined.idleSince = performance.now();
    await defined.change?.catch(() => {});
    if (this.#options.supervisor.runs(name)) return;
    if (this.#isStopping) throw new Error('the daemon is stopping');
    defined.change ??= this.#start(defined).finally(() => {
      defined.change = null;
    });
    await defined.change;
  }

  async #start(defined: Defined): Promise<void> {
    const { supervisor, log } = this.#options;
    const { name, place } = defined.definition;
    const begin = performance.now();
    try {
      defined.config = place();
      await supervisor.startVrnic(defined.config);
    } catch (error) {
      throw new Error(`vRNIC ${name}: ${(error as Error).message}`);
    }
    log.info({ vrnic: name, millis: Math.round((performance.now() - begin) * 10) / 10 }, 'started');
  }

  /** Lazy ones that no program has used for as long as they may rest. */
  async #endIdle(): Promise<void> {
    const { supervisor, log } = this.#options;
    const now = performance.now();
    for (const defined of this.#defined.values()) {
      const { name, isLazy, idle } = defined.definition;
      if (!isLazy || idle === undefined || defined.change || !supervisor.runs(name)) continue;
      const { resources } = await supervisor.statistics(name);
      if (resources.length > 0) defined.idleSince = now;
      if (now - defined.idleSince < idle * 1000 || defined.change) continue;
      defined.change = supervisor.stopVrnic(name).finally(() => {
        defined.change = null;
      });
      await defined.change;
      log.info({ vrnic: name }, 'rests');
    }
  }

  programsOf(name: string): AttachedProgram[] {
    return this.#defined.get(name)?.server?.programs ?? [];
  }

  /** Each vRNIC of a tenant that changed; one whose worker fails keeps no other from it. How many connections that ended. */
  async tell(tenants: readonly Tenant[]): Promise<number> {
    const { log } = this.#options;
    const byName = new Map(tenants.map((tenant) => [tenant.name, tenant]));
    const answers = [...this.#defined.values()].map((defined) => {
      const tenant = byName.get(defined.definition.tenant ?? '');
      return tenant ? this.#tellOne(defined, tenant) : 0;
    });
    let ended = 0;
    for (const answer of await Promise.allSettled(answers)) {
      if (answer.status === 'fulfilled') ended += answer.value;
      else log.warn({ error: (answer.reason as Error).message }, 'a vRNIC was not told of its tenant');
    }
    return ended;
  }

  /** One that has another VNI or MAC now is another vRNIC: it is made anew. */
  async #tellOne(defined: Defined, tenant: Tenant): Promise<number> {
    const { supervisor } = this.#options;
    const { definition, config, server, change } = defined;
    const { name } = definition;
    const isAnew = config !== null && isOther(config, tenant);
    if (isAnew) server?.forget();
    if (!supervisor.runs(name)) return 0;
    if (!isAnew) return Number(await supervisor.setTenant(name, tenant, this.#mtuOf(definition)));
    if (change) {
      await change.catch(() => {});
      return this.#tellOne(defined, tenant);
    }
    const { connections } = await supervisor.statistics(name);
    await this.#renew(name, 'its VNI or its MAC has changed');
    return connections.length;
  }

  /** Another host has said what this one's interface cannot carry: it stays as it was. */
  #mtuOf({ name, mtu }: Definition): number | undefined {
    try {
      return mtu();
    } catch (error) {
      this.#options.log.warn({ vrnic: name }, (error as Error).message);
      return undefined;
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    clearInterval(this.#idleTimer);
    await Promise.all([...this.#defined.values()].map(({ server }) => server?.stop()));
    await this.#options.supervisor.stop();
  }

  #handleFailure(names: string[], error: Error): void {
    const { log } = this.#options;
    log.error({ vrnics: names, error: error.message }, 'a worker ended; its vRNICs start again');
    setTimeout(() => {
      if (this.#isStopping) return;
      this.#options.othersEnded(names.filter((name) => !this.#defined.has(name)));
      for (const name of names) void this.#revive(name);
    }, RESTART_MILLIS);
  }

  /** What it stands on is not what it was: it is made anew. Its programs hear DEVICE_FATAL, as when hardware is pulled out. */
  async #renew(name: string, reason: string): Promise<void> {
    const { supervisor, log } = this.#options;
    const defined = this.#defined.get(name);
    if (!defined || defined.change) return;
    log.warn({ vrnic: name }, `${reason}: the vRNIC is made anew`);
    defined.change = supervisor.stopVrnic(name).finally(() => {
      defined.change = null;
    });
    defined.server?.forget();
    await defined.change.catch(() => {}); // its worker ended: that starts it again, too
    await this.#revive(name);
  }

  /**
   * One that does not wait to be used runs again; one that cannot yet, as soon as it can: its interface may come later. Settles after the first attempt.
   * @param said why the last one failed.
   */
  async #revive(name: string, said = ''): Promise<void> {
    const defined = this.#defined.get(name);
    if (this.#isStopping || (defined?.definition.isLazy ?? true)) return;
    try {
      await this.#ensure(name);
      await defined?.server?.renew();
    } catch (error) {
      if (this.#isStopping) return;
      const { message } = error as Error;
      if (message !== said) this.#options.log.error({ vrnic: name, error: message }, 'did not start again');
      setTimeout(() => void this.#revive(name, message), RESTART_MILLIS).unref();
    }
  }
}

/** Whether a vRNIC that was started so would have another VNI or MAC now. */
function isOther({ tenant: before, mac, gids }: VrnicConfig, tenant: Tenant): boolean {
  const own = gids?.[1] && endpointAt(tenant, gids[1]);
  return tenant.vni !== before?.vni || (own !== undefined && macNumber(own.mac) !== macNumber(mac!));
}
