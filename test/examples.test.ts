/** The examples run, and say what they did. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from './support/netns.ts';
import { ROOT } from './support/root.ts';

const LAST_LINES: Record<string, RegExp> = {
  'send-recv': /received 25 octets: hello from the other host\n$/,
  'write-read-atomic': /WRITE: .*0x42\nREAD: .*0x42\nFETCH_ADD: was 40, is 42\nCMP_SWAP: was 42, is 7\n$/,
  'completion-channel': /ten messages, each waited for asleep\n$/,
  'worker-threads': /the worker opened urnic0: up to \d+ QPs, and registered 4096 octets\n$/,
};

t.test('examples: each runs to its end', async (t) => {
  for (const [name, said] of Object.entries(LAST_LINES)) {
    t.match(await run([process.execPath, join(ROOT, `dist/examples/${name}.js`)]), { code: 0, output: said }, name);
  }
});

t.test('examples: none is left out of this test', async (t) => {
  const names = readdirSync(join(ROOT, 'examples')).map((file) => file.replace('.ts', ''));
  t.strictSame(names.filter((name) => name !== 'two-hosts').toSorted(), Object.keys(LAST_LINES).toSorted());
});
