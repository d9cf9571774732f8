/**
 * urnic beside the kernel's own rxe on the same kernel and cores: both inside the virtual machine that the interoperability tests boot (software emulation: read the
 * ratios). rxe talks to itself, which spares it the wire; so does urnic, and crosses a veth pair besides. `node dist/bench/vm.js [--json FILE]`, as root, after
 * `npm run build`.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Namespace } from '../test/support/netns.ts';
import { ROOT } from '../test/support/root.ts';
import { lacksPeer, RxePeer } from '../test/support/rxe-peer.ts';

const PROGRAMS = { WRITE: 'ib_write_bw', READ: 'ib_read_bw', SEND: 'ib_send_bw' } as const;
const SIZES = [4096, 65_536, 1_048_576];
const UNDER_WAY_BYTES = 24 << 20;
const PATIENCE_MILLIS = 240_000;
/** Of each figure of a vRNIC that talks to itself, and before it, for V8 compiles slowly in there. */
const SECONDS = 2;
const WARM_UP_SECONDS = 5;

/** MB/s of perftest between two processes in the machine; NaN when it says nothing. */
async function rxeBandwidth(peer: RxePeer, program: string, bytes: number): Promise<number> {
  const count = Math.max(20, Math.min(2000, UNDER_WAY_BYTES / bytes));
  const options = `-d rxe0 -x 1 -m 4096 -F -s ${bytes} -n ${count} --report_gbits`;
  const { output } = await pair(peer, `${program} ${options}`);
  const row = output.split('\n').find((line) => line.trim().startsWith(`${bytes} `));
  return (Number(row?.trim().split(/\s+/)[3]) * 1000) / 8;
}

async function rxeLatency(peer: RxePeer): Promise<number> {
  const { output } = await pair(peer, 'ib_write_lat -d rxe0 -x 1 -F -s 64 -n 2000');
  const row = output.split('\n').find((line) => line.trim().startsWith('64 '));
  return Number(row?.trim().split(/\s+/)[4]);
}

/** Figures that a script of ours prints in there. */
async function urnic(peer: RxePeer, script: string): Promise<Record<string, number>> {
  const command = `cd /tmp && unshare -n ${process.execPath} ${join(ROOT, 'dist/bench')}/${script}`;
  const output = await peer.must(command, { timeoutMillis: PATIENCE_MILLIS });
  return JSON.parse(output.trim().split('\n').at(-1)!) as Record<string, number>;
}

const pair = (peer: RxePeer, command: string) =>
  peer.exec(`${command} >/dev/null 2>&1 & sleep 1; ${command} 192.0.2.2; wait`, { timeoutMillis: PATIENCE_MILLIS });

async function main(): Promise<void> {
  const lacking = lacksPeer();
  if (lacking) throw new Error(String(lacking));
  const undo: (() => unknown)[] = [];
  const scope = { teardown: (step: () => unknown) => void undo.unshift(step) };
  try {
    const namespace = await Namespace.create(scope, 'bench-vm');
    await namespace.addTap('tap0', '192.0.2.1/24', 9000);
    const peer = await RxePeer.start(scope, namespace, { address: '192.0.2.2/24', memoryMib: 2048 });
    const rxe: Record<string, number> = {};
    for (const [verb, program] of Object.entries(PROGRAMS)) {
      for (const bytes of SIZES) rxe[`${verb} ${bytes}`] = await rxeBandwidth(peer, program, bytes);
    }
    rxe['WRITE 64, one way, µs'] = await rxeLatency(peer);
    console.error('rxe', rxe);
    const itself = await urnic(peer, `itself.js ${SECONDS} ${WARM_UP_SECONDS}`);
    console.error('urnic, to itself', itself);
    const veth = await urnic(peer, 'vm-lines.js');
    const rows = Object.keys(itself).map((what) => ({
      what,
      rxe: rxe[what]!,
      itself: itself[what]!,
      ratio: itself[what]! / rxe[what]!,
      veth: veth[what]!,
    }));
    console.table(rows);
    const at = process.argv.indexOf('--json');
    if (at !== -1) writeFileSync(process.argv[at + 1]!, `${JSON.stringify(rows, null, 2)}\n`);
  } finally {
    for (const step of undo) await step();
  }
}

await main();
