/** Devices: vRNICs hosted in this process, and those of a daemon, listed and opened. `ibv_get_device_list(3)`, `ibv_open_device(3)`. */
import type { MessagePort } from 'node:worker_threads';
import { connect } from '../workers/client.ts';
import type { LinkEndpoint } from '../workers/device-link.ts';
import { type LocalDevice, type LocalDeviceOptions, openLocalDevice } from '../workers/local-device.ts';
import { Context } from './context.ts';
import { DaemonDevice, daemonDevices } from './daemon-device.ts';

/** What a program's own worker thread needs to open the device: post `value` there with `transfer` as the transfer list. */
export interface SharedDevice {
  readonly value: LinkEndpoint;
  readonly transfer: MessagePort[];
}

export class Device {
  readonly name: string;
  readonly #local: LocalDevice;

  constructor(local: LocalDevice) {
    this.name = local.name;
    this.#local = local;
  }

  async open(): Promise<Context> {
    return new Context(await this.#local.open());
  }

  /** One opening for another thread. Objects belong to the context they were made from; a queue is used by one thread at a time. */
  async share(): Promise<SharedDevice> {
    const value = await this.#local.endpoint();
    return { value, transfer: [value.port] };
  }

  /** Counters of the vRNIC and its ports, by name. */
  statistics() {
    return this.#local.statistics();
  }

  /** All frames of its port to a pcapng file; without a file: no longer. */
  async capture(file?: string): Promise<void> {
    await this.#local.capture(file);
  }

  /** Ends the vRNIC. What is still open hears DEVICE_FATAL. */
  async stop(): Promise<void> {
    devices.delete(this.name);
    await this.#local.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

const devices = new Map<string, Device>();

/**
 * Hosts a vRNIC in this process: its own worker thread, on `netdev` with the addresses that interface has, or on any `port`.
 * @throws Error that says why not: no such interface, CAP_NET_RAW is missing, the name is taken.
 */
export async function hostDevice(options: LocalDeviceOptions): Promise<Device> {
  let { name } = options;
  if (name !== undefined && devices.has(name)) throw new Error(`this process has a device named ${name} already`);
  for (let i = 0; name === undefined || devices.has(name); i++) name = `urnic${i}`;
  const device = new Device(await openLocalDevice({ ...options, name }));
  devices.set(device.name, device);
  return device;
}

/** The devices of this process, then those of the daemon that runs in `directory` (by default where URNIC_SOCKET says, or /run/urnic). */
export const getDeviceList = (directory?: string): (Device | DaemonDevice)[] => [
  ...devices.values(),
  ...daemonDevices(directory),
];

/** Opens a device: one of the list, one that another thread shared, or one that is hosted for this use alone and stops when the context closes. */
export async function openDevice(device: Device | DaemonDevice | LinkEndpoint | LocalDeviceOptions): Promise<Context> {
  if (device instanceof Device || device instanceof DaemonDevice) return device.open();
  if ('wakeFd' in device) return new Context(await connect(device));
  const hosted = await hostDevice(device);
  try {
    return new Context(await connect((await hosted.share()).value), () => hosted.stop());
  } catch (error) {
    await hosted.stop();
    throw error;
  }
}
