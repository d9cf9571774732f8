/** `urnic demo`: two hosts on this machine, nothing to configure. */
import { type Command, Option } from 'commander';

interface Flags {
  inside?: boolean;
  host?: boolean;
  json?: boolean;
}

export function addDemo(program: Command, cli: string): void {
  program
    .command('demo')
    .description('two hosts in two network namespaces, RDMA between them, verified and measured; needs nothing')
    .option('--json', 'print one JSON object')
    .addOption(new Option('--inside', 'already in a namespace').hideHelp())
    .addOption(new Option('--host', 'be one of the hosts').hideHelp())
    .action(async (flags: Flags) => {
      if (flags.host) {
        const { serveHost } = await import('../demo/host.ts');
        return serveHost();
      }
      const { directDemo, startDemo } = await import('../demo/director.ts');
      if (flags.inside) await directDemo(cli, flags.json ?? false);
      else process.exitCode = startDemo(cli, flags.json ?? false);
    });
}
