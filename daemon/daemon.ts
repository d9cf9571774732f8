/** The daemon: the vRNICs of a configuration, and a unix socket on which `urnic` commands ask about them. */
import { constants } from 'node:os';
import { pino } from 'pino';
import { z } from 'zod';
import { Context } from '../verbs/index.ts';
import { connect } from '../workers/client.ts';
import { toGid } from '../workers/linux/netdev.ts';
import { Supervisor } from '../workers/supervisor.ts';
import type { PortConfig, VrnicConfig } from '../workers/vrnic-config.ts';
import { Captures } from './captures.ts';
import { claimOf, portClaims, vtepOf, withoutClaims } from './claims.ts';
import { type Configuration, LimitText, NameText, RuleText, VrnicText } from './configuration.ts';
import { ControlServer, Held } from './control-server.ts';
import { describeDevice } from './describe-device.ts';
import { describeStore, type StoreSettings } from './describe-store.ts';
import { openStore } from './open-store.ts';
import { type Claim, Presence } from './presence.ts';
import { QpnRanges } from './qpn-ranges.ts';
import { checkedBy, memberText } from './schema-faults.ts';
import type { ControlStore } from './store/control-store.ts';
import { SwitchPorts } from './switch-ports.ts';
import { TenantDirectory } from './tenant-directory.ts';
import { EndpointChange, TENANT_OPS, type TenantOp } from './tenant-edits.ts';
import type { EndpointOf } from './tenant-entries.ts';
import { connectionText, describeTenant, mtuOf, placeIn } from './tenants.ts';
import { vrnicsDirectory } from './vrnic-directory.ts';
import { type Definition, Vrnics } from './vrnics.ts';

const Request = z.strictObject({
  op: z.enum([
    ...([
      'list',
      'switchPorts',
      'device',
      'port',
      'statistics',
      'resources',
      'capture',
      'captureTenant',
      'tenants',
      'connections',
      'store',
    ] as const),
    ...(['vrnics', 'wake', 'addVrnic', 'deleteVrnic'] as const),
    ...TENANT_OPS,
  ]),
  tenant: NameText.optional(),
  /** Of a tenant, in place of its name, where one is looked at. */
  vni: z.number().optional(),
  rule: RuleText.optional(),
  endpoint: EndpointChange.optional(),
  /** Of a tenant, as in urnic.yaml. */
  settings: z.record(z.string(), z.unknown()).optional(),
  /** None: no limit any more. */
  limit: LimitText.optional(),
  /** What is deleted, or limited: a rule's id, an endpoint's address. */
  key: z.string().optional(),
  vrnic: z.string().optional(),
  /** Of a vRNIC, as in urnic.yaml; and whether its endpoint moves here. */
  definition: VrnicText.optional(),
  take: z.boolean().optional(),
  file: z.string().optional(),
});
type Request = z.infer<typeof Request>;

/** SIGHUP: its terminal is gone. */
const ENDING = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

export class Daemon {
  readonly #supervisor: Supervisor;
  readonly #configuration: Configuration;
  readonly #vrnics: Vrnics;
  #store: ControlStore | null = null;
  #storeSettings: StoreSettings = { kind: 'memory' };
  #tenants: TenantDirectory | null = null;
  #presence: Presence | null = null;
  readonly #qpns = new QpnRanges();
  /** By commands, by name. */
  readonly #added = new Map<string, VrnicText>();
  /** Those that are not there yet. */
  readonly #adding = new Map<string, VrnicText>();
  /** Of them, those whose endpoints came with them, where no lease takes these along. */
  readonly #announced = new Set<string>();
  readonly #ports: SwitchPorts;
  readonly #captures: Captures;
  readonly #server: ControlServer;
  readonly #socketPath: string;
  readonly #log: pino.Logger;
  readonly #stopped: Promise<void>;
  #settle: () => void = () => {};
  #isStopping = false;

  /** @throws Error that says which vRNIC cannot run and why, or that another daemon listens at the socket. */
  static async start(configuration: Configuration, socketPath: string): Promise<Daemon> {
    const daemon = new Daemon(configuration, socketPath);
    // Not waited for: a store may be asked in vain for long, and what vRNICs leave the next daemon sweeps away.
    const leave = (signal: NodeJS.Signals): void => {
      daemon.#server.close();
      process.exit(128 + constants.signals[signal]);
    };
    for (const signal of ENDING) process.once(signal, leave);
    try {
      await daemon.#begin();
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    } finally {
      for (const signal of ENDING) process.off(signal, leave);
    }
  }

  private constructor(configuration: Configuration, socketPath: string) {
    const { workers, spin, log } = configuration;
    this.#configuration = configuration;
    this.#log = pino({ level: log });
    this.#supervisor = new Supervisor({ workers, spin });
    this.#socketPath = socketPath;
    this.#ports = new SwitchPorts(this.#supervisor, this.#log);
    this.#vrnics = new Vrnics({
      supervisor: this.#supervisor,
      directory: vrnicsDirectory(socketPath),
      log: this.#log,
      othersEnded: (names) => void this.#ports.restart(names),
    });
    this.#captures = new Captures(this.#supervisor);
    this.#server = new ControlServer(socketPath, (request) => this.#execute(parse(request)));
    this.#stopped = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** Until a signal, or `stop`. */
  async untilStopped(): Promise<void> {
    for (const signal of ENDING) process.once(signal, () => void this.stop());
    await this.#stopped;
  }

  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#server.close();
    await this.#presence?.stop();
    this.#ports.stop();
    await this.#vrnics.stop();
    await this.#tenants?.close();
    await this.#store?.close();
    this.#log.info('stopped');
    this.#settle();
  }

  async #begin(): Promise<void> {
    await this.#server.listen();
    await this.#vrnics.sweep();
    const { vrnics, tenants } = this.#configuration;
    const claims = [...vrnics.flatMap((vrnic) => claimOf(tenants, vrnic) ?? []), ...portClaims(tenants)];
    await this.#openStore(claims);
    await this.#claim(claims);
    for (const vrnic of vrnics) await this.#vrnics.define(this.#definitionOf(vrnic));
    await this.#ports.start(() => this.#directory.tenants);
    this.#log.info({ socket: this.#socketPath, vrnics: this.#vrnics.count }, 'ready');
  }

  async #openStore(claims: readonly Claim[]): Promise<void> {
    const { store: config, tenants } = this.#configuration;
    const { store, settings, host, ttl } = await openStore(config);
    this.#store = store;
    this.#storeSettings = settings;
    const complained = (reason: string): void => this.#log.warn({ reason }, 'control store');
    this.#tenants = await TenantDirectory.open(store, {
      changed: (changed) => {
        this.#presence?.review();
        return Promise.all([this.#vrnics.tell(changed), this.#ports.follow()]).then(([ended]) => ended);
      },
      complained,
    });
    await this.#tenants.declare(host, ttl === undefined ? tenants : withoutClaims(tenants, claims));
    if (ttl !== undefined)
      this.#presence = await Presence.start(store, this.#tenants, { name: host, ttl, complain: complained });
  }

  /** Their endpoints are in the store from now on. Those that were not there before, unless a lease holds them. */
  async #claim(claims: readonly Claim[]): Promise<Claim[]> {
    if (!this.#presence) return this.#directory.announce(claims, undefined);
    await this.#presence.claim(claims);
    return [];
  }

  async #execute(request: Request): Promise<unknown> {
    if (request.op === 'list') return this.#vrnics.running;
    if (request.op === 'vrnics') return this.#vrnics.list();
    if (request.op === 'addVrnic' && request.definition)
      return this.#addVrnic(request.definition, request.take ?? false);
    if (request.op === 'captureTenant') return this.#captureTenant(request);
    if (request.op === 'store') return describeStore(this.#store!, this.#storeSettings, this.#directory.known);
    if (request.op === 'switchPorts') return this.#ports.names;
    if (request.op === 'tenants' || isTenantOp(request.op)) return this.#executeTenant(request);
    if (request.op === 'connections' && request.vrnic === undefined) return this.#connectionsIn(request);
    const name = request.vrnic ?? '';
    if (this.#ports.has(name)) return this.#executePort(request, name);
    if (request.op === 'deleteVrnic') return this.#deleteVrnic(name);
    if (!this.#vrnics.isDefined(name)) throw new Error(`no vRNIC named ${JSON.stringify(name)} runs here`);
    if (request.op === 'wake') return this.#vrnics.wake(name);
    if (request.op === 'device' || request.op === 'port') return this.#describe(name);
    if (!this.#vrnics.running.includes(name))
      throw new Error(`vRNIC ${name} does not run: it starts when a program comes`);
    if (request.op === 'capture') return this.#capture([name], request);
    if (request.op === 'connections') return this.#connectionsOf(name);
    const { counters, ports, resources } = await this.#supervisor.statistics(name);
    if (request.op === 'statistics') return { counters, ports };
    return { contexts: resources, programs: this.#vrnics.programsOf(name) };
  }

  async #connectionsOf(vrnic: string): Promise<object[]> {
    const { connections } = await this.#supervisor.statistics(vrnic);
    const tenant = this.#vrnics.tenantOf(vrnic);
    return connections.map((connection) => ({ tenant, vrnic, ...connectionText(connection) }));
  }

  /** Of all vRNICs that run here, or of a tenant's. */
  async #connectionsIn(request: Request): Promise<object[]> {
    const isOfAll = request.tenant === undefined && request.vni === undefined;
    const names = isOfAll ? this.#vrnics.running : this.#vrnics.runningOf(this.#tenantIn(request));
    const lists = names.map((name) =>
      this.#connectionsOf(name).catch((error: Error) => {
        if (this.#supervisor.runs(name)) throw error;
        return []; // it ended meanwhile
      }),
    );
    return (await Promise.all(lists)).flat();
  }

  /** The name of the tenant that is named, or whose VNI is given. @throws Error: there is none. */
  #tenantIn({ tenant = '', vni }: Request): string {
    const found = this.#directory.tenants.find((one) => (vni === undefined ? one.name === tenant : one.vni === vni));
    if (found) return found.name;
    throw new Error(vni === undefined ? `no tenant named ${JSON.stringify(tenant)}` : `no tenant has VNI ${vni}`);
  }

  /** All that a tenant has here, in one file; those that come later are not in it. */
  #captureTenant(request: Request): Promise<Held> {
    const tenant = this.#tenantIn(request);
    return this.#capture([...this.#vrnics.runningOf(tenant), ...this.#ports.namesOf(tenant)], request);
  }

  /** As long as who asked for it is there. */
  async #capture(names: string[], { op, file }: Request): Promise<Held> {
    if (file === undefined) throw new Error('file: a capture wants one');
    return new Held(names, await this.#captures.begin(names, file, op === 'captureTenant'));
  }

  #executePort(request: Request, name: string): Promise<unknown> {
    const { op } = request;
    if (op === 'capture') return this.#capture([name], request);
    if (op === 'statistics') return this.#supervisor.statistics(name);
    throw new Error(`${name} is a port of a tenant's switch: it has no ${op}`);
  }

  /** Connections that are allowed no longer end before this answers. */
  async #executeTenant({ op, tenant = '', rule, endpoint, limit, settings, key }: Request): Promise<unknown> {
    if (op === 'tenants') return this.#describeTenants();
    const { mtu } = settings ?? {};
    if (op === 'setTenant' && typeof mtu === 'number') this.#checkMtu(tenant, mtu);
    return { ended: await this.#directory.change(tenant, op as TenantOp, { rule, endpoint, limit, settings, key }) };
  }

  /** With what their vRNICs hold here, where they have any. */
  #describeTenants(): object[] {
    return this.#directory.tenants.map((tenant) => {
      const held = this.#supervisor.heldBy(tenant.name);
      return { ...describeTenant(tenant), ...(held && { held }) };
    });
  }

  /** @throws Error: an interface here does not carry packets of that length. */
  #checkMtu(tenant: string, mtu: number): void {
    this.#ports.checkMtu(tenant, mtu);
    for (const vrnic of [...this.#configuration.vrnics, ...this.#added.values()])
      if (vrnic.tenant === tenant && this.#vrnics.running.includes(vrnic.name)) this.#mtuOf(vrnic, mtu);
  }

  get #directory(): TenantDirectory {
    if (!this.#tenants) throw new Error('the daemon is starting: its control store is not open yet');
    return this.#tenants;
  }

  #definitionOf(vrnic: VrnicText): Definition {
    const { name, netdev, namespace, tenant, user, start, idle } = vrnic;
    const range = this.#qpns.allot(
      name,
      namespace === undefined ? netdev : `${namespace}/${netdev}`,
      tenant !== undefined,
    );
    const place = (): VrnicConfig => ({
      ...this.#placeOf(vrnic),
      ...(namespace !== undefined && { namespace }),
      ...range,
    });
    const mtu = (): number | undefined => this.#mtuOf(vrnic);
    return { name, netdev, tenant, user, idle, isLazy: start === 'use', place, mtu };
  }

  /** @param wanted in place of what the tenant says. @throws Error: its interface cannot carry that. */
  #mtuOf(vrnic: VrnicText, wanted?: number): number | undefined {
    const tenant = this.#directory.find(vrnic.tenant ?? '');
    if (!tenant) return undefined;
    const local = toGid(vtepOf(this.#configuration.tenants, vrnic));
    return mtuOf({ ...tenant, ...(wanted !== undefined && { mtu: wanted }) }, local, vrnic.netdev, vrnic.namespace);
  }

  #placeOf(vrnic: VrnicText): VrnicConfig {
    const { name, netdev, port, tenant, address } = vrnic;
    if (tenant === undefined) {
      const kind = port === 'raw-socket' ? 'raw_socket' : port;
      return { name, port: { kind, netdev } as PortConfig };
    }
    const found = this.#directory.find(tenant);
    if (!found) throw new Error(`no tenant named ${tenant}: urnic tenant add, or in the configuration`);
    return { name, ...placeIn(found, address!, vrnic, vtepOf(this.#configuration.tenants, vrnic)) };
  }

  /** Returns it as it is listed; of one that fails nothing stays. @param isTaken Its endpoint moves here from wherever it is. */
  async #addVrnic(vrnic: VrnicText, isTaken: boolean): Promise<unknown> {
    const { name, tenant, address } = vrnic;
    if (this.#vrnics.isDefined(name) || this.#adding.has(name))
      throw new Error(`there is a vRNIC named ${name} already`);
    const claim = claimOf(this.#configuration.tenants, vrnic);
    const all = [...this.#configuration.vrnics, ...this.#added.values(), ...this.#adding.values()];
    if (claim && all.some((one) => one.tenant === tenant && one.address === address))
      throw new Error(`endpoint ${address} of tenant ${tenant} has a vRNIC on this host already`);
    const before = claim && this.#directory.endpointOf(claim.tenant, claim.address);
    this.#adding.set(name, vrnic);
    try {
      if (claim && before && isTaken) {
        const endpoint = { address: claim.address, host: claim.host };
        await this.#directory.change(claim.tenant, 'moveEndpoint', { endpoint });
      }
      const held = await this.#claim(claim ? [claim] : []);
      await this.#vrnics.define(this.#definitionOf(vrnic));
      if (held.length > 0) this.#announced.add(name);
      this.#added.set(name, vrnic);
    } catch (error) {
      this.#qpns.release(name);
      if (claim) await this.#takeBack(claim, before, isTaken);
      throw error;
    } finally {
      this.#adding.delete(name);
    }
    return this.#vrnics.list().find((one) => one.name === name);
  }

  /** What was claimed in vain. @param before its endpoint then; undefined: there was none. One of another host we have not touched, unless it was to move. */
  async #takeBack(claim: Claim, before: EndpointOf | undefined, isTaken: boolean): Promise<void> {
    if (before && before.host !== claim.host && !isTaken) return this.#presence?.release(claim);
    if (this.#presence) return this.#presence.takeBack(claim, before);
    try {
      await this.#directory.undo(claim, before);
    } catch (error) {
      const { tenant, address } = claim;
      this.#log.warn({ tenant, endpoint: address, error: (error as Error).message }, 'may not have been taken back');
    }
  }

  async #deleteVrnic(name: string): Promise<void> {
    const vrnic = this.#added.get(name);
    if (!vrnic) throw new Error(`no vRNIC named ${JSON.stringify(name)} was added by command`);
    await this.#removeVrnic(name, vrnic);
  }

  async #removeVrnic(name: string, vrnic: VrnicText): Promise<void> {
    this.#added.delete(name);
    await this.#vrnics.remove(name);
    this.#qpns.release(name);
    const claim = claimOf(this.#configuration.tenants, vrnic);
    if (claim) await this.#presence?.release(claim);
    if (claim && this.#announced.delete(name)) await this.#directory.remove([claim]);
  }

  async #describe(name: string): Promise<unknown> {
    const context = new Context(await connect(await this.#vrnics.endpoint(name)));
    try {
      return await describeDevice(name, context);
    } finally {
      await context.close();
    }
  }
}

const isTenantOp = (op: Request['op']): op is TenantOp => (TENANT_OPS as readonly string[]).includes(op);

/** @throws Error that names the member that is wrong: `rule.source: must be an address …`. */
function parse(request: unknown): Request {
  const { data, fault } = checkedBy(Request, request);
  if (!fault) return data;
  const where = memberText(fault.at.filter((part) => part !== 'op' && part !== 'definition')) || 'not a request';
  throw new Error(`${where}: ${fault.text}`);
}
