/** WRITE, READ and atomics between a TypeScript program and a C program on a real rxe, both ways. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { must } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { listening, OURS, openLab, PEER } from './lab.ts';

const PORT = 18_600;
const MIRROR = join(ROOT, 'dist/test/interop/rc-ops.js');
const LONG = 25_000;

t.setTimeout(600_000);

t.test(
  'WRITE, READ and atomics with a C program on rxe',
  { skip: lacksPeer() || lacks('gcc'), timeout: 600_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-ops-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const built = join(folder, 'rc_ops');
    await must('gcc', '-O1', '-s', '-Wall', '-o', built, join(ROOT, 'test/interop/peer/rc_ops.c'), '-libverbs');
    const { here, peer } = await openLab(t);
    const program = '/tmp/rc_ops';
    await peer.putProgram(program, readFileSync(built));

    for (const [gid, mtu] of [
      [1, 4096],
      [1, 1024],
      [1, 256],
      [0, 1024],
    ] as const) {
      await t.test(`GID ${gid}, path MTU ${mtu}`, { timeout: 300_000 }, async (t) => {
        const serving = peer.exec(`${program} server ${PORT} ${gid} ${mtu}`, { timeoutMillis: LONG });
        await peer.must(
          `for i in $(seq 100); do ss -Hltn 'sport = :${PORT}' | grep -q . && exit 0; sleep 0.1; done; exit 1`,
        );
        const ours = await here.run(
          [process.execPath, MIRROR, 'tap0', 'client', PEER, String(PORT), String(gid), String(mtu)],
          { timeoutMillis: LONG },
        );
        const theirs = await serving;
        t.match(ours, { code: 0, output: /ok sum \d+/ }, 'we work on its memory');
        t.equal(theirs.output.trim(), ours.output.trim(), 'both say the same of it');

        const server = here.spawn(t, [
          process.execPath,
          MIRROR,
          'tap0',
          'server',
          String(PORT),
          String(gid),
          String(mtu),
        ]);
        await listening(here, PORT, server);
        const client = await peer.exec(`${program} client ${OURS} ${PORT} ${gid} ${mtu}`, { timeoutMillis: LONG });
        t.match(client, { code: 0, output: /ok sum \d+/ }, 'it works on our memory');
        t.equal(await server.end(LONG), 0);
        t.equal(server.output.trim(), client.output.trim(), 'both say the same of it');
      });
    }
  },
);
