/** `urnic demo`, as root: what it tells, and what it prints as JSON. */
import { join } from 'node:path';
import t from 'tap';
import { run } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';

t.setTimeout(900_000);
const CLI = join(ROOT, 'dist/daemon/cli.js');
const STORY =
  /SEND of 1 MiB.*verified[\s\S]*WRITE of 1 MiB.*verified[\s\S]*READ of 1 MiB.*verified[\s\S]*CMP_SWAP.*verified[\s\S]*Gb\/s[\s\S]*µs[\s\S]*by vxlan[\s\S]*by translate[\s\S]*by local[\s\S]*each in its own[\s\S]*limited to 1 Gb\/s +(0\.[5-9]|1\.[0-4])\d Gb\/s[\s\S]*cut in[\s\S]*goes on/;

t.test(
  'demo: verifies SEND, WRITE, READ and atomics, and measures',
  { skip: lacks('root', 'unshare', 'ip'), timeout: 400_000 },
  async (t) => {
    t.match(await run([process.execPath, CLI, 'demo'], { timeoutMillis: 300_000 }), { code: 0, output: STORY });
  },
);

t.test('demo: --json prints one object', { skip: lacks('root', 'unshare', 'ip'), timeout: 400_000 }, async (t) => {
  const { code, output } = await run([process.execPath, CLI, 'demo', '--json'], { timeoutMillis: 300_000 });
  t.equal(code, 0);
  t.ok((JSON.parse(output) as { findings: unknown[] }).findings.length >= 8);
});
