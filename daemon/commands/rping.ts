/** `urnic rping`: the command around daemon/rping.ts, with the flags of rping(1). */
import type { Command } from 'commander';
import { addressArgument, wholeNumber } from '../arguments.ts';
import { type DeviceFlags, deviceFlags } from '../device-flags.ts';

interface Flags extends DeviceFlags {
  server?: boolean;
  client?: boolean;
  address?: string;
  port: number;
  count: number;
  size: number;
  validate?: boolean;
  verbose?: boolean;
  persistent?: boolean;
}

export function addRping(program: Command): void {
  const command = program
    .command('rping')
    .description('connect by address and ping with RDMA READ and WRITE: to rping, or another urnic rping')
    .option('-s, --server', 'be the server')
    .option('-c, --client', 'be the client')
    .option('-a, --address <address>', 'the server: an IPv4 or IPv6 address', addressArgument)
    .option('-p, --port <port>', 'port of the RDMA port space', wholeNumber(1, 65_535), 7174)
    .option('-C, --count <count>', 'messages; 0: without end', wholeNumber(0, 2 ** 31), 0)
    .option('-S, --size <octets>', 'octets of a message', wholeNumber(18, 65_535), 64)
    .option('-V, --validate', 'compare what came back')
    .option('-v, --verbose', 'print what came')
    .option('-P, --persistent', 'serve one client after the other')
    .option('-d, --debug', 'accepted for compatibility: see --capture');
  deviceFlags(command).action(run);
}

async function run(flags: Flags): Promise<void> {
  if (Boolean(flags.server) === Boolean(flags.client)) throw new Error('say -s or -c: server or client');
  if (flags.client && flags.address === undefined) throw new Error('say with -a where the server is');
  const { openContext } = await import('../hosted.ts');
  const { rpingClient, rpingServer } = await import('../rping.ts');
  const { context, stop } = await openContext(flags);
  const { port, count, size, validate = false } = flags;
  const address = { address: flags.address ?? '0.0.0.0', port };
  const onPing = flags.verbose ? (text: string): void => console.log(text) : (): void => {};
  const options = { address, count, size, validate, onPing };
  try {
    if (flags.client) await rpingClient(context, options);
    else
      do await rpingServer(context, options);
      while (flags.persistent);
  } finally {
    // The last messages may still be on their way to the peer.
    await new Promise((resolve) => setTimeout(resolve, 100));
    await stop();
  }
}
