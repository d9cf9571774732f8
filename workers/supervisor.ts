/** Starts worker threads through piscina, one endless task each, spreads vRNICs over them, and notices when one ends. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { newMeter } from '../vswitch/bucket.ts';
import { endpointAt, type Tenant } from '../vswitch/model.ts';
import type { Held } from '../vswitch/quota.ts';
import { macNumber } from '../vswitch/tenant-view.ts';
import { Bell, duplicateDescriptor, newBellMemory, newWakeDescriptor } from './bell.ts';
import { type Bridge, bridge } from './bridge.ts';
import type { LinkEndpoint } from './device-link.ts';
import { closeAll, newLedger } from './linux/descriptors.ts';
import { readNetdev } from './linux/netdev.ts';
import type { ControlAnswer, ControlMessage, ControlNotice, WithoutId } from './messages.ts';
import type { Member } from './overlay/elsewhere.ts';
import type { SwitchPortConfig } from './overlay/switch-port.ts';
import type { CaptureTarget } from './ports/capture-file.ts';
import { TenantAccounts } from './tenant-accounts.ts';
import { SPIN_MICROS, type Spin, type VrnicConfig } from './vrnic-config.ts';
import { VtepSeats } from './vtep-seats.ts';
import type { WorkerTask } from './worker-loop.ts';
import { WorkerMesh } from './worker-mesh.ts';

export interface SupervisorOptions {
  /** Worker threads at most; vRNICs share them when there are more. 1 by default. */
  readonly workers?: number;
  /** How long an idle worker polls before it sleeps; 50 µs by default. */
  readonly spin?: Spin;
  /** How often a worker looks after closed ports and console output, microseconds; half a second by default. */
  readonly turnMicros?: number;
  /** Heap of one worker; piscina ends a worker that wants more, the others run on. */
  readonly heapMegabytes?: number;
  /** What the threads run; for tests that make a worker fail. */
  readonly workerFile?: string;
}

const TURN_MICROS = 500_000;

/** How long a worker may take to end its vRNICs. */
const PATIENCE_MILLIS = 5000;

/** So many of a tenant are together before any goes to a worker that has nothing to do. */
const SHARED_MIN = 2;

/** A vRNIC's place on a VTEP in the supervisor's own network namespace, on the usual UDP port: the supervisor opens the sockets. Undefined: it has none. */
function memberOf({ port, tenant, namespace, mac }: VrnicConfig): Member | undefined {
  if (port.kind !== 'vxlan' || !tenant || namespace !== undefined || port.udpPort !== undefined) return undefined;
  const octets = mac ?? (port.netdev === undefined ? undefined : readNetdev(port.netdev).mac);
  return octets && { vtep: port.local, vni: tenant.vni, mac: macNumber(octets) };
}

/** The same of a switch port: what the worker refuses has none. */
function memberOfPort({ tenant, local, address }: SwitchPortConfig): Member {
  const own = endpointAt(tenant, address);
  return { vtep: local, vni: tenant.vni, mac: own ? macNumber(own.mac) : 0 };
}

/** A worker thread as the supervisor sees it. */
class WorkerHandle {
  /** Names it among all that there ever were. */
  readonly number: number;
  /** The network namespace that all its vRNICs are in; undefined: the process's. */
  readonly namespace: string | undefined;
  readonly names = new Set<string>();
  readonly bell: Bell;
  /** Settles when the thread's task has ended; with the reason if it failed. */
  readonly ended: Promise<Error | null>;
  readonly ledger = newLedger();
  onStale: (name: string) => void = () => {};
  readonly #control: MessagePort;
  readonly #calls = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #nextId = 1;
  #hasEnded = false;

  constructor(
    pool: Piscina,
    settings: Pick<WorkerTask, 'spin' | 'turnMicros'>,
    number: number,
    namespace: string | undefined,
  ) {
    this.number = number;
    this.namespace = namespace;
    const { port1, port2 } = new MessageChannel();
    this.#control = port1;
    this.bell = new Bell(newBellMemory(), newWakeDescriptor());
    const wakeFd = duplicateDescriptor(this.bell.fileDescriptor);
    const task: WorkerTask = { ...settings, control: port2, bell: this.bell.memory, wakeFd, ledger: this.ledger };
    port1.on('message', (message: ControlAnswer | ControlNotice) =>
      'stale' in message ? this.onStale(message.stale) : this.#settle(message),
    );
    port1.unref();
    this.ended = pool.run(task, { transferList: [port2] }).then(
      () => this.#end(null),
      (error: Error) => this.#end(error),
    );
  }

  call(message: WithoutId<ControlMessage>, transfer: MessagePort[] = []): Promise<unknown> {
    if (this.#hasEnded) return Promise.reject(new Error('the worker has ended'));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#calls.set(id, { resolve, reject });
      this.#control.postMessage({ ...message, id }, transfer);
      this.bell.announceMail();
    });
  }

  #settle(answer: ControlAnswer): void {
    const call = this.#calls.get(answer.id);
    this.#calls.delete(answer.id);
    if (answer.ok) call?.resolve(answer.value);
    else call?.reject(new Error(answer.reason));
  }

  #end(error: Error | null): Error | null {
    this.#hasEnded = true;
    closeAll(this.ledger);
    this.#control.close();
    this.bell.close();
    for (const call of this.#calls.values()) call.reject(error ?? new Error('the worker has ended'));
    this.#calls.clear();
    return error;
  }
}

const leastOf = (workers: Iterable<WorkerHandle>): WorkerHandle =>
  [...workers].reduce((best, worker) => (worker.names.size < best.names.size ? worker : best));

export class Supervisor {
  /** A worker failed: its vRNICs are down until they are started again. */
  onFailure: ((names: string[], error: Error) => void) | null = null;
  /** The interface of a vRNIC has gone, and another one has its name: until it is stopped and started it hears nothing. Said again and again. */
  onStale: ((name: string) => void) | null = null;
  readonly #pool: Piscina;
  readonly #spin: Spin;
  readonly #turnMicros: number;
  readonly #workerCountMax: number;
  readonly #workers = new Set<WorkerHandle>();
  readonly #homes = new Map<string, WorkerHandle>();
  /** Those of them that are ports of tenants' switches. */
  readonly #ports = new Set<string>();
  readonly #bridges = new Map<string, Bridge>();
  /** Of VTEPs whose sockets are the worker's to open: all their tenants are in one. */
  readonly #vteps = new Map<string, WorkerHandle>();
  readonly #seats = new VtepSeats<WorkerHandle>();
  readonly #mesh = new WorkerMesh<WorkerHandle>();
  #workerCount = 0;
  /** By tenant. */
  readonly #meters = new Map<string, SharedArrayBuffer>();
  readonly #accounts = new TenantAccounts();
  #isStopping = false;

  constructor(options: SupervisorOptions = {}) {
    this.#workerCountMax = options.workers ?? 1;
    this.#spin = options.spin ?? SPIN_MICROS;
    this.#turnMicros = options.turnMicros ?? TURN_MICROS;
    this.#pool = new Piscina({
      filename: options.workerFile ?? fileURLToPath(new URL('./worker.js', import.meta.url)),
      minThreads: 0,
      maxThreads: this.#workerCountMax,
      concurrentTasksPerWorker: 1,
      idleTimeout: 0,
      atomics: 'disabled', // a thread that sleeps in Atomics.wait would not see its ports
      ...(options.heapMegabytes ? { resourceLimits: { maxOldGenerationSizeMb: options.heapMegabytes } } : {}),
    });
  }

  /** Names of the vRNICs that run. */
  get names(): string[] {
    return [...this.#homes.keys()].filter((name) => !this.#ports.has(name));
  }

  runs(name: string): boolean {
    return this.#homes.has(name);
  }

  /** The worker that runs a vRNIC or port, by number; undefined: it does not run. */
  workerOf(name: string): number | undefined {
    return this.#homes.get(name)?.number;
  }

  /** @throws Error that says why the vRNIC cannot run: interface, rights, name taken. */
  async startVrnic(config: VrnicConfig): Promise<void> {
    if (this.#isStopping) throw new Error('the supervisor is stopping');
    if (this.#homes.has(config.name)) throw new Error(`there is a vRNIC named ${config.name} already`);
    const plain = this.#bridged(config);
    const member = memberOf(plain);
    try {
      const worker = member ? this.#besidePeers(member) : this.#homeOfVtep(plain);
      this.#homes.set(config.name, worker);
      worker.names.add(config.name);
      const seated = member ? this.#seated(plain, member, worker) : plain;
      await worker.call({ kind: 'start', config: this.#accounted(this.#metered(seated)) });
      if (member) await this.#mesh.came(config.name, worker, member);
    } catch (error) {
      await this.#forget(config.name);
      throw error;
    }
  }

  /** A port of a tenant's switch. @throws Error that says why it cannot run: interface, rights, name taken. */
  async startPort(config: SwitchPortConfig): Promise<void> {
    if (this.#isStopping) throw new Error('the supervisor is stopping');
    if (this.#homes.has(config.name)) throw new Error(`there is a port named ${config.name} already`);
    const { name } = config;
    const member = memberOfPort(config);
    try {
      const worker = this.#besidePeers(member);
      this.#homes.set(config.name, worker);
      this.#ports.add(config.name);
      worker.names.add(config.name);
      const descriptor = this.#seats.sit(name, member, worker);
      await worker.call({ kind: 'startPort', config: this.#metered({ ...config, descriptor }) });
      await this.#mesh.came(name, worker, member);
    } catch (error) {
      await this.#forget(config.name);
      throw error;
    }
  }

  stopPort(name: string): Promise<void> {
    return this.stopVrnic(name);
  }

  /** Its applications get a fatal event. */
  async stopVrnic(name: string): Promise<void> {
    const worker = this.#homeOf(name);
    await worker.call({ kind: 'stop', name });
    await this.#forget(name);
  }

  /** A way to the vRNIC for one application; `connect` (workers/client.ts) opens it, in any thread. */
  async endpoint(name: string): Promise<LinkEndpoint> {
    const worker = this.#homeOf(name);
    const { port1, port2 } = new MessageChannel();
    await worker.call({ kind: 'attach', name, port: port2 }, [port2]);
    const wakeFd = duplicateDescriptor(worker.bell.fileDescriptor);
    return { deviceName: name, port: port1, bell: worker.bell.memory, wakeFd, ledger: worker.ledger };
  }

  /** All frames of its wire port to a pcapng file; without a file: no longer. @throws the error of open. */
  capture(name: string, target?: CaptureTarget): Promise<unknown> {
    return this.#homeOf(name).call({ kind: 'capture', name, ...(target && { target }) });
  }

  setGids(name: string, gids: Uint8Array[]): Promise<unknown> {
    return this.#homeOf(name).call({ kind: 'setGids', name, gids });
  }

  /** Its tenant has changed, but for the VNI and its own MAC: who has others is another vRNIC, to be stopped and started. How many of its connections that ended. @param mtu the largest IP packet of a vRNIC's connections to come; as before by default. */
  setTenant(name: string, tenant: Tenant, mtu?: number): Promise<unknown> {
    return this.#homeOf(name).call({ kind: 'setTenant', name, tenant, ...(mtu !== undefined && { mtu }) });
  }

  /** Counters of the vRNIC and of its ports, by name. */
  async statistics(name: string): Promise<ReturnType<import('./vrnic.ts').Vrnic['statistics']>> {
    const value = await this.#homeOf(name).call({ kind: 'statistics', name });
    return value as ReturnType<import('./vrnic.ts').Vrnic['statistics']>;
  }

  /** What a tenant's vRNICs hold here together; undefined: it has had none. */
  heldBy(tenant: string): Held | undefined {
    return this.#accounts.heldBy(tenant);
  }

  /** Ends every vRNIC and worker. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const workers = [...this.#workers];
    await Promise.all(workers.map((worker) => this.#shutDown(worker)));
    await this.#pool.destroy();
  }

  /** Packages that live on the main event loop stay here; the worker gets the other end of a bridge. */
  #bridged(config: VrnicConfig): VrnicConfig {
    const { port, name } = config;
    if (port.kind !== 'cap' && port.kind !== 'raw_socket') return config;
    if (config.namespace !== undefined) throw new Error(`a ${port.kind} port has the network namespace of the process`);
    const made = bridge(config, port);
    this.#bridges.set(name, made.bridge);
    return made.config;
  }

  #closeBridge(name: string): void {
    this.#bridges.get(name)?.close();
    this.#bridges.delete(name);
  }

  /** vRNICs and switch ports of a tenant share its limit, in whichever workers they are. */
  #metered<T extends { readonly tenant?: Tenant }>(config: T): T {
    if (!config.tenant) return config;
    const { name } = config.tenant;
    const meter = this.#meters.get(name) ?? newMeter();
    this.#meters.set(name, meter);
    return { ...config, meter };
  }

  /** vRNICs of a tenant share its quotas. */
  #accounted(config: VrnicConfig): VrnicConfig {
    const { name, tenant } = config;
    return tenant ? { ...config, account: this.#accounts.open(name, tenant.name) } : config;
  }

  /** Where a worker opens the VTEP's socket, all tenants of the VTEP are in it; what has no VTEP may be anywhere. */
  #homeOfVtep({ port, tenant, namespace }: VrnicConfig): WorkerHandle {
    if (port.kind !== 'vxlan' || !tenant) return this.#roomiest(namespace);
    const key = `${port.local.join('.')} ${namespace ?? ''}`;
    const home = this.#vteps.get(key);
    if (home && this.#workers.has(home)) return home;
    const worker = this.#roomiest(namespace);
    this.#vteps.set(key, worker);
    return worker;
  }

  /** Endpoints of a tenant talk at the least cost inside a worker: they share one, until another has much less to do. */
  #besidePeers(member: Member): WorkerHandle {
    const peers = [...this.#seats.workersOf(member)];
    if (peers.length === 0) return this.#roomiest();
    const best = leastOf(peers);
    const canGrow = this.#workers.size < this.#workerCountMax;
    const least = canGrow ? 0 : leastOf(this.#workersIn(undefined)).names.size;
    return best.names.size < least + SHARED_MIN ? best : this.#roomiest();
  }

  #seated(config: VrnicConfig, member: Member, worker: WorkerHandle): VrnicConfig {
    const { name, port } = config;
    if (port.kind !== 'vxlan') return config;
    return { ...config, port: { ...port, descriptor: this.#seats.sit(name, member, worker) } };
  }

  /** A new worker while there may be one, else the one of this network namespace with the fewest vRNICs. @throws Error: all are in others. */
  #roomiest(namespace?: string): WorkerHandle {
    if (this.#workers.size < this.#workerCountMax) return this.#newWorker(namespace);
    const fitting = this.#workersIn(namespace);
    if (fitting.length > 0) return leastOf(fitting);
    throw new Error(
      'a worker has one network namespace, and all have another one than this: let there be more workers',
    );
  }

  #workersIn(namespace: string | undefined): WorkerHandle[] {
    return [...this.#workers].filter((worker) => worker.namespace === namespace);
  }

  #newWorker(namespace: string | undefined): WorkerHandle {
    const settings = { spin: this.#spin, turnMicros: this.#turnMicros };
    const worker = new WorkerHandle(this.#pool, settings, this.#workerCount++, namespace);
    worker.onStale = (name) => this.onStale?.(name);
    this.#workers.add(worker);
    worker.ended.then((error) => this.#handleEnd(worker, error));
    return worker;
  }

  #handleEnd(worker: WorkerHandle, error: Error | null): void {
    this.#workers.delete(worker);
    this.#seats.workerEnded(worker, worker.names);
    this.#mesh.workerEnded(worker);
    for (const name of worker.names) {
      this.#homes.delete(name);
      this.#ports.delete(name);
      this.#accounts.close(name);
      this.#closeBridge(name);
    }
    if (error && !this.#isStopping) this.onFailure?.([...worker.names], error);
  }

  #homeOf(name: string): WorkerHandle {
    const worker = this.#homes.get(name);
    if (!worker) throw new Error(`no vRNIC named ${name} runs`);
    return worker;
  }

  /** A worker without vRNICs has no work: its thread ends. */
  async #forget(name: string): Promise<void> {
    const worker = this.#homes.get(name);
    this.#homes.delete(name);
    this.#ports.delete(name);
    this.#seats.rise(name);
    this.#mesh.went(name);
    this.#accounts.close(name);
    worker?.names.delete(name);
    this.#closeBridge(name);
    if (worker && worker.names.size === 0) await this.#shutDown(worker);
  }

  async #shutDown(worker: WorkerHandle): Promise<void> {
    this.#workers.delete(worker);
    const told = worker.call({ kind: 'shutdown' }).catch(() => {}); // it may have ended by itself
    // One that hangs is ended with the pool.
    await Promise.race([told.then(() => worker.ended), sleep(PATIENCE_MILLIS, undefined, { ref: false })]);
  }
}
