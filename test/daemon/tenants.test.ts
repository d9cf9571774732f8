/** What commands may make of a tenant. */
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { parseConfiguration, type TenantText } from '../../daemon/configuration.ts';
import type { ControlStore } from '../../daemon/store/control-store.ts';
import { EmbeddedStore } from '../../daemon/store/embedded-store.ts';
import { EtcdStore } from '../../daemon/store/etcd-store.ts';
import { TenantDirectory } from '../../daemon/tenant-directory.ts';
import { edited } from '../../daemon/tenant-edits.ts';
import { describeTenant } from '../../daemon/tenants.ts';
import type { Tenant } from '../../vswitch/model.ts';
import { CutWire } from '../support/cut-wire.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { lacks } from '../support/skip.ts';

const textsOf = (yaml: string): TenantText[] =>
  parseConfiguration(`tenants:${yaml}\nvrnics: [{ name: a, netdev: lo }]`).tenants;
const BLUE = `
  - { name: blue, vni: 100, endpoints: [{ address: fd00::1, host: 192.0.2.1 }] }`;

async function newDirectory(store: Promise<ControlStore> = EmbeddedStore.open()) {
  const told: Tenant[][] = [];
  const complaints: string[] = [];
  const directory = await TenantDirectory.open(await store, {
    changed: async (tenants) => {
      told.push([...tenants]);
      return tenants.length;
    },
    complained: (reason) => complaints.push(reason),
  });
  const described = () => directory.tenants.map(describeTenant);
  return { directory, told, complaints, described, store: await store };
}

t.test('an endpoint is deleted by any way of writing its address', async (t) => {
  const [blue] = textsOf(BLUE);
  t.equal(edited('blue', blue, 'deleteEndpoint', { key: 'FD00:0::1' })?.endpoints.length, 0);
});

t.test('an endpoint that collides is refused, and the tenant stays as it was', async (t) => {
  const { directory, described, told } = await newDirectory();
  await directory.declare('this', textsOf(BLUE));
  const before = told.length;
  for (const [endpoint, message] of [
    [{ address: 'fd00::1:0:0', host: '192.0.2.2' }, /have MAC/],
    [{ address: 'fd00::2', host: '2001:db8::2' }, /two families/],
  ] as const)
    await t.rejects(directory.change('blue', 'addEndpoint', { endpoint }), { message });
  t.match(described(), [{ endpoints: [{ address: 'fd00::1' }] }]);
  t.equal(told.length, before);
  t.equal(await directory.change('blue', 'addEndpoint', { endpoint: { address: 'fd00::1', host: '192.0.2.9' } }), 1);
  t.match(described(), [{ endpoints: [{ address: 'fd00::1', host: '192.0.2.9' }] }]);
  await directory.close();
});

t.test('an interface is one endpoint’s alone, of all tenants', async (t) => {
  const { directory, described } = await newDirectory();
  const veth = { address: '10.0.0.1', host: '192.0.2.1', kind: 'veth', netdev: 'c0' } as const;
  await directory.declare('this', textsOf('\n  - { name: blue, vni: 100 }\n  - { name: red, vni: 200 }'));
  await directory.change('blue', 'addEndpoint', { endpoint: veth });
  await t.rejects(directory.change('red', 'addEndpoint', { endpoint: { ...veth, address: '10.0.0.2' } }), {
    message: /^endpoints 10\.0\.0\.1 of tenant blue and 10\.0\.0\.2 of tenant red are both interface c0 on 192/,
  });
  for (const endpoint of [
    { ...veth, netdev: 'c1' },
    { ...veth, address: '10.0.0.2', namespace: '/run/netns/x' },
    { ...veth, address: '10.0.0.3', host: '192.0.2.2' },
  ])
    await directory.change('red', 'addEndpoint', { endpoint });
  t.match(described(), [{ endpoints: { length: 1 } }, { endpoints: { length: 3 } }]);
  await directory.close();
});

t.test('tenants are added, changed and deleted by commands; what cannot be is refused in words', async (t) => {
  const { directory, described, told } = await newDirectory();
  await directory.declare('this', textsOf(BLUE));
  await directory.change('red', 'addTenant', { settings: { vni: 200 } });
  await directory.change('red', 'addRule', {
    rule: { ...RULE, id: 'wall' },
  });
  for (const [name, op, change, message] of [
    ['red', 'addTenant', { settings: { vni: 300 } }, /a tenant named red already/],
    ['green', 'addTenant', { settings: { vni: 200 } }, /VNI 200 both/],
    ['green', 'addTenant', { settings: { vni: 0 } }, /^vni: /],
    ['green', 'addTenant', { settings: { vni: 300, colour: 'green' } }, /colour/],
    ['green', 'setTenant', { settings: { vni: 300 } }, /no tenant named "green"/],
    ['red', 'addRule', { rule: { ...RULE, id: 'wall' } }, /a rule wall already/],
    ['red', 'deleteRule', { key: 'none' }, /no rule none/],
  ] as const)
    await t.rejects(directory.change(name, op, change), { message }, `${op} ${name}`);
  await directory.change('red', 'setTenant', { settings: { vni: 201 } });
  await directory.change('green', 'addTenant', { settings: { vni: 200 } });
  t.match(described(), [{ name: 'blue' }, { name: 'red', vni: 201, rules: [{ id: 'wall' }] }, { name: 'green' }]);
  await directory.change('blue', 'deleteTenant', {});
  t.match(told.at(-1), [{ name: 'blue', endpoints: [] }], 'its vRNICs are told that nobody is there');
  t.equal(directory.find('blue'), undefined);
  await directory.change('blue', 'addTenant', { settings: { vni: 100 } });
  t.match(directory.find('blue'), { endpoints: [], rules: [] }, 'nothing of the deleted one is left');
  await directory.close();
});
const RULE = { priority: 100, action: 'deny', source: 'any', destination: 'any' } as TenantText['rules'][number];

t.test('many change one tenant at once: nothing is lost', async (t) => {
  const one = await newDirectory();
  const two = await newDirectory(Promise.resolve(one.store));
  await one.directory.declare('this', textsOf(BLUE));
  await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      (i % 2 ? one : two).directory
        .change('blue', 'addEndpoint', { endpoint: { address: `fd00::${i + 2}`, host: '192.0.2.2' } })
        .catch((error: Error) => t.fail(error.message)),
    ),
  );
  await one.directory.change('blue', 'addRule', { rule: { ...RULE, id: 'last' } });
  t.equal(one.directory.find('blue')?.endpoints.length, 21);
  await Promise.all([one.directory.close(), two.directory.close()]);
});

t.test('what a file declares: its changes count, and so do those of commands', async (t) => {
  const { directory, described, told } = await newDirectory();
  const rule = (id: string, priority: number): string => `{ id: ${id}, priority: ${priority}, action: deny }`;
  const file = (rules: string): TenantText[] => textsOf(`${BLUE.replace(' }', `}`).slice(0, -2)}, rules: [${rules}] }`);
  await directory.declare('this', file(`${rule('a', 1)}, ${rule('b', 1)}`));
  await directory.change('blue', 'deleteRule', { key: 'a' });
  await directory.change('blue', 'addRule', { rule: { ...RULE, id: 'c' } });
  const before = told.length;
  await directory.declare('this', file(`${rule('a', 1)}, ${rule('b', 1)}`));
  t.equal(told.length, before, 'the same file again changes nothing');
  await directory.declare('this', file(`${rule('a', 1)}, ${rule('b', 2)}, ${rule('d', 4)}`));
  t.match(described(), [{ rules: [{ id: 'b', priority: 2 }, { id: 'c' }, { id: 'd' }] }]);
  await directory.declare('other', file(`${rule('b', 9)}`));
  t.match(described(), [{ rules: [{ id: 'b', priority: 2 }, {}, {}] }], 'a host that comes later takes what is there');
  await directory.declare('this', []);
  t.match(described(), [{ rules: [{ id: 'b' }, { id: 'c' }] }], 'what another host declares stays');
  await directory.declare('other', []);
  t.same(described(), [], 'with what commands gave it');
  await directory.declare('this', textsOf(BLUE));
  await t.rejects(directory.declare('other', textsOf('\n  - { name: teal, vni: 100 }')), {
    message: /the configuration and the control store disagree: .*VNI 100 both/,
  });
  await directory.close();
});

t.test('what the store has and cannot be is refused, said, and taken once it can', async (t) => {
  const { directory, complaints, store } = await newDirectory();
  await directory.declare('this', textsOf(BLUE));
  const put = async (key: string, value?: string) => {
    const revision = (await store.commit([value === undefined ? { key } : { key, value }]))!;
    await directory.change('blue', 'setTenant', { settings: {} });
    return revision;
  };
  await put('rules/blue/odd', 'not JSON');
  t.match(complaints.pop(), /rules\/blue\/odd in the control store is no such entry/);
  await put('tenants/twin', '{"name":"twin","vni":100}');
  t.match(complaints.pop(), /twin stays as it was.*VNI 100/);
  t.equal(directory.find('twin'), undefined);
  await put('endpoints/twin/fd00::7', '{"address":"fd00::7","host":"192.0.2.7"}');
  await directory.change('blue', 'setTenant', { settings: { vni: 101 } });
  t.match(directory.find('twin'), { vni: 100, endpoints: [{}] });
  await directory.close();
});

t.test('of endpoints that went with their host those stay, as lost, that collide with nobody', async (t) => {
  const { directory, store } = await newDirectory();
  const lost = () =>
    (directory.find('blue')?.endpoints ?? [])
      .filter(({ isLost }) => isLost)
      .map(lastOctet)
      .join();
  const lastOctet = ({ address }: { address: Uint8Array }) => address.at(-1);
  const put = (text: { address: string; [more: string]: unknown }, host: string) => ({
    key: `endpoints/blue/${text.address}`,
    value: JSON.stringify({ ...text, host }),
  });
  const say = (name: string, host: string) => ({ key: `hosts/${name}`, value: JSON.stringify({ vteps: [host] }) });
  await directory.change('blue', 'addTenant', { settings: { vni: 100, limit: { rate: '10gbit' } } });
  const theirs = [1, 2, 3, 4, 5].map((i) =>
    put({ address: `10.0.0.${i}`, ...(i === 5 && { limit: { guarantee: '8gbit' } }) }, '192.0.2.1'),
  );
  await store.commit([say('host-1', '192.0.2.1'), ...theirs]);
  await store.commit([{ key: 'hosts/host-1' }, ...theirs.map(({ key }) => ({ key }))]);
  const endpoint = { address: '10.0.0.50', also: ['10.0.0.2'], host: '192.0.2.2' };
  await directory.change('blue', 'addEndpoint', { endpoint });
  await directory.change('blue', 'setTenant', { settings: { limit: { rate: '1gbit' } } });
  t.equal(lost(), '5,4,3,1', 'what it was guaranteed takes nothing from others either');

  const later = [say('host-3', '192.0.2.3'), put({ address: '10.0.0.60', also: ['10.0.0.3'] }, '192.0.2.3')];
  await store.commit(later);
  await store.commit(later.map(({ key }) => ({ key })));
  await directory.change('blue', 'deleteEndpoint', { key: '10.0.0.50' });
  t.equal(lost(), '60,5,4,2,1', 'who was lost later has the address; who was in the way is gone');
  await directory.close();
});

t.test('a tenant with more entries than etcd takes at once', { skip: lacks('etcd'), timeout: 300_000 }, async (t) => {
  const etcd = await Etcd.here(t);
  const wire = await CutWire.before(t, etcd.url);
  const directoryBy = async (url: string) => {
    const store = new EtcdStore({ urls: [url], prefix: 'urnic/' });
    const made = await newDirectory(Promise.resolve(store));
    t.teardown(async () => {
      await made.directory.close();
      await store.close();
    });
    return made;
  };
  const [one, two] = [await directoryBy(wire.url), await directoryBy(etcd.url)];
  const rules = Array.from({ length: 150 }, (_, i) => ({ ...RULE, id: `r${i}` }));
  const endpoints = Array.from({ length: 250 }, (_, i) => ({ address: `10.0.0.${i + 1}`, host: '192.0.2.1' }));
  const add = () => one.directory.change('blue', 'addTenant', { settings: { vni: 100, rules, endpoints } });
  const remove = () => one.directory.change('blue', 'deleteTenant', {});
  const left = async () => (await two.store.list('')).entries.length;
  /** The wire takes so many commits more. */
  const cutAfter = (commits: number): void => {
    let came = 0;
    wire.isCut = (path) => path === '/v3/kv/txn' && came++ >= commits;
  };
  const whole = 1 + 1 + rules.length + endpoints.length;

  await t.test('is added and deleted', async (t) => {
    await add();
    t.equal(await left(), whole);
    t.match(one.directory.find('blue'), { endpoints: { length: 250 }, rules: { length: 150 } });
    await remove();
    t.equal(await left(), 0);
    t.ok(await eventually(() => two.directory.find('blue') === undefined));
    const exposed = two.told.flat().filter((tenant) => tenant.endpoints.length > 0 && tenant.rules.length < 150);
    t.equal(exposed.length, 0, 'no endpoint was there without all rules');
    t.ok(two.told.length > 4, 'though it went by many commits');
  });

  await t.test('nothing is lost of what somebody else puts meanwhile', async (t) => {
    const added = add();
    while (!two.directory.find('blue')) await setImmediate();
    await two.directory.change('blue', 'addEndpoint', { endpoint: { address: '10.0.1.1', host: '192.0.2.2' } });
    await added;
    t.equal(await left(), whole + 1);
  });

  await t.test('what was cut off in its middle is repaired by doing it again', async (t) => {
    for (const commits of [1, 2, 4]) {
      cutAfter(commits);
      await t.rejects(remove(), { message: /does not answer/ });
      t.ok((await left()) < whole);
      t.ok(await two.store.get('tenants/blue'), 'it has its name and its VNI to the last');
      cutAfter(Infinity);
      await remove();
      t.equal(await left(), 0);

      cutAfter(commits);
      await t.rejects(add(), { message: /does not answer/ });
      cutAfter(Infinity);
      await t.rejects(add(), { message: /a tenant named blue already/ });
      await remove();
      await add();
      t.equal(await left(), whole);
    }
  });
});
