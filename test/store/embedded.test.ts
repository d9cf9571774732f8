/** The control store inside the daemon: its file is whole and holds what was acknowledged, whenever its writer dies. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { EmbeddedStore } from '../../daemon/store/embedded-store.ts';
import { readStoreFile } from '../../daemon/store/store-file.ts';
import { must } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { collect, conforms, forgets } from './conformance.ts';

const KILLS = 150;
const AT_ONCE = 4;
const NOBODY = 65_534;

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'urnic-store-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test('in memory', async (t) => {
  const store = await EmbeddedStore.open();
  await conforms(t, store);
  for (let i = 0; i < 5000; i++) await store.commit([{ key: 'churn', value: String(i) }]);
  await forgets(t, store, 1);
});

t.test('in a file', async (t) => {
  const file = join(folderOf(t), 'deep', 'store');
  const store = await EmbeddedStore.open(file);
  await conforms(t, store);
  await t.rejects(EmbeddedStore.open(file), { message: /another daemon uses this store/ });
  const lease = await store.lease();
  await store.commit([{ key: 'leased', value: 'while we live', lease }]);
  const { revision, entries } = await store.list('');
  await store.close();
  const again = await EmbeddedStore.open(file);
  t.teardown(() => again.close());
  const reread = await again.list('');
  t.equal(reread.revision, revision);
  const byKey = (a: { key: string }, b: { key: string }): number => (a.key < b.key ? -1 : 1);
  t.same([...reread.entries].sort(byKey), entries.filter(({ key }) => key !== 'leased').sort(byKey));
  await forgets(t, again, 1);
});

t.test('a value, a key and a file that are too large are refused, and the rest goes on', async (t) => {
  const file = join(folderOf(t), 'store');
  const store = await EmbeddedStore.open(file);
  t.teardown(() => store.close());
  t.throws(() => store.commit([{ key: 'k'.repeat(2000), value: '' }]), { message: /a key has at most/ });
  const value = 'v'.repeat(1 << 20);
  t.throws(() => store.commit([{ key: 'k', value: `${value}v` }]), { message: /a value has at most/ });
  const edits = Array.from({ length: 16 }, (_, i) => ({ key: `big/${i}`, value }));
  await t.rejects(store.commit(edits), { message: /more than 16 MiB/ });
  t.same((await store.list('')).entries, []);
  t.equal(await store.commit([{ key: 'small', value: 'fits' }]), 1);
  t.equal((await readStoreFile(file)).entries.length, 1);
});

t.test('a full disk refuses a change in words, and has its room back', { skip: lacks('root') }, async (t) => {
  const folder = folderOf(t);
  await must('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder);
  t.teardown(() => must('umount', folder));
  const file = join(folder, 'store');
  const store = await EmbeddedStore.open(file);
  t.teardown(() => store.close());
  await store.commit([{ key: 'a', value: 'there' }]);
  await t.rejects(store.commit([{ key: 'b', value: 'b'.repeat(100_000) }]), { message: /store: ENOSPC/ });
  t.same(readdirSync(folder).sort(), ['store', 'store.lock']);
  t.equal(await store.commit([{ key: 'c', value: 'fits' }]), 2);
  t.same(
    (await readStoreFile(file)).entries.map(({ key }) => key),
    ['a', 'c'],
  );
});

t.test(
  'a directory that cannot be synced: the change is there, and an error says that it may not stay',
  {
    skip: lacks('root'),
  },
  async (t) => {
    const folder = folderOf(t);
    const file = join(folder, 'store');
    const store = await EmbeddedStore.open(file);
    t.teardown(() => store.close());
    await store.commit([{ key: 'a', value: 'old' }]);
    // Its user may write there, and not read: the file can be replaced, the directory not opened.
    chmodSync(folder, 0o300);
    chownSync(folder, NOBODY, NOBODY);
    process.seteuid!(NOBODY);
    const [taken, refused] = await Promise.allSettled([
      store.commit([{ key: 'a', value: 'new' }]),
      store.commit([{ key: 'a', value: 'never' }], [{ key: 'a', revision: 0 }]),
    ]);
    process.seteuid!(0);
    t.match(taken, { status: 'rejected', reason: { message: /store has the change, and may lose it.*EACCES/ } });
    t.same(refused, { status: 'fulfilled', value: undefined });
    t.match(await store.get('a'), { value: 'new', revision: 2 });
    t.same(await readStoreFile(file), await store.list(''), 'as in the file');
    t.same((await collect(store, '', 2, 2))[0]!.edits, [{ key: 'a', value: 'new' }], 'those who watch are told');
    t.equal(await store.commit([{ key: 'b', value: 'next' }]), 3);
  },
);

t.test('a damaged file is refused in words', async (t) => {
  const file = join(folderOf(t), 'store');
  const store = await EmbeddedStore.open(file);
  await store.commit([{ key: 'tenants/blue', value: '{"vni":100}' }]);
  await store.close();
  const whole = readFileSync(file, 'utf8');
  for (const [text, message] of [
    [whole.replace('100', '200'), /is damaged.*urnic\.yaml/],
    [whole.slice(0, -3), /is damaged/],
    ['', /begins with ""/],
    ['{"revision":1}', /not as a store does/],
  ] as const) {
    writeFileSync(file, text);
    await t.rejects(EmbeddedStore.open(file), { message });
  }
  writeFileSync(file, whole);
  const healed = await EmbeddedStore.open(file);
  t.equal((await healed.get('tenants/blue'))?.value, '{"vni":100}');
  await healed.close();
});

/** Commits one number after the other, says each that was acknowledged, until it is killed. */
const WRITER = `
import { writeSync } from 'node:fs';
import { EmbeddedStore } from '${join(ROOT, 'dist/daemon/store/embedded-store.js')}';
const store = await EmbeddedStore.open(process.argv[1]);
const first = Number((await store.get('count'))?.value ?? 0);
for (let i = first + 1; ; i++) {
  await store.commit([{ key: 'count', value: String(i) }, { key: 'n/' + (i % 100), value: 'x'.repeat(i % 3000) }]);
  writeSync(1, i + '\\n');
}`;

/** The last number that it said. */
async function writeAndDie(file: string, millis: number): Promise<number> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', WRITER, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
    // The first word starts the clock: how long a process takes to start is not what is tested.
    if (said.length === data.length) setTimeout(() => child.kill('SIGKILL'), millis);
  });
  await once(child, 'close');
  return Number(said.trimEnd().split('\n').at(-1));
}

t.test(
  `a writer is killed ${KILLS} times: the file is whole, and holds what was acknowledged`,
  { timeout: 1_200_000 },
  async (t) => {
    const folder = folderOf(t);
    let torn = 0;
    let lost = 0;
    let progress = 0;
    const lane = async (name: number): Promise<void> => {
      const file = join(folder, `store-${name}`);
      for (let i = 0; i < KILLS / AT_ONCE; i++) {
        const acknowledged = await writeAndDie(file, Math.random() * 20);
        const found = await readStoreFile(file).catch(() => null);
        const count = Number(found?.entries.find(({ key }) => key === 'count')?.value ?? 0);
        if (found === null) torn++;
        if (count < acknowledged) lost++;
        progress = Math.max(progress, count);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => lane(i)));
    t.equal(torn, 0, 'whole each time');
    t.equal(lost, 0, 'nothing that was acknowledged is lost');
    t.ok(progress >= KILLS / AT_ONCE, 'and each went on where the last had ended');
  },
);
