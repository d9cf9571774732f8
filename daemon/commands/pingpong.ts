/** `urnic pingpong`: the command around daemon/pingpong.ts, with the flags and the output of ibv_rc_pingpong. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { type DeviceFlags, deviceFlags } from '../device-flags.ts';
import type { PingpongType } from '../pingpong.ts';

interface Flags extends DeviceFlags {
  type: PingpongType;
  port: number;
  size: number;
  mtu: number;
  rxDepth: number;
  numQp: number;
  iters: number;
  events?: boolean;
  gidIdx?: number;
  chk?: boolean;
  ibDev?: string;
  ibPort: number;
  linger: number;
  json?: boolean;
}

const MTUS = [256, 512, 1024, 2048, 4096];

function mtu(text: string): number {
  if (MTUS.includes(Number(text))) return Number(text);
  throw new InvalidArgumentError(`must be one of ${MTUS.join(', ')}`);
}

export function addPingpong(program: Command): void {
  const command = program
    .command('pingpong')
    .description(
      'exchange messages with ibv_rc_pingpong, ibv_uc_pingpong, ibv_ud_pingpong, ibv_srq_pingpong or another urnic pingpong',
    )
    .argument('[host]', 'the server; without it this is the server')
    .addOption(
      new Option('-T, --type <type>', 'transport; srq: RC QPs with a shared receive queue')
        .choices(['rc', 'uc', 'ud', 'srq'])
        .default('rc'),
    )
    .option('-p, --port <port>', 'TCP port to agree over', wholeNumber(1, 65_535), 18_515)
    .option('-s, --size <octets>', 'octets of a message', wholeNumber(1, 2 ** 30), 4096)
    .option('-m, --mtu <octets>', 'path MTU', mtu, 1024)
    .option('-r, --rx-depth <count>', 'receives posted at once', wholeNumber(1, 16_384), 500)
    .option('-q, --num-qp <count>', 'QPs of --type srq', wholeNumber(1, 256), 16)
    .option('-n, --iters <count>', 'messages each way', wholeNumber(1, 2 ** 31), 1000)
    .option('-e, --events', 'sleep on completion events instead of polling')
    .option(
      '-g, --gid-idx <index>',
      'our GID: 0 is link-local IPv6, 1 the first other address (default: 1 if there is one)',
      wholeNumber(0, 255),
    )
    .option('-c, --chk', 'compare what the server received')
    .option('-d, --ib-dev <name>', 'accepted for compatibility: there is one device')
    .option('-i, --ib-port <port>', 'port of the device', wholeNumber(1, 1), 1)
    .option('-l, --sl <sl>', 'accepted for compatibility: RoCE has no service levels', wholeNumber(0, 15), 0)
    .option('-N, --new_send', 'accepted for compatibility: there is one way to post')
    .option(
      '--linger <milliseconds>',
      'stay so long after the last message: the peer asks again when its acknowledgement is lost',
      wholeNumber(0, 60_000),
      100,
    )
    .option('--json', 'print one JSON object');
  deviceFlags(command).action(run);
}

async function run(host: string | undefined, flags: Flags): Promise<void> {
  const qps = flags.type === 'srq' ? flags.numQp : 1;
  if (flags.rxDepth < qps)
    throw new Error(`--rx-depth ${flags.rxDepth} is too small for ${qps} QPs: one receive each at least`);
  const { openContext } = await import('../hosted.ts');
  const { describeAddress, Pingpong } = await import('../pingpong.ts');
  const { gidText } = await import('../../workers/linux/netdev.ts');
  const { context, stop } = await openContext(flags);
  try {
    const { gidTableLength } = await context.queryPort();
    const gidIndex = flags.gidIdx ?? Math.min(1, gidTableLength - 1);
    const pingpong = new Pingpong(context, {
      type: flags.type,
      ...(host !== undefined && { host }),
      port: flags.port,
      size: flags.size,
      mtu: flags.mtu,
      rxDepth: flags.rxDepth,
      qps,
      iterations: flags.iters,
      gidIndex,
      useEvents: flags.events ?? false,
      check: flags.chk ?? false,
    });
    const say = flags.json ? () => {} : (text: string) => console.log(text);
    await pingpong.prepare();
    for (const address of pingpong.local) say(`  local address:  ${describeAddress(address, gidText)}`);
    await pingpong.exchange(() => {
      for (const address of pingpong.remote) say(`  remote address: ${describeAddress(address, gidText)}`);
    });
    const result = await pingpong.run();
    const mbits = (result.bytes * 8) / 1e6 / result.seconds;
    say(`${result.bytes} bytes in ${result.seconds.toFixed(2)} seconds = ${mbits.toFixed(2)} Mbit/sec`);
    say(
      `${result.iterations} iters in ${result.seconds.toFixed(2)} seconds = ${((result.seconds * 1e6) / result.iterations).toFixed(2)} usec/iter`,
    );
    if (flags.json) console.log(JSON.stringify(result));
  } finally {
    await new Promise((resolve) => setTimeout(resolve, flags.linger));
    await stop();
  }
}
