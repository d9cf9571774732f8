/** A vRNIC for the length of one command, on a network interface, when no daemon runs one. */
import { readdirSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { type Context, type Device, hostDevice } from '../verbs/index.ts';
import type { PortConfig } from '../workers/vrnic-config.ts';

export interface HostFlags {
  netdev?: string;
  portKind: 'af_packet' | 'cap' | 'raw-socket';
  spin?: string;
  capture?: string;
}

export interface Hosted {
  readonly device: Device;
  readonly context: Context;
  stop(): Promise<void>;
}

/** Adds the flags that say where the vRNIC lives. */
export function hostFlags<C extends Command>(command: C): C {
  return command
    .option('--netdev <interface>', 'network interface to live on (default: the only one besides lo)')
    .addOption(
      new Option('--port-kind <kind>', 'how frames leave')
        .choices(['af_packet', 'cap', 'raw-socket'])
        .default('af_packet'),
    )
    .option('--spin <micros>', "microseconds to poll before sleeping, or 'always'")
    .option('--capture <file>', 'write all frames to a pcapng file') as C;
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
