/**
 * Goodput of 64 KiB messages under random loss each way, on a real wire that loses in its middle: urnic and TCP between two hosts, the kernel's rxe between two
 * virtual machines. What tells is the share of what comes without loss: under emulation rxe is slow. As root, after `npm run build`.
 *
 *     node dist/bench/loss.js [--only urnic,tcp,rxe] [--verbs WRITE,READ,SEND] [--json FILE]     --verbs: of rxe, where each takes minutes
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { LossyWire } from '../test/support/lossy-wire.ts';
import { lacksPeer } from '../test/support/rxe-peer.ts';
import { lacks } from '../test/support/skip.ts';
import { betweenHosts } from './loss-hosts.ts';
import type { Goodput } from './loss-rows.ts';
import { Pair, type VmVerb } from './loss-vms.ts';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: 'urnic,tcp,rxe' },
    verbs: { type: 'string', default: 'WRITE,READ,SEND' },
    json: { type: 'string' },
  },
});

async function main(): Promise<void> {
  const which = new Set(options.only.split(','));
  const lacking = lacks('root', 'nft', 'ethtool') || (which.has('rxe') && lacksPeer());
  if (lacking) throw new Error(lacking);
  const undo: (() => unknown)[] = [];
  const scope = { teardown: (step: () => unknown) => void undo.unshift(step) };
  try {
    const wire = await LossyWire.create(scope);
    const rows: Goodput[] = [];
    if (which.has('urnic') || which.has('tcp')) rows.push(...(await betweenHosts(wire, which)));
    if (which.has('rxe')) {
      const pair = await Pair.start(scope, wire);
      console.log(`rxe, 64 octets, there and back: ${(await pair.roundTrip()).toFixed(0)} µs`);
      for (const verb of options.verbs.split(',') as VmVerb[]) rows.push(...(await pair.curve(verb)));
    }
    if (options.json) writeFileSync(options.json, `${JSON.stringify(rows, null, 2)}\n`);
  } finally {
    for (const step of undo) await step();
  }
}

await main();
