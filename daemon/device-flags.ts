/** The flags by which a command says which vRNIC it works on: one of a daemon, or one on a network interface for as long as it runs. */
import { type Command, Option } from 'commander';
import { DEFAULT_SOCKET } from './control-client.ts';

export interface HostFlags {
  netdev?: string;
  portKind: 'af_packet' | 'cap' | 'raw-socket';
  spin?: string;
  capture?: string;
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

export interface DeviceFlags extends HostFlags {
  device?: string;
  socket?: string;
}

/** As `hostFlags`, for commands that take a daemon's vRNIC as well. */
export function deviceFlags<C extends Command>(command: C): C {
  return hostFlags(command)
    .option('--device <vrnic>', "a vRNIC of the daemon, by name or by its directory's path")
    .option('--socket <path>', 'where the daemon listens for commands', DEFAULT_SOCKET) as C;
}
