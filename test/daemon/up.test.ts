/** The daemon as a user runs it: `urnic up` in a namespace, asked by the other commands, ended by a signal. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseConfiguration } from '../../daemon/configuration.ts';
import { ask as request } from '../../daemon/control-client.ts';
import { Daemon } from '../../daemon/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { type Background, Namespace, run, twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';

t.setTimeout(600_000);
const CLI = join(ROOT, 'dist/daemon/cli.js');
const urnic = (...args: string[]): string[] => [process.execPath, CLI, ...args];

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-up-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function say(socketPath: string, text: string): Promise<string> {
  const socket = connect(socketPath);
  socket.write(text);
  let answer = '';
  socket.on('data', (data) => {
    answer += data;
  });
  await once(socket, 'close');
  return answer;
}

/** 20 messages of a packet each way, and their acknowledgements, as `urnic decode` sees them. */
async function checkCapture(t: Test, trace: string): Promise<void> {
  const { output } = await run(urnic('decode', '--json', trace));
  const packets = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { opcode?: string; icrc?: string });
  t.ok(packets.filter(({ opcode }) => opcode?.startsWith('RC_SEND')).length >= 40, 'every message');
  t.ok(
    packets.every(({ icrc }) => icrc === undefined || icrc === 'ok'),
    'every ICRC is good',
  );
  t.ok(readFileSync(trace).length > 40 * 4096);
}

t.test('daemon: a path that no socket can have is refused, its own and a vRNIC’s', async (t) => {
  const configuration = parseConfiguration('log: silent\nvrnics: [{ name: v, netdev: lo, start: use }]');
  const folder = folderOf(t);
  for (const name of ['s'.repeat(100), `${'d'.repeat(100 - folder.length)}/s`])
    await t.rejects(Daemon.start(configuration, join(folder, name)), { message: /at most 107 octets.*--socket/ });
  t.same(readdirSync(folder), ['d'.repeat(100 - folder.length)]);
});

t.test(
  'daemon: two vRNICs, asked by every command, ended by SIGTERM',
  { skip: lacks('root', 'ip'), timeout: 500_000 },
  async (t) => {
    const folder = folderOf(t);
    const [here, there] = await twoHosts(t);
    const socket = join(folder, 'run', 'control.sock');
    const config = join(folder, 'urnic.yaml');
    writeFileSync(
      config,
      `vrnics:\n  - name: blue\n    netdev: eth0\n  - name: green\n    netdev: eth0\n    namespace: /var/run/netns/${there.name}\n`,
    );
    const daemon = here.spawn(t, urnic('up', '-c', config, '--socket', socket));
    await daemon.matches(/"ready"/, 90_000);
    const ask = async (...args: string[]) => {
      const { code, output } = await run(urnic(...args, '--socket', socket));
      if (code !== 0) throw new Error(output);
      return output;
    };
    t.equal(statSync(socket).mode & 0o777, 0o600, 'only its user may ask');
    t.match(
      await ask('devinfo'),
      /hca_id:\tblue[\s\S]*PORT_ACTIVE[\s\S]*192\.0\.2\.1[\s\S]*hca_id:\tgreen[\s\S]*192\.0\.2\.2/,
    );
    t.match(await ask('link', 'green'), /^link green\/1 state ACTIVE/);
    t.match(await ask('stat', 'blue', '--all'), /link blue\/1 sent_pkts 0 /);
    t.match(await ask('res', 'blue'), /^blue: ctx 0 pd 0/);
    const described = JSON.parse(await ask('devinfo', 'blue', '--json')) as {
      blue: { device: object; port: { activeMtu: number } };
    };
    t.equal(described.blue.port.activeMtu, 5);
    t.notOk('ok' in described.blue.device, 'attributes alone');
    await t.rejects(ask('devinfo', 'red'), { message: /no vRNIC named "red"/ });
    t.match(await say(socket, 'not json\n'), /"ok":false/);
    t.match(await say(socket, '{"op":"reboot"}\n'), /"ok":false.*not a request/);
    t.match(
      await say(socket, '{"op":"addRule","tenant":"a","rule":{"id":"b","action":"deny","source":"10.0.0.0/33"}}\n'),
      /"reason":"rule\.source: must be an address/,
    );
    t.match(await say(socket, 'x'.repeat(70_000)), /at most 65536 octets/);

    const second = await here.run(urnic('up', '-c', config, '--socket', socket));
    t.match(second, { code: 1, output: /another daemon listens/ });
    const beside = await here.run(urnic('up', '-c', config, '--socket', join(folder, 'run', 'other.sock')));
    t.match(beside, { code: 1, output: /vRNIC blue: another daemon has one at .*vrnics\/blue/ });
    t.ok(existsSync(join(folder, 'run', 'vrnics', 'blue', 'uverbs')), 'which stays');
    t.equal(await daemon.stop(), 0, 'SIGTERM ends it well');
    t.notOk(existsSync(socket), 'and its socket is gone');
    t.match(await run(urnic('devinfo', '--socket', socket)), { code: 1, output: /no daemon answers.*urnic up/ });
  },
);

t.test(
  'daemon: an interface that is not there is an error in words, and a dead socket is replaced',
  { skip: lacks('root', 'ip') },
  async (t) => {
    const folder = folderOf(t);
    const [here] = await twoHosts(t);
    const socket = join(folder, 'control.sock');
    const config = join(folder, 'urnic.yaml');
    writeFileSync(config, 'vrnics:\n  - name: blue\n    netdev: nosuch0\n');
    t.match(await here.run(urnic('up', '-c', config, '--socket', socket)), {
      code: 1,
      output: /vRNIC blue: .*nosuch0/,
    });
    const powerless = ['setpriv', '--bounding-set', '-net_raw', ...urnic('devinfo', '--netdev', 'eth0')];
    t.match(await here.run(powerless), { code: 1, output: /CAP_NET_RAW/ });
    writeFileSync(config, 'vrnics:\n  - name: blue\n    netdev: eth0\n');
    const first = here.spawn(t, urnic('up', '-c', config, '--socket', socket));
    await first.matches(/"ready"/);
    await first.stop('SIGKILL');
    t.ok(existsSync(socket), 'a killed daemon leaves its socket');
    writeFileSync(config, 'vrnics:\n  - name: green\n    netdev: eth0\n');
    const next = here.spawn(t, urnic('up', '-c', config, '--socket', socket));
    await next.matches(/"ready"/);
    t.same(readdirSync(join(folder, 'vrnics')), ['green'], 'and its vRNICs are gone');
    t.equal(await next.stop('SIGHUP'), 0, 'its terminal is gone');
    t.notOk(existsSync(socket));
  },
);

t.test(
  'daemon: a tenant’s vRNIC, its VTEP and its interface are in the namespace that it names',
  { skip: lacks('root', 'ip'), timeout: 300_000 },
  async (t) => {
    const folder = folderOf(t);
    const [here, there] = await twoHosts(t);
    await there.ip('link', 'set', 'eth0', 'down');
    await there.ip('link', 'set', 'eth0', 'name', 'far0', 'mtu', '1500', 'up');
    const socket = join(folder, 'control.sock');
    const config = join(folder, 'urnic.yaml');
    const away = `netdev: far0, namespace: /var/run/netns/${there.name}`;
    writeFileSync(
      config,
      `store: { file: ${join(folder, 'store')} }
tenants: [{ name: blue, vni: 100, endpoints: [{ address: 10.0.0.1, host: 192.0.2.1 }] }]
vrnics:
  - { name: far, ${away}, tenant: blue, address: 10.0.0.2 }
  - { name: near, netdev: eth0, tenant: blue, address: 10.0.0.1 }
  - { name: plain, netdev: eth0 }
`,
    );
    const daemon = here.spawn(t, urnic('up', '-c', config, '--socket', socket));
    await daemon.matches(/"ready"/);
    const mtuOf = async (vrnic: string): Promise<number> =>
      ((await request(socket, { op: 'port', vrnic })) as { port: { activeMtu: number } }).port.activeMtu;
    t.match(await request(socket, { op: 'tenants' }), [
      { endpoints: [{ host: '192.0.2.1' }, { address: '10.0.0.2', host: '192.0.2.2' }] },
    ]);
    t.strictSame([await mtuOf('near'), await mtuOf('far'), await mtuOf('plain')], [5, 3, 5], '4096, 1024 and 4096');
    const pingpong = (device: string): string[] =>
      urnic('pingpong', '--device', device, '--socket', socket, '-n', '20', '-g', '1');
    const server = there.spawn(t, pingpong('far'));
    await server.matches(/local address.*10\.0\.0\.2/);
    t.match(await here.run([...pingpong('near'), '192.0.2.2']), { code: 0, output: /20 iters/ });
    t.equal(await server.end(), 0);
    t.match(await run(urnic('tenant', 'set', 'blue', 'mtu=1451', '--socket', socket)), {
      code: 1,
      output: /far0 carries 1450/,
    });
    t.equal(await daemon.stop(), 0);
  },
);

t.test(
  'daemon: vRNICs follow their interface: down and up, another MTU, removed and made anew; and are captured',
  { skip: lacks('root', 'ip'), timeout: 300_000 },
  async (t) => {
    const folder = folderOf(t);
    const [here, there] = await twoHosts(t);
    const socket = join(folder, 'control.sock');
    const config = join(folder, 'urnic.yaml');
    const far = `  - { name: far, netdev: eth0, namespace: /var/run/netns/${there.name} }\n`;
    writeFileSync(config, `vrnics:\n  - { name: near, netdev: eth0 }\n${far}`);
    const daemon = here.spawn(t, urnic('up', '-c', config, '--socket', socket));
    await daemon.matches(/"ready"/);
    const isPort = (wanted: { state?: number; activeMtu?: number }) => async (): Promise<boolean> => {
      const { port } = (await request(socket, { op: 'port', vrnic: 'far' })) as { port: object };
      return Object.entries(wanted).every(([name, value]) => port[name as keyof typeof port] === value);
    };
    await here.ip('link', 'set', 'eth0', 'down');
    t.ok(await eventually(isPort({ state: 1 })), 'no carrier: PORT_DOWN');
    await here.ip('link', 'set', 'eth0', 'up');
    await there.ip('link', 'set', 'eth0', 'mtu', '1500');
    t.ok(await eventually(isPort({ state: 4, activeMtu: 3 })), 'PORT_ACTIVE, path MTU 1024');
    await here.ip('link', 'del', 'eth0');
    t.ok(await eventually(isPort({ state: 1 })), 'no interface');
    await Namespace.join(here, '192.0.2.3/24', there, '192.0.2.4/24', 9000);
    await daemon.matches(/("vrnic":"(near|far)".*"started"[\s\S]*){4}/);
    const pingpong = (device: string): string[] =>
      urnic('pingpong', '--device', device, '--socket', socket, '-n', '20', '-m', '4096');
    const server = there.spawn(t, pingpong('far'));
    await server.matches(/local address.*192\.0\.2\.4/);
    const trace = join(folder, 'trace.pcapng');
    const capture = (file: string): Background => here.spawn(t, urnic('capture', 'near', file, '--socket', socket));
    const killed = capture(join(folder, 'other.pcapng'));
    await killed.matches(/capturing near/);
    t.match(await run(urnic('capture', 'near', trace, '--socket', socket)), {
      code: 1,
      output: /near is being captured already, to .*other\.pcapng/,
    });
    await killed.stop('SIGKILL');
    const isFree = async (): Promise<boolean> =>
      (await run(urnic('capture', 'near', trace, '--seconds', '0', '--socket', socket))).code === 0;
    t.ok(await eventually(isFree), 'a capture ends with its command, killed or not');
    const captured = capture(trace);
    await captured.matches(/capturing near/);
    t.match(await here.run([...pingpong('near'), '192.0.2.4']), { code: 0, output: /20 iters/ });
    t.equal(await server.end(), 0);
    t.equal(await captured.stop('SIGINT'), 0);
    await checkCapture(t, trace);
    const last = capture(trace);
    await last.matches(/capturing near/);
    t.equal(await daemon.stop(), 0, 'which no capture holds up');
    t.equal(await last.end(), 1);
    t.match(last.output, /the daemon has ended/);
  },
);
