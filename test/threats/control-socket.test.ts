/** Threats to the daemon's control socket: SPEC-CHECKLIST §4.5, T-25 and T-50. */
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { connect } from 'node:net';
import t from 'tap';
import { eventually } from '../support/eventually.ts';
import { run, twoHosts } from '../support/netns.ts';
import { Random } from '../support/sim/random.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const LINES = 2000;
const FLOOD = 300;

/** What the daemon says to these octets until it hangs up; half-closed when `ends`. */
async function say(path: string, octets: string | Buffer, ends = true): Promise<string> {
  const socket = connect(path);
  let answer = '';
  socket.on('error', () => {});
  socket.on('end', () => socket.end());
  socket.on('data', (data) => {
    answer += data;
  });
  if (ends) socket.end(octets);
  else socket.write(octets);
  await new Promise((resolve) => socket.on('close', resolve));
  return answer;
}

const OPERATIONS = [
  'list',
  'device',
  'port',
  'statistics',
  'resources',
  'tenants',
  'connections',
  'addRule',
  'deleteRule',
  'addEndpoint',
  'deleteEndpoint',
  'reboot',
  '__proto__',
  'constructor',
  'toString',
];
const VALUES: readonly unknown[] = [
  null,
  0,
  -1,
  2 ** 53,
  '',
  'v',
  'blue',
  '__proto__',
  '../../etc/passwd',
  '\u0000',
  'x'.repeat(5000),
  [],
  {},
  { __proto__: { ok: true } },
  { id: 'a', action: 'deny' },
  { address: '10.0.0.9', host: '::' },
];

function line(random: Random): string {
  const keys = ['tenant', 'vrnic', 'key', 'rule', 'endpoint', '__proto__', 'file'].filter(() => random.chance(0.4));
  const body = { op: random.pick(OPERATIONS), ...Object.fromEntries(keys.map((key) => [key, random.pick(VALUES)])) };
  const text = JSON.stringify(body);
  if (random.chance(0.7)) return text;
  const octets = Buffer.from(text);
  for (let flips = 1 + random.below(3); flips > 0; flips--) octets[random.below(octets.length)] = random.below(256);
  return octets.toString('latin1').replaceAll('\n', ' ');
}

t.test('the control socket', { skip: lacks('root', 'ip'), timeout: 600_000 }, async (t) => {
  const [here] = await twoHosts(t);
  const host = await UrnicHost.start(t, here);
  const alive = async (): Promise<void> => {
    t.match(JSON.parse(await say(host.socket, '{"op":"list"}\n')), { ok: true, value: ['v'] });
  };

  await t.test(
    'T-50: it is its user’s alone, in a folder where nobody else may put one, and nothing listens on TCP',
    async (t) => {
      t.equal(statSync(host.socket).mode & 0o777, 0o600);
      const { output } = await here.run(['ss', '-Hltn']);
      t.equal(output.trim(), '');
      const other = ['setpriv', '--reuid', '65534', '--clear-groups', 'nc', '-N', '-U', host.socket];
      const { code } = await run(other, { input: '{"op":"list"}\n' });
      t.not(code, 0, 'another user cannot connect');
    },
  );

  await t.test(`T-25: ${LINES} lines of nonsense are answered in one line each, and change nothing`, async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const random = new Random(seed);
    let refused = 0;
    for (let i = 0; i < LINES; i += 8) {
      const lines = Array.from({ length: 8 }, () => line(random));
      const answers = await Promise.all(lines.map((text) => say(host.socket, `${text}\n`)));
      for (const [k, answer] of answers.entries()) {
        const parsed = JSON.parse(answer || 'null') as { ok: boolean } | null;
        if (parsed === null) t.fail(`seed ${seed}: no answer to ${lines[k]}`);
        else if (!parsed.ok) refused++;
      }
    }
    t.ok(refused > LINES / 2, `${refused} refused`);
    t.notOk('ok' in Object.prototype);
    await alive();
  });

  await t.test('T-25: too long, too deep, not ended, ended at once, binary', async () => {
    const deep = `{"op":${'['.repeat(30_000)}${']'.repeat(30_000)}}\n`;
    t.match(await say(host.socket, deep), /"ok":false/);
    t.match(await say(host.socket, 'x'.repeat(1 << 20), false), /at most/);
    t.equal(await say(host.socket, ''), '');
    t.equal(await say(host.socket, '{"op":"list"'), '');
    t.match(await say(host.socket, Buffer.from([0xff, 0xfe, 0, 1, 10])), /"ok":false/);
    t.match(
      await say(host.socket, '{"op":"list"}\n{"op":"list"}\n'),
      /^\{"ok":true[^\n]*\n$/,
      'one answer, to the first',
    );
    await alive();
  });

  await t.test(`T-25: ${FLOOD} connections that say nothing do not keep others out for ever`, async (t) => {
    const sockets = Array.from({ length: FLOOD }, () => connect(host.socket).on('error', () => {}));
    await Promise.all(sockets.map((socket) => once(socket, 'connect').catch(() => {})));
    for (const socket of sockets) socket.destroy();
    const answers = (): Promise<boolean> => say(host.socket, '{"op":"list"}\n').then((answer) => answer !== '');
    t.ok(await eventually(answers));
    await alive();
  });
  t.equal(host.daemon.child.exitCode, null);
});
