/** A vRNIC in the program's own process: one worker thread, no daemon. */
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
  readonly spin?: Spin;
}

export interface LocalDevice {
  readonly name: string;
  readonly supervisor: Supervisor;
  /** A link for this thread. */
  open(): Promise<DeviceLink>;
  /** A link for another thread of the program: post it there, `connect` it there. */
  endpoint(): Promise<LinkEndpoint>;
  /** Ends the vRNIC and its worker. Links get a fatal event. */
  stop(): Promise<void>;
}

/** @throws Error that says why not: no such interface, no CAP_NET_RAW, … */
export async function openLocalDevice(options: LocalDeviceOptions): Promise<LocalDevice> {
  const { netdev, spin, name = 'urnic0', port, ...config } = options;
  if (netdev === undefined && port === undefined) throw new Error('a local device needs a netdev or a port');
  const supervisor = new Supervisor(spin === undefined ? {} : { spin });
  const wire: PortConfig = port ?? { kind: 'af_packet', netdev: netdev ?? '' };
  try {
    await supervisor.startVrnic({ ...config, name, port: wire });
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
  return {
    name,
    supervisor,
    open: async () => connect(await supervisor.endpoint(name)),
    endpoint: () => supervisor.endpoint(name),
    stop: () => supervisor.stop(),
  };
}
