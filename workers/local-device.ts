/** A vRNIC in the program's own process, without a daemon: in a worker thread, or polled by the thread that made it. */
import { connect } from './client.ts';
import type { DeviceLink, LinkEndpoint } from './device-link.ts';
import { Supervisor } from './supervisor.ts';
import type { PortConfig, Spin, VrnicConfig } from './vrnic-config.ts';

export interface LocalDeviceOptions extends Omit<VrnicConfig, 'name' | 'port'> {
  /** The interface to live on, with its addresses; or `port` for anything else. */
  readonly netdev?: string;
  readonly port?: PortConfig;
  /** `urnic0` by default. */
  readonly name?: string;
  /** 50 µs by default. */
  readonly spin?: Spin;
  /** True: no worker thread. The vRNIC moves when this thread polls (workers/polled-device.ts): lowest latency, for programs that do little else. */
  readonly polled?: boolean;
}

export interface LocalDevice {
  readonly name: string;
  /** A link for this thread. */
  open(): Promise<DeviceLink>;
  /** A link for another thread of the program: post it there, `connect` it there. */
  endpoint(): Promise<LinkEndpoint>;
  statistics(): ReturnType<Supervisor['statistics']>;
  /** All frames of its port to a pcapng file; without a file: no longer. */
  capture(file?: string): Promise<void>;
  /** Ends the vRNIC. Links get a fatal event. */
  stop(): Promise<void>;
}

/** @throws Error that says why not: no such interface, no CAP_NET_RAW, … */
export async function openLocalDevice(options: LocalDeviceOptions): Promise<LocalDevice> {
  const { netdev, spin, name = 'urnic0', port, polled = false, ...rest } = options;
  if (netdev === undefined && port === undefined) throw new Error('a local device needs a netdev or a port');
  const wire: PortConfig = port ?? { kind: 'af_packet', netdev: netdev ?? '' };
  const config: VrnicConfig = { ...rest, name, port: wire };
  if (!polled) return openHostedDevice(config, spin);
  // The engine: without `polled` its worker loads it, and this thread need not.
  const { openPolledDevice } = await import('./polled-device.ts');
  return openPolledDevice(config, spin);
}

async function openHostedDevice(config: VrnicConfig, spin: Spin | undefined): Promise<LocalDevice> {
  const device = new HostedDevice(config, spin);
  try {
    await device.ready();
  } catch (error) {
    await device.stop();
    throw error;
  }
  return device;
}

class HostedDevice implements LocalDevice {
  readonly name: string;
  readonly #config: VrnicConfig;
  readonly #supervisor: Supervisor;
  /** The vRNIC is starting or ending. */
  #change: Promise<void> | null = null;

  constructor(config: VrnicConfig, spin: Spin | undefined) {
    this.name = config.name;
    this.#config = config;
    this.#supervisor = new Supervisor(spin === undefined ? {} : { spin });
    // Programs hear that it has ended, and whoever opens it next makes it anew, on the interface that is there then.
    this.#supervisor.onStale = (name) => {
      if (this.#change === null) this.#begin(this.#supervisor.stopVrnic(name)).catch(() => {});
    };
  }

  /** It runs. @throws Error that says why it cannot. */
  async ready(): Promise<void> {
    await this.#change?.catch(() => {});
    if (this.#change === null && this.#supervisor.runs(this.name)) return;
    await (this.#change ?? this.#begin(this.#supervisor.startVrnic(this.#config)));
  }

  async open(): Promise<DeviceLink> {
    return connect(await this.endpoint());
  }

  async endpoint(): Promise<LinkEndpoint> {
    await this.ready();
    return this.#supervisor.endpoint(this.name);
  }

  async statistics(): ReturnType<Supervisor['statistics']> {
    await this.ready();
    return this.#supervisor.statistics(this.name);
  }

  async capture(file?: string): Promise<void> {
    await this.ready();
    await this.#supervisor.capture(this.name, file === undefined ? undefined : { file });
  }

  stop(): Promise<void> {
    return this.#supervisor.stop();
  }

  #begin(change: Promise<void>): Promise<void> {
    this.#change = change.finally(() => {
      this.#change = null;
    });
    return this.#change;
  }
}
