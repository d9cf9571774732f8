/** The daemon: the vRNICs of a configuration, and a unix socket on which `urnic` commands ask about them. */

import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { Context } from '../verbs/index.ts';
import { UverbsServer } from '../verbs/uverbs/server.ts';
import { connect } from '../workers/client.ts';
import { Supervisor } from '../workers/supervisor.ts';
import type { PortConfig, VrnicConfig } from '../workers/vrnic-config.ts';
import { type Configuration, EndpointText, LimitText, RuleText } from './configuration.ts';
import { describeDevice, toJson } from './describe-device.ts';
import { QpnRanges } from './qpn-ranges.ts';
import { connectionText, Tenants } from './tenants.ts';

const Request = z.strictObject({
  op: z.enum([
    ...(['list', 'device', 'port', 'statistics', 'resources', 'capture', 'tenants', 'connections'] as const),
    ...(['addRule', 'deleteRule', 'addEndpoint', 'deleteEndpoint', 'setLimit'] as const),
  ]),
  tenant: z.string().optional(),
  rule: RuleText.optional(),
  endpoint: EndpointText.optional(),
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

export class Daemon {
  readonly #supervisor: Supervisor;
  readonly #configs: Map<string, VrnicConfig>;
  readonly #tenants: Tenants;
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

  private constructor({ workers, spin, log, vrnics, tenants }: Configuration, socketPath: string) {
    this.#log = pino({ level: log });
    this.#supervisor = new Supervisor({ workers, spin });
    this.#supervisor.onFailure = (names, error) => this.#handleFailure(names, error);
    this.#tenants = new Tenants(tenants);
    this.#configs = new Map(vrnics.map((vrnic) => [vrnic.name, toVrnicConfig(vrnic, this.#tenants, this.#qpns)]));
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
    this.#log.info('stopped');
    this.#settle();
  }

  async #begin(): Promise<void> {
    await this.#listen();
    for (const config of this.#configs.values()) {
      await this.#supervisor.startVrnic(config).catch((error: Error) => {
        throw new Error(`vRNIC ${config.name}: ${error.message}`);
      });
      await this.#serveUverbs(config);
      this.#log.info({ vrnic: config.name }, 'started');
    }
    this.#log.info({ socket: this.#socketPath, vrnics: this.#configs.size }, 'ready');
  }

  async #serveUverbs({ name, port }: VrnicConfig): Promise<void> {
    const server = await UverbsServer.start({
      directory: vrnicDirectory(this.#socketPath, name),
      netdev: ('netdev' in port && port.netdev) || name,
      endpoint: () => this.#supervisor.endpoint(name),
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
    if (request.tenant !== undefined || request.op === 'tenants') return this.#executeTenant(request);
    const name = request.vrnic ?? '';
    if (!this.#supervisor.names.includes(name)) throw new Error(`no vRNIC named ${JSON.stringify(name)} runs here`);
    if (request.op === 'capture') return this.#supervisor.capture(name, request.file);
    if (request.op === 'device' || request.op === 'port') return this.#describe(name);
    const { counters, ports, resources, connections } = await this.#supervisor.statistics(name);
    if (request.op === 'connections') return connections.map(connectionText);
    if (request.op === 'statistics') return { counters, ports };
    return { contexts: resources, programs: this.#uverbs.get(name)?.programs ?? [] };
  }

  /** Changes what a tenant is, then tells its vRNICs: connections that are allowed no longer end before this answers. */
  async #executeTenant({ op, tenant = '', rule, endpoint, limit, key = '' }: Request): Promise<unknown> {
    if (op === 'tenants') return this.#tenants.texts;
    const change = { rule, endpoint, limit, key };
    const changed = this.#tenants.change(tenant, op, change);
    let ended = 0;
    for (const [name, config] of this.#configs) {
      if (config.tenant?.name !== tenant) continue;
      this.#configs.set(name, { ...config, tenant: changed });
      if (this.#supervisor.names.includes(name)) ended += Number(await this.#supervisor.setTenant(name, changed));
    }
    return { ended };
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

/** What unmodified programs need of a vRNIC: its socket and the files that they see. */
export const vrnicDirectory = (socketPath: string, name: string): string => join(dirname(socketPath), 'vrnics', name);

type VrnicText = Configuration['vrnics'][number];

function toVrnicConfig(vrnic: VrnicText, tenants: Tenants, ranges: QpnRanges): VrnicConfig {
  const { name, netdev, port, namespace } = vrnic;
  const place = namespace !== undefined && { namespace };
  const range = ranges.allot(name, `${namespace ?? ''}/${netdev}`, vrnic.tenant !== undefined);
  if (vrnic.tenant !== undefined)
    return { name, ...tenants.place(vrnic.tenant, vrnic.address!, netdev), ...place, ...range };
  const kind = port === 'raw-socket' ? 'raw_socket' : port;
  return { name, port: { kind, netdev } as PortConfig, ...place, ...range };
}

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
