/** What holds of every control store. */
import type { Test } from 'tap';
import { type Batch, CompactedError, type ControlStore } from '../../daemon/store/control-store.ts';

/** Batches of a watch until one is of `last` or later. */
export async function collect(store: ControlStore, prefix: string, from: number, last: number): Promise<Batch[]> {
  const abort = new AbortController();
  const seen: Batch[] = [];
  for await (const batch of store.watch(prefix, from, abort.signal)) {
    seen.push(batch);
    if (batch.revision >= last) break;
  }
  abort.abort();
  return seen;
}

export async function conforms(t: Test, store: ControlStore): Promise<void> {
  await t.test('a store: what was put is got and listed, with the revision of its last change', async (t) => {
    const first = (await store.commit([{ key: 'a/1', value: 'one' }]))!;
    const second = (await store.commit([
      { key: 'a/2', value: 'zwei ü' },
      { key: 'b/1', value: '' },
    ]))!;
    t.ok(second > first);
    t.same(await store.get('a/1'), { key: 'a/1', value: 'one', revision: first });
    t.same((await store.get('b/1'))?.value, '');
    t.equal(await store.get('a'), undefined);
    const { entries, revision } = await store.list('a/');
    t.ok(revision >= second);
    t.same(entries.map(({ key, value }) => [key, value]).sort(), [
      ['a/1', 'one'],
      ['a/2', 'zwei ü'],
    ]);
  });

  await t.test('a store: a commit whose condition does not hold changes nothing', async (t) => {
    const { revision } = (await store.get('a/1'))!;
    const stale = [{ key: 'a/1', revision: revision - 1 }];
    t.equal(
      await store.commit(
        [
          { key: 'a/1', value: 'two' },
          { key: 'a/3', value: 'x' },
        ],
        stale,
      ),
      undefined,
    );
    t.equal((await store.get('a/1'))?.value, 'one');
    t.equal(await store.get('a/3'), undefined);
    t.ok(await store.commit([{ key: 'a/1', value: 'two' }], [{ key: 'a/1', revision }]));
    t.equal(await store.commit([{ key: 'a/2' }], [{ key: 'a/2', revision: 0 }]), undefined, '0: there is none');
    t.ok(await store.commit([{ key: 'a/3', value: 'x' }], [{ key: 'a/3', revision: 0 }]));
  });

  await t.test('a store: of many who want the same, one gets it', async (t) => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        store.commit([{ key: 'race', value: String(i) }], [{ key: 'race', revision: 0 }]),
      ),
    );
    t.equal(answers.filter((answer) => answer !== undefined).length, 1);
  });

  await t.test('a store: a watch tells every commit from its revision on, whole and in order', async (t) => {
    const { revision } = await store.list('w/');
    const made: number[] = [];
    for (let i = 0; i < 10; i++) {
      const edits = [
        { key: `w/${i}`, value: String(i) },
        { key: 'other', value: String(i) },
        ...(i > 0 ? [{ key: `w/${i - 1}` }] : []),
      ];
      made.push((await store.commit(edits))!);
    }
    const late = store.commit([{ key: 'w/last', value: 'late' }]);
    const seen = await collect(store, 'w/', revision + 1, (await late)!);
    t.same(
      seen.map((batch) => batch.revision),
      [...made, await late],
    );
    t.same(seen[0]!.edits, [{ key: 'w/0', value: '0' }]);
    t.same(new Set(seen[1]!.edits.map(({ key, value }) => `${key} ${value}`)), new Set(['w/1 1', 'w/0 undefined']));
    t.same(await collect(store, 'w/', made[8]!, made[9]!).then((all) => all.length), 2);
  });

  await t.test('a store: a watch that is aborted ends', async (t) => {
    const abort = new AbortController();
    const { revision } = await store.list('');
    setTimeout(() => abort.abort(), 50);
    for await (const _ of store.watch('', revision + 1, abort.signal)) t.fail('nothing was committed');
    t.pass('it ended');
  });

  await t.test('a store: what is under a lease goes with it, in one commit', async (t) => {
    const lease = await store.lease(30);
    await store.commit([
      { key: 'l/1', value: 'mine', lease },
      { key: 'l/2', value: 'mine', lease },
      { key: 'l/3', value: 'stays' },
    ]);
    const { revision } = (await store.get('l/1'))!;
    await store.commit([{ key: 'l/1', value: 'still mine', lease: 'keep' }], [{ key: 'l/1', revision }]);
    const put = (await store.commit([{ key: 'l/2', value: 'nobody’s now' }]))!;
    await lease.revoke();
    await lease.ended;
    t.equal(await store.get('l/1'), undefined);
    t.equal((await store.get('l/2'))?.value, 'nobody’s now');
    t.ok(await store.get('l/3'));
    t.same((await collect(store, 'l/', put + 1, put + 1))[0]!.edits, [{ key: 'l/1' }]);
  });
}

/** Commits as far back as `from` are known no more. */
export const forgets = async (t: Test, store: ControlStore, from: number): Promise<void> => {
  const told = collect(store, '', from, Infinity);
  t.ok((await told.catch((error: Error) => error)) instanceof CompactedError);
};
