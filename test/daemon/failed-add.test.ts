/** `urnic vrnic add` that fails: of what it began nothing stays, in the daemon or in its store, and what was there before is as it was. */
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import { CutWire } from '../support/cut-wire.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { Background } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';

t.setTimeout(600_000);
const CLI = join(ROOT, 'dist/daemon/cli.js');
const COMMIT = '/v3/kv/txn';
const HERE = '127.0.0.1';
const ELSEWHERE = '127.0.0.2';
/** Root as others are: rights of files count. */
const MODEST = ['setpriv', '--bounding-set', '-dac_override,-dac_read_search', '--'];

interface Endpoint {
  readonly address: string;
  readonly host: string;
}
const textOf = ({ address, host }: Endpoint): string => `${address.split('.').at(-1)}@${host}`;
const encode = (text: string): string => Buffer.from(text).toString('base64');

interface Running {
  readonly folder: string;
  /** Which endpoints tenant blue has, by their last octet: `1@127.0.0.1`. */
  endpoints(): Promise<string>;
  vrnics(): Promise<string[]>;
  /** Undefined, or why it failed. */
  add(name: string, definition: object, more?: object): Promise<string | undefined>;
  command(request: Parameters<typeof ask>[1]): Promise<unknown>;
  readonly daemon: Background;
}

/** A daemon without a vRNIC, and tenant blue with an endpoint on another host. */
async function daemonWith(t: Test, store: string, wrapped: readonly string[] = []): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-failed-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const [config, socket] = [join(folder, 'urnic.yaml'), join(folder, 'run', 'control.sock')];
  writeFileSync(config, `store: ${store.replace('FOLDER', folder)}\ntenants: [{ name: blue, vni: 100 }]\n`);
  const daemon = new Background([...wrapped, process.execPath, CLI, 'up', '-c', config, '--socket', socket]);
  t.teardown(() => daemon.stop());
  await daemon.matches(/"ready"/);
  const command: Running['command'] = (request) => ask(socket, request);
  const endpoint = { address: '10.0.0.9', host: ELSEWHERE, group: 'kept' };
  await command({ op: 'addEndpoint', tenant: 'blue', endpoint });
  return {
    folder,
    daemon,
    command,
    endpoints: async () => {
      const [blue] = (await command({ op: 'tenants' })) as [{ endpoints: Endpoint[] }];
      return blue.endpoints.map(textOf).sort().join();
    },
    vrnics: async () => ((await command({ op: 'vrnics' })) as { name: string }[]).map(({ name }) => name),
    add: async (name, definition, more = {}) => {
      const place = { name, netdev: 'lo', tenant: 'blue', host: HERE, start: 'use', ...definition };
      const added = command({ op: 'addVrnic', definition: place, ...more });
      return added.then(
        () => undefined,
        (error: Error) => error.message,
      );
    },
  };
}

const BEFORE = `9@${ELSEWHERE}`;
const FIRST = `1@${HERE}`;

t.test('a store whose directory cannot be synced: no endpoint without a vRNIC', { skip: lacks('root') }, async (t) => {
  const running = await daemonWith(t, '{ file: FOLDER/store/tenants }', MODEST);
  const store = join(running.folder, 'store');
  chmodSync(store, 0o300);
  t.match(await running.add('w', { address: '10.0.0.1' }), /has the change, and may lose it/);
  t.ok(await eventually(async () => (await running.endpoints()) === BEFORE), await running.endpoints());
  t.match(await running.add('w', { address: '10.0.0.9' }, { take: true }), /has the change, and may lose it/);
  t.ok(await eventually(async () => (await running.endpoints()) === BEFORE), await running.endpoints());
  t.strictSame(await running.vrnics(), []);
  chmodSync(store, 0o700);
  t.equal(await running.add('w', { address: '10.0.0.1' }), undefined);
  t.equal(await running.endpoints(), `${FIRST},${BEFORE}`);
  await running.command({ op: 'deleteVrnic', vrnic: 'w' });
  t.equal(await running.endpoints(), BEFORE);
});

t.test('an interface that is not there: its endpoint goes, or is where it was and as it was', async (t) => {
  const running = await daemonWith(t, '{ file: FOLDER/store/tenants }');
  const described = async () => JSON.stringify(await running.command({ op: 'tenants' }));
  const before = await described();
  const absent = { netdev: 'absent0', start: 'boot' };
  t.match(await running.add('w', { ...absent, address: '10.0.0.1' }), /absent0/);
  t.equal(await described(), before);
  t.match(await running.add('w', { ...absent, address: '10.0.0.9' }, { take: true }), /absent0/);
  t.equal(await described(), before);
  t.strictSame(await running.vrnics(), []);
  t.notOk(existsSync(join(running.folder, 'run', 'vrnics', 'w')));
});

t.test('two of one name at once: one is there, and the other takes nothing of it away', async (t) => {
  const running = await daemonWith(t, '{ file: FOLDER/store/tenants }');
  const answers = await Promise.all([1, 2].map((i) => running.add('w', { address: `10.0.0.${i}` })));
  t.equal(answers.filter((answer) => answer === undefined).length, 1, answers.join());
  t.strictSame(await running.vrnics(), ['w']);
  const winner = answers.indexOf(undefined) + 1;
  t.equal(await running.endpoints(), `${winner}@${HERE},${BEFORE}`);
  const both = await Promise.all(['x', 'y'].map((name) => running.add(name, { address: '10.0.0.7' })));
  t.equal(both.filter((answer) => answer === undefined).length, 1, both.join());
});

t.test('an etcd that is away at times', { skip: lacks('etcd') }, async (t) => {
  const etcd = await Etcd.here(t);
  const wire = await CutWire.before(t, etcd.url);
  /** As `endpoints`, of what etcd has. */
  const kept = async (prefix: string): Promise<string> => {
    const [key, range_end] = [`${prefix}endpoints/`, `${prefix}endpoints0`].map(encode);
    const { kvs = [] } = await etcd.ask<{ kvs?: { value: string }[] }>('/v3/kv/range', { key, range_end });
    const all = kvs.map(({ value }) => JSON.parse(Buffer.from(value, 'base64').toString()));
    return all.map(textOf).join();
  };

  await t.test('answers that are lost: what etcd has taken goes, or is as it was, once it answers', async (t) => {
    const running = await daemonWith(t, `{ etcd: ['${wire.url}'], prefix: lost/, ttl: 60, name: host-1 }`);
    for (const [address, more, spared] of [
      // The first commit says that this host lives, the second is the endpoint's.
      ['10.0.0.1', {}, 1],
      ['10.0.0.9', { take: true }, 0],
    ] as const) {
      let commits = 0;
      wire.isMute = (path) => path === COMMIT && ++commits > spared;
      t.match(await running.add('w', { address }, more), /does not answer/);
      wire.isMute = () => false;
      t.ok(await eventually(async () => (await kept('lost/')) === BEFORE), await kept('lost/'));
      t.ok(await eventually(async () => (await running.endpoints()) === BEFORE), await running.endpoints());
    }
    t.strictSame(await running.vrnics(), []);
    t.equal(await running.add('w', { address: '10.0.0.1' }), undefined, 'it may come again');
    t.equal(await running.endpoints(), `${FIRST},${BEFORE}`);
  });

  await t.test('requests that are lost: the endpoint is not claimed when somebody else adds it', async (t) => {
    const running = await daemonWith(t, `{ etcd: ['${wire.url}'], prefix: cut/, ttl: 60, name: host-1 }`);
    wire.isCut = (path) => path === COMMIT;
    t.match(await running.add('w', { address: '10.0.0.1' }), /does not answer/);
    wire.isCut = () => false;
    const before = wire.seen.length;
    // Then it says that it lives, and takes back what may be on its way.
    const commits = () => wire.seen.slice(before).filter((path) => path === COMMIT).length;
    t.ok(await eventually(() => commits() >= 2));
    await running.command({ op: 'addEndpoint', tenant: 'blue', endpoint: { address: '10.0.0.1', host: HERE } });
    t.equal(await running.endpoints(), `${FIRST},${BEFORE}`);
    await running.daemon.stop();
    t.equal(await kept('cut/'), `${FIRST},${BEFORE}`, 'it does not go with the host');
  });
});
