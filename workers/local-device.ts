/** A vRNIC in the program's own process, without a daemon: in a worker thread, or polled by the thread that made it. */
import { connect } from './client.ts';
import type { DeviceLink, LinkEndpoint } from './device-link.ts';
import { openPolledDevice } from './polled-device.ts';
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
  return polled ? openPolledDevice(config, spin) : openHostedDevice(config, spin);
}

async function openHostedDevice(config: VrnicConfig, spin: Spin | undefined): Promise<LocalDevice> {
  const { name } = config;
  const supervisor = new Supervisor(spin === undefined ? {} : { spin });
  try {
    await supervisor.startVrnic(config);
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
  return {
    name,
    open: async () => connect(await supervisor.endpoint(name)),
    endpoint: () => supervisor.endpoint(name),
    statistics: () => supervisor.statistics(name),
    capture: async (file) => {
      await supervisor.capture(name, file === undefined ? undefined : { file });
    },
    stop: () => supervisor.stop(),
  };
}
