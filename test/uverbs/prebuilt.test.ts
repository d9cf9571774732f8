/** The shim that ships for machines without a compiler: made of the sources beside it, fit for old C libraries, and what build-native falls back to. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from './lab.ts';

const PREBUILT = join(ROOT, 'native/prebuilt/x86-64/urnic-shim.so');
const octets = readFileSync(PREBUILT);
const isFit = process.arch === 'x64' || 'the prebuilt shim is for x86-64';
const skip = isFit === true ? lacks('root', 'ibv_rc_pingpong') : isFit;

t.test('the prebuilt shim is made of the sources beside it (else: scripts/build-native prebuilt)', async (t) => {
  const sources = ['urnic-shim.c', 'urnic-protocol.h'].map((name) => readFileSync(join(ROOT, 'native', name)));
  const wanted = createHash('sha256').update(Buffer.concat(sources)).digest('hex');
  t.equal(/urnic-shim of ([0-9a-f]{64})/.exec(octets.toString('latin1'))?.[1], wanted);
});

t.test('the prebuilt shim asks for no C library younger than 2.14', async (t) => {
  const versions = [...octets.toString('latin1').matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
  t.ok(versions.length > 0 && Math.max(...versions) <= 14, String(versions));
});

t.test(
  'build-native takes the prebuilt shim where there is no compiler',
  { skip: isFit !== true && isFit },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'urnic-prebuilt-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    for (const part of ['native', 'scripts']) cpSync(join(ROOT, part), join(folder, part), { recursive: true });
    const tools = join(folder, 'tools');
    mkdirSync(tools);
    for (const tool of ['dirname', 'mkdir', 'uname', 'cp', 'mv'])
      symlinkSync(join('/usr/bin', tool), join(tools, tool));
    execFileSync('/bin/bash', [join(folder, 'scripts/build-native')], { env: { PATH: tools } });
    t.strictSame(readFileSync(join(folder, 'dist/native/urnic-shim.so')), octets);
  },
);

t.test('a program runs with the prebuilt shim', { skip, timeout: 300_000 }, async (t) => {
  const [here] = await twoHosts(t);
  const host = await UrnicHost.start(t, here);
  const pingpong = 'ibv_rc_pingpong -d rxe0 -g 1 -c -n 50';
  const script = `${pingpong} & until ${pingpong} 192.0.2.1; do kill -0 $! && sleep 0.2; done; wait $!`;
  const env = ['env', `LD_PRELOAD=${PREBUILT}`, `URNIC_VRNIC=${host.directory}`];
  const { code, output } = await here.run([...env, 'sh', '-ec', script]);
  t.equal(code, 0, output);
  t.match(output, /50 iters in/);
});
