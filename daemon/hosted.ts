/** The vRNIC of one command: one of a daemon, or one on a network interface for as long as the command runs. */
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Context, DaemonDevice, type Device, hostDevice } from '../verbs/index.ts';
import type { PortConfig } from '../workers/vrnic-config.ts';
import { DEFAULT_SOCKET } from './control-client.ts';
import type { DeviceFlags, HostFlags } from './device-flags.ts';
import { vrnicDirectory } from './vrnic-directory.ts';

export interface Hosted {
  readonly device: Device;
  readonly context: Context;
  stop(): Promise<void>;
}

/** @throws Error as openHosted; of a daemon's vRNIC, that it is not there. */
export async function openContext(flags: DeviceFlags): Promise<Omit<Hosted, 'device'>> {
  const { device: name, socket = DEFAULT_SOCKET } = flags;
  if (name === undefined) return openHosted(flags);
  if (flags.netdev !== undefined) throw new Error('--device or --netdev: a vRNIC of the daemon, or one of our own');
  const directory = name.includes('/') ? resolve(name) : vrnicDirectory(socket, name);
  const context = await new DaemonDevice(directory).open();
  return { context, stop: () => context.close() };
}

/** @throws Error that says which interface is missing, or which right. */
export async function openHosted(flags: HostFlags): Promise<Hosted> {
  const netdev = flags.netdev ?? onlyInterface();
  const kind = flags.portKind === 'raw-socket' ? 'raw_socket' : flags.portKind;
  const device = await hostDevice({
    port: { kind, netdev } as PortConfig,
    ...(flags.spin !== undefined && { spin: spinOf(flags.spin) }),
  });
  try {
    if (flags.capture !== undefined) await device.capture(flags.capture);
    const context = await device.open();
    return { device, context, stop: () => device.stop() };
  } catch (error) {
    await device.stop();
    throw error;
  }
}

function spinOf(text: string): number | 'always' {
  if (text === 'always') return text;
  const micros = Number(text);
  if (Number.isFinite(micros) && micros >= 0) return micros;
  throw new Error(`--spin ${text}: must be microseconds, or 'always'`);
}

function onlyInterface(): string {
  const names = readdirSync('/sys/class/net').filter((name) => name !== 'lo');
  if (names.length === 1) return names[0]!;
  throw new Error(
    `say which interface with --netdev: there are ${names.length === 0 ? 'none besides lo' : names.join(', ')}`,
  );
}
