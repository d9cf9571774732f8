/** A daemon with a store in a file: what commands made of its tenants is there at its next start. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseConfiguration } from '../../daemon/configuration.ts';
import { ask, type ControlRequest } from '../../daemon/control-client.ts';
import { Daemon } from '../../daemon/daemon.ts';
import { eventually } from '../support/eventually.ts';
import { Background } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';

const CLI = join(ROOT, 'dist/daemon/cli.js');
const VRNICS = 'vrnics: [{ name: v, netdev: lo, start: use }]';

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-kept-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const start = (folder: string, tenants: string, socket = 'control.sock'): Promise<Daemon> => {
  const yaml = `log: silent\nstore: { file: ${join(folder, 'store')} }\ntenants: ${tenants}\n${VRNICS}`;
  return Daemon.start(parseConfiguration(yaml), join(folder, socket));
};

t.test('what commands made of tenants is there at the next start, and what the file says anew', async (t) => {
  const folder = folderOf(t);
  const command = (request: ControlRequest): Promise<unknown> => ask(join(folder, 'control.sock'), request);
  const first = await start(folder, '[{ name: blue, vni: 100, rules: [{ id: a, action: deny }] }]');
  await command({ op: 'addTenant', tenant: 'red', settings: { vni: 200 } });
  await command({ op: 'addEndpoint', tenant: 'red', endpoint: { address: '10.0.0.1', host: '192.0.2.1' } });
  await command({ op: 'setLimit', tenant: 'red', key: '10.0.0.1', limit: { rate: '1gbit' } });
  await command({ op: 'setTenant', tenant: 'red', settings: { underlay: 'vxlan' } });
  await command({ op: 'deleteRule', tenant: 'blue', key: 'a' });
  await t.rejects(
    command({ op: 'moveEndpoint', tenant: 'red', endpoint: { address: '10.0.0.9', host: '192.0.2.1' } }),
    {
      message: /no endpoint 10\.0\.0\.9/,
    },
  );
  await t.rejects(start(folder, '[]', 'other.sock'), { message: /another daemon uses this store/ });
  const before = await command({ op: 'tenants' });
  await first.stop();

  const second = await start(folder, '[{ name: blue, vni: 100, rules: [{ id: a, action: deny }] }]');
  t.same(await command({ op: 'tenants' }), before);
  t.match(before, [
    { name: 'blue', rules: [] },
    { name: 'red', underlay: 'vxlan', endpoints: [{ address: '10.0.0.1', limit: { rate: 1e9 } }] },
  ]);
  await second.stop();

  const third = await start(folder, '[{ name: blue, vni: 100, rules: [{ id: b, action: allow }] }]');
  t.match(await command({ op: 'tenants' }), [{ rules: [{ id: 'b' }] }, { name: 'red' }]);
  await command({ op: 'deleteTenant', tenant: 'red' });
  t.match(await command({ op: 'tenants' }), [{ name: 'blue' }]);
  await third.stop();
});

t.test('a daemon does not start on a damaged store, and says what to do', async (t) => {
  const folder = folderOf(t);
  await (await start(folder, '[{ name: blue, vni: 100 }]')).stop();
  const file = join(folder, 'store');
  writeFileSync(file, readFileSync(file, 'utf8').replace('blue', 'blau'));
  await t.rejects(start(folder, '[]'), { message: /is damaged.*Put a copy back/ });
});

t.test('a store section that cannot be is refused with its line', async (t) => {
  for (const [store, message] of [
    ['{}', /:1: store: give file or etcd/],
    ['{ file: relative }', /store\.file: must be an absolute path/],
    ['{ etcd: [nowhere] }', /store\.etcd\[0\]: must be a URL/],
    ['{ etcd: ["http://192.0.2.1:2379"], user: me }', /user and password go together/],
    ['{ etcd: ["http://192.0.2.1:2379"], ttl: 1 }', /store\.ttl/],
  ] as const)
    t.throws(() => parseConfiguration(`store: ${store}\n${VRNICS}`), { message }, store);
});

t.test('an etcd that is not there: the daemon does not start, and says which', async (t) => {
  const yaml = `log: silent\nstore: { etcd: ['http://127.0.0.1:9'] }\n${VRNICS}`;
  await t.rejects(Daemon.start(parseConfiguration(yaml), join(folderOf(t), 'control.sock')), {
    message: /etcd at http:\/\/127\.0\.0\.1:9 does not answer/,
  });
});

t.test('a store where no directory can be made is refused with the reason', async (t) => {
  const configuration = parseConfiguration(`log: silent\nstore: { file: /proc/nosuch/store }\n${VRNICS}`);
  await t.rejects(Daemon.start(configuration, join(folderOf(t), 'control.sock')), {
    message: /ENOENT.*\/proc\/nosuch/,
  });
});

t.test('a daemon whose etcd never answers is ended by a signal, and leaves no socket', async (t) => {
  const silent = createServer();
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.teardown(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const folder = folderOf(t);
  const [config, socket] = [join(folder, 'urnic.yaml'), join(folder, 'control.sock')];
  writeFileSync(config, `store: { etcd: ['http://127.0.0.1:${port}'] }\n${VRNICS}`);
  const daemon = new Background([process.execPath, CLI, 'up', '-c', config, '--socket', socket]);
  t.teardown(() => daemon.stop('SIGKILL'));
  t.ok(await eventually(() => existsSync(socket)), daemon.output);
  t.not(await daemon.stop('SIGTERM'), 0);
  t.notOk(existsSync(socket));
});
