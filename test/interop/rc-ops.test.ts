/** WRITE, READ, atomics and immediate data between a TypeScript program and a C program on a real rxe, both ways. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { connectionsOf } from '../referee/connections.ts';
import { readFrames } from '../referee/pcap-frames.ts';
import { judge } from '../referee/referee.ts';
import { Capture } from '../support/capture.ts';
import { must } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacksPeer } from '../support/rxe-peer.ts';
import { lacks } from '../support/skip.ts';
import { listening, OURS, openLab, PEER } from './lab.ts';

const PORT = 18_600;
const MIRROR = join(ROOT, 'dist/test/interop/rc-ops.js');
const LONG = 25_000;
const PEER_LINK_LOCAL = 'fe80000000000000505400fffe000001';

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
    const { here, peer } = await openLab(t);
    const program = '/tmp/rc_ops';
    await peer.putProgram(program, readFileSync(built));

    for (const [gid, mtu, disturbance] of ROUNDS) {
      const title = `GID ${gid}, path MTU ${mtu}, ${disturbance || 'a quiet wire'}`;
      await t.test(title, { timeout: 900_000 }, async (t) => {
        const capture = await Capture.start(t, here, 'tap0');
        await peer.disturbOutgoing(disturbance);
        const args = [String(PORT), String(gid), String(mtu)];
        const serving = peer.exec(`${program} server ${args.join(' ')}`, { timeoutMillis: LONG });
        await peer.must(
          `for i in $(seq 400); do ss -Hltn 'sport = :${PORT}' | grep -q . && exit 0; sleep 0.1; done; exit 1`,
        );
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
        t.ok(await capture.end(), 'the capture is whole');
        const frames = readFrames(capture.path);
        const theirs = gid === 1 ? PEER : PEER_LINK_LOCAL;
        const connections = connectionsOf(frames, mtu);
        t.equal(connections.length, 2, 'one connection each way');
        const { violations, packets } = judge(frames, connections);
        t.ok(packets > 500, `${packets} packets judged`);
        // Ours alone: what the peer's packets suffer before they come here looks like its fault, and rxe answers a READ asked again in the midst of the first answer.
        const blamed = violations.filter((text) => !text.includes(`(${theirs} →`));
        t.strictSame(blamed, []);
      });
    }
  },
);
