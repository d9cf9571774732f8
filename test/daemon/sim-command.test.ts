/** `urnic sim` and `urnic fuzz`, as a user runs them. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/root.ts';

const CLI = join(ROOT, 'dist/daemon/cli.js');

const sim = (...argv: readonly string[]) =>
  spawnSync(process.execPath, [CLI, 'sim', ...argv], { encoding: 'utf8', maxBuffer: 2 ** 28 });

t.test('urnic sim: runs seeds and gives their totals', (t) => {
  const { status, stdout } = sim('--seeds', '3', '--from', '7', '--json');
  t.equal(status, 0);
  const totals = JSON.parse(stdout);
  t.match(totals, { mode: 'safety', from: 7, seeds: 3, failures: [] });
  t.ok(totals.packets > 100);
  t.end();
});

t.test('urnic sim --replay: prints the packets of one seed, the same each time', (t) => {
  const [once, again] = [sim('--replay', '3', '--mode', 'liveness'), sim('--replay', '3', '--mode', 'liveness')];
  t.equal(once.status, 0);
  t.match(once.stdout, /PSN/i);
  t.match(once.stdout, /# nothing was broken\n$/);
  t.equal(once.stdout, again.stdout);
  t.end();
});

t.test('urnic sim --transport: each has its own packets', (t) => {
  for (const [transport, opcode] of [
    ['rc', 'RC_'],
    ['uc', 'UC_'],
    ['ud', 'UD_'],
  ] as const) {
    const { status, stdout } = sim('--transport', transport, '--replay', '9');
    t.equal(status, 0);
    t.match(stdout, opcode);
    t.notMatch(stdout, opcode === 'UD_' ? 'RC_' : 'UD_');
  }
  t.match(sim('--transport', 'cm', '--replay', '9').stdout, /\bREQ\b.*\bREP\b.*\bRTU\b/s);
  t.not(sim('--transport', 'xrc').status, 0);
  t.end();
});

t.test('urnic sim: refuses what is no seed', (t) => {
  const { status, stderr } = sim('--from', '-1x');
  t.not(status, 0);
  t.match(stderr, /--from/);
  t.end();
});

t.test('urnic fuzz: the same frames for the same seed, and what became of them', (t) => {
  const fuzz = (...argv: readonly string[]) =>
    spawnSync(process.execPath, [CLI, 'fuzz', ...argv], { encoding: 'utf8' });
  const [once, again] = [fuzz('--frames', '2000', '--seed', '9'), fuzz('--frames', '2000', '--seed', '9')];
  t.equal(once.status, 0, once.stderr);
  t.match(JSON.parse(once.stdout), { frames: 2000, counters: { rcvd_pkts: Number } });
  t.equal(once.stdout, again.stdout);
  t.match(fuzz('--frames', 'x'), { status: 1, stderr: /--frames/ });
  t.end();
});
