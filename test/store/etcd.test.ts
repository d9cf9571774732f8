/** The control store in etcd: leases that end with their holder, watches that survive restarts and compaction. */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Batch } from '../../daemon/store/control-store.ts';
import { EtcdStore } from '../../daemon/store/etcd-store.ts';
import { Mirror } from '../../daemon/store/mirror.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { lacks } from '../support/skip.ts';
import { conforms, forgets } from './conformance.ts';

const encode = (text: string): string => Buffer.from(text).toString('base64');

/** `hold`: awaited whenever something has changed. */
async function mirrorOf(t: Test, store: EtcdStore, hold: () => Promise<void> = async () => {}) {
  const batches: Batch[] = [];
  const failures: string[] = [];
  const mirror = await Mirror.start(store, '', {
    changed: async (batch) => {
      batches.push(batch);
      await hold();
    },
    failed: ({ message }) => failures.push(message),
  });
  t.teardown(() => mirror.close());
  return { mirror, batches, failures };
}

t.test('etcd', { skip: lacks('etcd'), timeout: 900_000 }, async (t) => {
  const etcd = await Etcd.here(t);
  let made = 0;
  const newStore = (t: Test, prefix = `test-${made++}/`): EtcdStore => {
    const store = new EtcdStore({ urls: [etcd.url], prefix });
    t.teardown(() => store.close());
    return store;
  };

  await t.test('does what every store does', (t) => conforms(t, newStore(t)));

  await t.test('two prefixes know nothing of each other', async (t) => {
    const [one, two] = [newStore(t, 'one/'), newStore(t, 'two/')];
    await one.commit([{ key: 'k', value: '1' }]);
    t.equal(await two.get('k'), undefined);
    t.same((await two.list('')).entries, []);
  });

  await t.test('a lease whose holder says nothing more ends by itself, and says so', async (t) => {
    const [holder, other] = [newStore(t, 'lease/'), newStore(t, 'lease/')];
    const lease = await holder.lease(2);
    await holder.commit([{ key: 'mine', value: '', lease }]);
    await sleep(5000);
    t.ok(await other.get('mine'), 'as long as it is kept alive it stays');
    await holder.close();
    t.ok(await eventually(async () => (await other.get('mine')) === undefined));
    const short = await holder.lease(2);
    await etcd.ask('/v3/lease/revoke', { ID: short.id });
    await short.ended;
    t.pass('a lease that somebody else ended is noticed');
  });

  await t.test('a mirror goes on after a restart, with what changed meanwhile', async (t) => {
    const store = newStore(t);
    await store.commit([{ key: 'a', value: '1' }]);
    const { mirror, batches, failures } = await mirrorOf(t, store);
    t.equal(mirror.entries.get('a')?.value, '1');
    const before = (await store.commit([{ key: 'a', value: '2' }]))!;
    await mirror.until(before);
    await etcd.restart();
    const after = (await store.commit([{ key: 'b', value: '3' }]))!;
    await mirror.until(after);
    t.same(
      batches.map(({ edits }) => edits),
      [[{ key: 'a', value: '1' }], [{ key: 'a', value: '2' }], [{ key: 'b', value: '3' }]],
      'each change once',
    );
    t.ok(failures.length > 0);
  });

  await t.test('a mirror that slept through a compaction lists anew, and tells what differs', async (t) => {
    const store = newStore(t);
    for (const key of ['kept', 'changed', 'deleted']) await store.commit([{ key, value: 'old' }]);
    let wake = (): void => {};
    let held: Promise<void> = Promise.resolve();
    const { mirror, batches } = await mirrorOf(t, store, () => held);
    held = new Promise((resolve) => {
      wake = resolve;
    });
    await store.commit([{ key: 'nap', value: '' }]);
    t.ok(await eventually(() => batches.length === 2));
    await etcd.restart();
    const direct = newStore(t, `test-${made - 1}/`);
    await direct.commit([{ key: 'changed', value: 'new' }, { key: 'deleted' }]);
    const last = (await direct.commit([{ key: 'changed', value: 'newest' }]))!;
    await etcd.ask('/v3/kv/compaction', { revision: String(last) });
    await forgets(t, direct, 1);
    wake();
    await mirror.until(last);
    t.same(batches.length, 3, 'one batch for all that it missed');
    t.same(mirror.entries.get('changed')?.value, 'newest');
    t.notOk(mirror.entries.has('deleted'));
    t.notOk(batches.slice(2).some(({ edits }) => edits.some(({ key }) => key === 'kept')));
  });

  await t.test('an etcd that is not there is an error in words', async (t) => {
    const store = new EtcdStore({ urls: ['http://127.0.0.1:9'], prefix: 'x/' });
    await t.rejects(store.list(''), { message: /etcd at http:\/\/127\.0\.0\.1:9 does not answer/ });
    const second = new EtcdStore({ urls: ['http://127.0.0.1:9', etcd.url], prefix: 'x/' });
    await t.rejects(second.list(''));
    t.same((await second.list('')).entries, [], 'the next request goes to the next member');
  });

  await t.test('an etcd that wants a password is told it, and again when it has forgotten the token', async (t) => {
    const range = { key: encode('auth/'), range_end: encode('auth0') };
    for (const [path, body] of [
      ['user/add', { name: 'root', password: 'toor' }],
      ['user/grant', { user: 'root', role: 'root' }],
      ['user/add', { name: 'urnic', password: 'secret' }],
      ['role/add', { name: 'tenants' }],
      ['role/grant', { name: 'tenants', perm: { permType: 'READWRITE', ...range } }],
      ['user/grant', { user: 'urnic', role: 'tenants' }],
      ['enable', {}],
    ] as const)
      await etcd.ask(`/v3/auth/${path}`, body);
    const newUser = (password: string, prefix = 'auth/'): EtcdStore => {
      const store = new EtcdStore({ urls: [etcd.url], prefix, credentials: { name: 'urnic', password } });
      t.teardown(() => store.close());
      return store;
    };
    await t.rejects(newStore(t).list(''), { message: /etcd at .* refuses: .*user name is empty/ });
    await t.rejects(newUser('wrong').list(''), { message: /refuses: .*authentication failed/ });
    await t.rejects(newUser('secret', 'theirs/').list(''), { message: /permission denied/ });
    const store = newUser('secret');
    const { mirror } = await mirrorOf(t, store);
    await mirror.until((await store.commit([{ key: 'a', value: '1', lease: await store.lease(30) }]))!);
    await etcd.restart();
    await mirror.until((await store.commit([{ key: 'a', value: '2' }]))!);
    t.equal(mirror.entries.get('a')?.value, '2');
  });
});
