/** Copies between arenas, registered or not. */
import fc from 'fast-check';
import t from 'tap';
import { registerArena } from '../../wire/arena.ts';
import { chooseCopy, copy } from '../../wire/copy.ts';

const BYTES = 8192;

t.test('copy: does what set does, at every length and place, and touches nothing else', async (t) => {
  const source = new Uint8Array(new SharedArrayBuffer(BYTES)).map((_, i) => i * 37);
  for (const isRegistered of [true, false]) {
    const shared = new Uint8Array(new SharedArrayBuffer(BYTES));
    shared.set(source);
    const target = new Uint8Array(new SharedArrayBuffer(BYTES));
    if (isRegistered) for (const arena of [shared, target]) registerArena(arena);
    const place = fc.nat(BYTES / 2);
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(place, place, fc.nat(BYTES / 2), (from, at, length) => {
          target.fill(0xee);
          copy(shared, from, target, at, length);
          const expected = new Uint8Array(BYTES).fill(0xee);
          expected.set(source.subarray(from, from + length), at);
          return Buffer.compare(target, expected) === 0;
        }),
      ),
    );
  }
});

t.test('copy: never leaves either array', async (t) => {
  const arena = new Uint8Array(new SharedArrayBuffer(100));
  registerArena(arena);
  for (const [from, at, length] of [
    [0, 0, 101],
    [50, 0, 51],
    [0, 50, 51],
    [-1, 0, 60],
    [0, -1, 60],
    [0, 0, -1],
  ] as const) {
    t.throws(() => copy(arena, from, arena, at, length), RangeError);
  }
});

t.test('copy: is the same by JavaScript, where the C library is found too slow', async (t) => {
  // A clock on which every first of two copies takes ten times as long.
  let calls = 0;
  let time = 0;
  chooseCopy(() => {
    time += calls++ % 3 === 1 ? 10 : 1;
    return time;
  });
  t.equal(calls, 24, 'it was tried');
  const source = new Uint8Array(new SharedArrayBuffer(BYTES)).map((_, i) => i * 37);
  const [from, to] = [0, 1].map(() => new Uint8Array(new SharedArrayBuffer(BYTES))) as [Uint8Array, Uint8Array];
  from.set(source);
  for (const arena of [from, to]) registerArena(arena);
  copy(from, 100, to, 200, 4000);
  t.same(to.subarray(200, 4200), source.subarray(100, 4100));
  t.same(to.subarray(0, 200), new Uint8Array(200));
});
