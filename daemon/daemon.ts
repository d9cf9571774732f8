/** The daemon: the vRNICs of a configuration, and a unix socket on which `urnic` commands ask about them. */

import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { Context } from '../verbs/index.ts';
import { UverbsServer } from '../verbs/uverbs/server.ts';
import type { Tenant } from '../vswitch/model.ts';
import { connect } from '../workers/client.ts';
import { Supervisor } from '../workers/supervisor.ts';
import type { PortConfig, VrnicConfig } from '../workers/vrnic-config.ts';
import { type Configuration, EndpointText, LimitText, NameText, RuleText } from './configuration.ts';
import { describeDevice, toJson } from './describe-device.ts';
import { QpnRanges } from './qpn-ranges.ts';
import type { ControlStore } from './store/control-store.ts';
import { EmbeddedStore } from './store/embedded-store.ts';
import { TenantDirectory } from './tenant-directory.ts';
import { TENANT_OPS, type TenantOp } from './tenant-edits.ts';
import { connectionText, describeTenant, placeIn } from './tenants.ts';

const Request = z.strictObject({
  op: z.enum([
    ...(['list', 'device', 'port', 'statistics', 'resources', 'capture', 'tenants', 'connections'] as const),
    ...TENANT_OPS,
  ]),
  tenant: NameText.optional(),
  rule: RuleText.optional(),
  endpoint: EndpointText.optional(),
  /** Of a tenant, as in urnic.yaml. */
  settings: z.record(z.string(), z.unknown()).optional(),
  /** None: no limit any more. */
  limit: LimitText.optional(),
  /** What is deleted, or limited: a rule's id, an endpoint's address. */
  key: z.string().optional(),
  vrnic: z.string().optional(),
  file: z.string().optional(),
});
type Request = z.infer<typeof Request>;

/** A request is one line; longer ones are refused. */
const REQUEST_BYTES_MAX = 65_536;
const CLIENTS_MAX = 64;
const CLIENT_MILLIS = 10_000;
const RESTART_MILLIS = 1000;
/** The name of this host where its store knows no other. */
const THIS_HOST = 'this';

type VrnicText = Configuration['vrnics'][number];

export class Daemon {
  readonly #supervisor: Supervisor;
  readonly #configuration: Configuration;
  readonly #configs = new Map<string, VrnicConfig>();
  #store: ControlStore | null = null;
  #tenants: TenantDirectory | null = null;
  readonly #qpns = new QpnRanges();
  /** What unmodified programs attach to, by vRNIC. */
  readonly #uverbs = new Map<string, UverbsServer>();
  readonly #server: Server;
  readonly #socketPath: string;
  readonly #log: pino.Logger;
  readonly #stopped: Promise<void>;
  #settle: () => void = () => {};
  #isStopping = false;

  /** @throws Error that says which vRNIC cannot run and why, or that another daemon listens at the socket. */
  static async start(configuration: Configuration, socketPath: string): Promise<Daemon> {
    const daemon = new Daemon(configuration, socketPath);
    try {
      await daemon.#begin();
      return daemon;
    } catch (error) {
      await daemon.stop();
      throw error;
    }
  }

  private constructor(configuration: Configuration, socketPath: string) {
    const { workers, spin, log } = configuration;
    this.#configuration = configuration;
    this.#log = pino({ level: log });
    this.#supervisor = new Supervisor({ workers, spin });
    this.#supervisor.onFailure = (names, error) => this.#handleFailure(names, error);
    this.#socketPath = socketPath;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
    this.#server.maxConnections = CLIENTS_MAX;
    this.#stopped = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** Until SIGTERM, SIGINT or `stop`. */
  async untilStopped(): Promise<void> {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void this.stop());
    await this.#stopped;
  }

  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    if (this.#server.listening) {
      this.#server.close();
      rmSync(this.#socketPath, { force: true });
    }
    await Promise.all([...this.#uverbs.values()].map((server) => server.stop()));
    await this.#supervisor.stop();
    await this.#tenants?.close();
    await this.#store?.close();
    this.#log.info('stopped');
    this.#settle();
  }

  async #begin(): Promise<void> {
    await this.#listen();
    await this.#openStore();
    for (const vrnic of this.#configuration.vrnics) this.#configs.set(vrnic.name, this.#toVrnicConfig(vrnic));
    for (const config of this.#configs.values()) {
      await this.#supervisor.startVrnic(config).catch((error: Error) => {
        throw new Error(`vRNIC ${config.name}: ${error.message}`);
      });
      await this.#serveUverbs(config);
      this.#log.info({ vrnic: config.name }, 'started');
    }
    this.#log.info({ socket: this.#socketPath, vrnics: this.#configs.size }, 'ready');
  }

  async #openStore(): Promise<void> {
    const { store, tenants } = this.#configuration;
    this.#store = await EmbeddedStore.open(store?.file);
    this.#tenants = await TenantDirectory.open(this.#store, {
      changed: (changed) => this.#tellVrnics(changed),
      complained: (reason) => this.#log.warn({ reason }, 'control store'),
    });
    await this.#tenants.declare(THIS_HOST, tenants);
  }

  async #serveUverbs({ name, port }: VrnicConfig): Promise<void> {
    const user = this.#configuration.vrnics.find((vrnic) => vrnic.name === name)?.user;
    const server = await UverbsServer.start({
      directory: vrnicDirectory(this.#socketPath, name),
      netdev: ('netdev' in port && port.netdev) || name,
      endpoint: () => this.#supervisor.endpoint(name),
      ...(user !== undefined && { user }),
    });
    this.#uverbs.set(name, server);
  }

  /** A socket file that nobody listens on is a dead daemon's: it is replaced. */
  async #listen(): Promise<void> {
    mkdirSync(dirname(this.#socketPath), { recursive: true, mode: 0o755 });
    if (await isAnswered(this.#socketPath)) throw new Error(`another daemon listens at ${this.#socketPath}`);
    rmSync(this.#socketPath, { force: true });
    this.#server.listen(this.#socketPath);
    await once(this.#server, 'listening');
    chmodSync(this.#socketPath, 0o600);
  }

  #handleFailure(names: string[], error: Error): void {
    this.#log.error({ vrnics: names, error: error.message }, 'a worker ended; its vRNICs start again');
    setTimeout(() => {
      if (this.#isStopping) return;
      for (const name of names) {
        this.#supervisor
          .startVrnic(this.#configs.get(name)!)
          .catch((failure: Error) => this.#log.error({ vrnic: name, error: failure.message }, 'did not start again'));
      }
    }, RESTART_MILLIS);
  }

  #serve(socket: Socket): void {
    let received = '';
    socket.setTimeout(CLIENT_MILLIS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('end', () => {
      if (!received.includes('\n')) socket.end();
    });
    socket.on('data', (data) => {
      received += data;
      const end = received.indexOf('\n');
      if (end === -1 && received.length <= REQUEST_BYTES_MAX) return;
      socket.removeAllListeners('data');
      if (end === -1)
        socket.end(`${toJson({ ok: false, reason: `a request has at most ${REQUEST_BYTES_MAX} octets` })}\n`);
      else void this.#answer(received.slice(0, end)).then((answer) => socket.end(`${toJson(answer)}\n`));
    });
  }

  async #answer(line: string): Promise<{ ok: true; value: unknown } | { ok: false; reason: string }> {
    try {
      return { ok: true, value: await this.#execute(Request.parse(JSON.parse(line))) };
    } catch (error) {
      const reason =
        error instanceof z.ZodError ? `not a request: ${error.issues[0]!.message}` : (error as Error).message;
      return { ok: false, reason };
    }
  }

  async #execute(request: Request): Promise<unknown> {
    if (request.op === 'list') return this.#supervisor.names;
    if (request.op === 'tenants' || isTenantOp(request.op)) return this.#executeTenant(request);
    const name = request.vrnic ?? '';
    if (!this.#supervisor.names.includes(name)) throw new Error(`no vRNIC named ${JSON.stringify(name)} runs here`);
    if (request.op === 'capture') return this.#supervisor.capture(name, request.file);
    if (request.op === 'device' || request.op === 'port') return this.#describe(name);
    const { counters, ports, resources, connections } = await this.#supervisor.statistics(name);
    if (request.op === 'connections') return connections.map(connectionText);
    if (request.op === 'statistics') return { counters, ports };
    return { contexts: resources, programs: this.#uverbs.get(name)?.programs ?? [] };
  }

  /** Connections that are allowed no longer end before this answers. */
  async #executeTenant({ op, tenant = '', rule, endpoint, limit, settings, key }: Request): Promise<unknown> {
    if (op === 'tenants') return this.#directory.tenants.map(describeTenant);
    return { ended: await this.#directory.change(tenant, op as TenantOp, { rule, endpoint, limit, settings, key }) };
  }

  get #directory(): TenantDirectory {
    if (!this.#tenants) throw new Error('the daemon is starting: its control store is not open yet');
    return this.#tenants;
  }

  /** Each vRNIC of a tenant that changed; one whose worker fails keeps no other from it. How many connections that ended. */
  async #tellVrnics(tenants: readonly Tenant[]): Promise<number> {
    const byName = new Map(tenants.map((tenant) => [tenant.name, tenant]));
    const answers = [...this.#configs].map(async ([name, config]) => {
      const tenant = byName.get(config.tenant?.name ?? '');
      if (!tenant) return 0;
      this.#configs.set(name, { ...config, tenant });
      if (!this.#supervisor.names.includes(name)) return 0;
      return Number(await this.#supervisor.setTenant(name, tenant));
    });
    let ended = 0;
    for (const answer of await Promise.allSettled(answers)) {
      if (answer.status === 'fulfilled') ended += answer.value;
      else this.#log.warn({ error: (answer.reason as Error).message }, 'a vRNIC was not told of its tenant');
    }
    return ended;
  }

  #toVrnicConfig({ name, netdev, port, namespace, tenant, address }: VrnicText): VrnicConfig {
    const place = namespace !== undefined && { namespace };
    const range = this.#qpns.allot(name, `${namespace ?? ''}/${netdev}`, tenant !== undefined);
    if (tenant === undefined) {
      const kind = port === 'raw-socket' ? 'raw_socket' : port;
      return { name, port: { kind, netdev } as PortConfig, ...place, ...range };
    }
    const found = this.#directory.find(tenant);
    if (!found) throw new Error(`vRNIC ${name}: no tenant named ${tenant}: urnic tenant add, or in the configuration`);
    return { name, ...placeIn(found, address!, netdev), ...place, ...range };
  }

  async #describe(name: string): Promise<unknown> {
    const context = new Context(await connect(await this.#supervisor.endpoint(name)));
    try {
      return await describeDevice(name, context);
    } finally {
      await context.close();
    }
  }
}

const isTenantOp = (op: Request['op']): op is TenantOp => (TENANT_OPS as readonly string[]).includes(op);

/** What unmodified programs need of a vRNIC: its socket and the files that they see. */
export const vrnicDirectory = (socketPath: string, name: string): string => join(dirname(socketPath), 'vrnics', name);

async function isAnswered(path: string): Promise<boolean> {
  const socket = dial(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
