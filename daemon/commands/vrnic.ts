/** `urnic vrnic`: the vRNICs of a running daemon, defined, added and taken away. */
import { type Command, Option } from 'commander';
import { number } from '../arguments.ts';
import { ask, DEFAULT_SOCKET } from '../control-client.ts';

interface Flags {
  readonly socket: string;
  readonly json?: boolean;
}

interface AddFlags extends Flags {
  readonly netdev: string;
  readonly tenant?: string;
  readonly address?: string;
  readonly host?: string;
  readonly start: string;
  readonly idle?: number;
  readonly take?: boolean;
}

const common = (command: Command): Command =>
  command.option('--socket <path>', 'the daemon', DEFAULT_SOCKET).option('--json', 'print JSON');

export function addVrnic(program: Command): void {
  const vrnic = program.command('vrnic').description('vRNICs of the daemon');
  common(vrnic.command('list')).action(list);
  common(vrnic.command('add').argument('<name>'))
    .description('add a vRNIC, until the daemon ends or it is deleted')
    .requiredOption('--netdev <interface>', 'where its packets leave')
    .option('--tenant <name>', 'a place in this tenant’s network, with --address')
    .option('--address <address>', 'its endpoint there')
    .option('--host <vtep>', 'the VTEP of this host (default: the first address of the interface)')
    .addOption(
      new Option('--start <when>', 'at once, or when a program comes').choices(['boot', 'use']).default('boot'),
    )
    .option('--idle <seconds>', 'one that starts by use ends after so long without a program', number(1, 1e6))
    .option('--take', 'its endpoint moves here from the host that has it')
    .action(async (name: string, { socket, json, take, ...more }: AddFlags) => {
      const added = await ask(socket, { op: 'addVrnic', definition: { name, ...more }, ...(take && { take }) });
      if (json) console.log(JSON.stringify(added));
    });
  common(vrnic.command('delete').argument('<name>'))
    .description('take away a vRNIC that was added: its programs’ commands fail from then on')
    .action(async (name: string, { socket, json }: Flags) => {
      await ask(socket, { op: 'deleteVrnic', vrnic: name });
      if (json) console.log(JSON.stringify({ name }));
    });
}

async function list({ socket, json }: Flags): Promise<void> {
  const found = (await ask(socket, { op: 'vrnics' })) as {
    name: string;
    isRunning: boolean;
    netdev: string;
    tenant?: string;
  }[];
  if (json) console.log(JSON.stringify(found));
  else
    for (const { name, isRunning, netdev, tenant } of found)
      console.log(
        `${name} ${isRunning ? 'runs' : 'waits'} netdev ${netdev}${tenant === undefined ? '' : ` tenant ${tenant}`}`,
      );
}
