/** `urnic up`: the daemon. */
import type { Command } from 'commander';
import { DEFAULT_SOCKET } from '../control-client.ts';

export function addUp(program: Command): void {
  program
    .command('up')
    .description('run the daemon: the vRNICs of a configuration file, in the foreground')
    .option('-c, --config <file>', 'the configuration', 'urnic.yaml')
    .option('--socket <path>', 'where the daemon listens for commands', DEFAULT_SOCKET)
    .action(async (flags: { config: string; socket: string }) => {
      const { loadConfiguration } = await import('../configuration.ts');
      const { Daemon } = await import('../daemon.ts');
      const daemon = await Daemon.start(loadConfiguration(flags.config), flags.socket);
      await daemon.untilStopped();
    });
}
