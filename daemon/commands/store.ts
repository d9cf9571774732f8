/** `urnic store`: the control store of a running daemon. */
import type { Command } from 'commander';
import { ask, DEFAULT_SOCKET } from '../control-client.ts';
import type { StoreView } from '../describe-store.ts';

interface Flags {
  readonly socket: string;
  readonly json?: boolean;
  readonly entries?: boolean;
}

export function addStore(program: Command): void {
  const store = program.command('store').description('the control store');
  store
    .command('show')
    .description('which store it is, whether it answers, and which hosts live in it')
    .option('--socket <path>', 'the daemon', DEFAULT_SOCKET)
    .option('--entries', 'its entries, too')
    .option('--json', 'print JSON, entries included')
    .action(async (flags: Flags) => {
      const view = (await ask(flags.socket, { op: 'store' })) as StoreView;
      if (flags.json) console.log(JSON.stringify(view));
      else for (const line of linesOf(view, flags.entries ?? false)) console.log(line);
    });
}

function linesOf(view: StoreView, withEntries: boolean): string[] {
  const { kind, file, urls, prefix, ttl, name, answers, reason, revision, hosts, entries } = view;
  const place = [file, urls?.join(','), prefix && `prefix ${prefix}`, ttl && `ttl ${ttl}`, name && `name ${name}`];
  return [
    [`store ${kind}`, ...place.filter(Boolean)].join(' '),
    `${answers ? 'answers' : `does not answer: ${reason}`} revision ${revision} entries ${entries.length}`,
    ...hosts.map((host) => `host ${host.name} ${host.vteps.join(',')}`),
    ...(withEntries ? entries.map(({ key, revision: changed, value }) => `${key} revision ${changed} ${value}`) : []),
  ];
}
