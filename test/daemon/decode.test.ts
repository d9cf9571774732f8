/** `urnic decode` on the golden captures, as a user runs it. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';

const CLI = join(ROOT, 'dist/daemon/cli.js');
const GOLDEN = join(ROOT, 'test/golden');
const urnic = (...args: string[]) => run([process.execPath, CLI, ...args]);

t.test('decode: every RoCE packet of every golden capture has a good ICRC', async (t) => {
  for (const name of readdirSync(GOLDEN).filter((file) => file.endsWith('.pcap'))) {
    const { code, output } = await urnic('decode', '--json', join(GOLDEN, name));
    t.equal(code, 0, name);
    const packets = output
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { opcode?: string; icrc?: string; psn?: number });
    const roce = packets.filter(({ opcode }) => opcode !== undefined);
    t.ok(
      roce.length > 0 && roce.every(({ icrc, psn }) => icrc === 'ok' && typeof psn === 'number'),
      `${name}: ${roce.length} RoCE packets`,
    );
  }
});

t.test('decode: VXLAN is looked through', async (t) => {
  const { output } = await urnic('decode', '--json', join(GOLDEN, 'vxlan_write_bw.pcap'));
  const inner = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ vni }) => vni === 5001);
  t.ok(
    inner.some(
      ({ opcode, source }) => String(opcode).startsWith('RC_RDMA_WRITE') && String(source).startsWith('10.1.1.'),
    ),
  );
});

t.test('decode: without --json, one line a packet', async (t) => {
  const { output } = await urnic('decode', join(GOLDEN, 'rc_pingpong.pcap'));
  t.match(output.split('\n')[0], /192\.0\.2\.3 > 192\.0\.2\.2 {2}RC_SEND_FIRST .*PSN \d+ .*ICRC ok/);
});

t.test('decode: a file that is no capture, or is not there, is an error in words', async (t) => {
  const noCapture = await urnic('decode', join(ROOT, 'package.json'));
  t.equal(noCapture.code, 1);
  t.match(noCapture.output, /^urnic: /);
  const absent = await urnic('decode', join(ROOT, 'no-such.pcap'));
  t.equal(absent.code, 1);
  t.match(absent.output, /no such file/);
});
