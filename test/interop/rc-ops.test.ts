/** WRITE, READ, atomics and immediate data between a TypeScript program and a C program on a real rxe, both ways. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { must } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { listening, OURS, openLab, PEER } from './lab.ts';
import { watched } from './watched.ts';

const PORT = 18_600;
const MIRROR = join(ROOT, 'dist/test/interop/rc-ops.js');
const LONG = 25_000;

/** GID index, path MTU, and what the peer's packets suffer. */
const ROUNDS = [
  [1, 4096, ''],
  [1, 1024, ''],
  [1, 256, ''],
  [0, 1024, ''],
  [1, 1024, 'loss 1%'],
  [0, 1024, 'loss 5%'],
  [1, 1024, 'duplicate 10%'],
  [0, 1024, 'delay 2ms reorder 25%'],
] as const;

t.setTimeout(1_500_000);

t.test(
  'WRITE, READ, atomics and immediate data with a C program on rxe',
  { skip: lacksPeer() || lacks('gcc', 'tcpdump'), timeout: 900_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-ops-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const built = join(folder, 'rc_ops');
    await must('gcc', '-O1', '-s', '-Wall', '-o', built, join(ROOT, 'test/interop/peer/rc_ops.c'), '-libverbs');
    const lab = await openLab(t);
    const { here, peer } = lab;
    const program = '/tmp/rc_ops';
    await peer.putProgram(program, readFileSync(built));

    for (const [gid, mtu, disturbance] of ROUNDS) {
      const title = `GID ${gid}, path MTU ${mtu}, ${disturbance || 'a quiet wire'}`;
      await t.test(title, { timeout: 900_000 }, async (t) => {
        const seen = await watched(t, lab, async () => {
          await peer.disturbOutgoing(disturbance);
          const args = [String(PORT), String(gid), String(mtu)];
          const serving = peer.exec(`${program} server ${args.join(' ')}`, { timeoutMillis: LONG });
          await peer.listens(PORT);
          const mirror = [process.execPath, MIRROR, 'tap0'];
          const ours = await here.run([...mirror, 'client', PEER, ...args], { timeoutMillis: LONG });
          const served = await serving;
          t.match(ours, { code: 0, output: /ok sum \d+/ }, 'we work on its memory');
          t.equal(served.output.trim(), ours.output.trim(), 'both say the same of it');

          const server = here.spawn(t, [...mirror, 'server', ...args]);
          await listening(here, PORT, server);
          const client = await peer.exec(`${program} client ${OURS} ${args.join(' ')}`, { timeoutMillis: LONG });
          t.match(client, { code: 0, output: /ok sum \d+/ }, 'it works on our memory');
          t.equal(await server.end(LONG), 0);
          t.equal(server.output.trim(), client.output.trim(), 'both say the same of it');
          await peer.disturbOutgoing('');
        });
        t.equal(seen.connections, 2, 'one connection each way');
        t.ok(seen.packets > 500, `${seen.packets} packets judged`);
      });
    }
  },
);
