/** The vRNICs of a daemon: which are defined, which run, and what unmodified programs attach to. */
import { join } from 'node:path';
import type { pino } from 'pino';
import { type AttachedProgram, UverbsServer } from '../verbs/uverbs/server.ts';
import type { Tenant } from '../vswitch/model.ts';
import type { LinkEndpoint } from '../workers/device-link.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';

export interface VrnicsOptions {
  readonly supervisor: Supervisor;
  /** Has one for each vRNIC. */
  readonly directory: string;
  readonly log: pino.Logger;
  /** A worker has ended, and what it ran beside vRNICs. */
  othersEnded(names: readonly string[]): void;
}

interface Defined {
  config: VrnicConfig;
  server: UverbsServer | null;
}

const RESTART_MILLIS = 1000;

export class Vrnics {
  readonly #options: VrnicsOptions;
  readonly #defined = new Map<string, Defined>();
  #isStopping = false;

  constructor(options: VrnicsOptions) {
    this.#options = options;
    options.supervisor.onFailure = (names, error) => this.#handleFailure(names, error);
  }

  /** Those that run. */
  get running(): string[] {
    return this.#options.supervisor.names;
  }

  /** Those of a tenant that run. */
  runningOf(tenant: string): string[] {
    return this.running.filter((name) => this.#defined.get(name)?.config.tenant?.name === tenant);
  }

  get count(): number {
    return this.#defined.size;
  }

  isDefined(name: string): boolean {
    return this.#defined.has(name);
  }

  /** Runs from now on. @param user See UverbsServerOptions. @throws Error that says which vRNIC cannot run, and why. */
  async start(config: VrnicConfig, user: number | undefined): Promise<void> {
    const { name, port } = config;
    if (this.#defined.has(name)) throw new Error(`there is a vRNIC named ${name} already`);
    const defined: Defined = { config, server: null };
    this.#defined.set(name, defined);
    try {
      await this.#options.supervisor.startVrnic(config).catch((error: Error) => {
        throw new Error(`vRNIC ${name}: ${error.message}`);
      });
      defined.server = await UverbsServer.start({
        directory: join(this.#options.directory, name),
        netdev: ('netdev' in port && port.netdev) || name,
        endpoint: () => this.endpoint(name),
        ...(user !== undefined && { user }),
      });
    } catch (error) {
      await this.remove(name);
      throw error;
    }
    this.#options.log.info({ vrnic: name }, 'started');
  }

  /** Its programs' commands fail from then on. */
  async remove(name: string): Promise<void> {
    const defined = this.#defined.get(name);
    this.#defined.delete(name);
    await defined?.server?.stop();
    if (this.running.includes(name)) await this.#options.supervisor.stopVrnic(name);
  }

  /** A new way to it. */
  endpoint(name: string): Promise<LinkEndpoint> {
    return this.#options.supervisor.endpoint(name);
  }

  programsOf(name: string): AttachedProgram[] {
    return this.#defined.get(name)?.server?.programs ?? [];
  }

  /** Each vRNIC of a tenant that changed; one whose worker fails keeps no other from it. How many connections that ended. */
  async tell(tenants: readonly Tenant[]): Promise<number> {
    const { supervisor, log } = this.#options;
    const byName = new Map(tenants.map((tenant) => [tenant.name, tenant]));
    const running = new Set(this.running);
    const answers = [...this.#defined].map(async ([name, defined]) => {
      const tenant = byName.get(defined.config.tenant?.name ?? '');
      if (!tenant) return 0;
      defined.config = { ...defined.config, tenant };
      return running.has(name) ? Number(await supervisor.setTenant(name, tenant)) : 0;
    });
    let ended = 0;
    for (const answer of await Promise.allSettled(answers)) {
      if (answer.status === 'fulfilled') ended += answer.value;
      else log.warn({ error: (answer.reason as Error).message }, 'a vRNIC was not told of its tenant');
    }
    return ended;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all([...this.#defined.values()].map(({ server }) => server?.stop()));
    await this.#options.supervisor.stop();
  }

  #handleFailure(names: string[], error: Error): void {
    const { supervisor, log } = this.#options;
    log.error({ vrnics: names, error: error.message }, 'a worker ended; its vRNICs start again');
    setTimeout(() => {
      if (this.#isStopping) return;
      this.#options.othersEnded(names.filter((name) => !this.#defined.has(name)));
      for (const name of names) {
        const defined = this.#defined.get(name);
        if (!defined) continue;
        supervisor
          .startVrnic(defined.config)
          .catch((failure: Error) => log.error({ vrnic: name, error: failure.message }, 'did not start again'));
      }
    }, RESTART_MILLIS);
  }
}
