/**
 * Memory of another process, here this one: what is read of it is never older than the last look at the send queues, or the QP's turn, and never beyond the region; what is
 * written to it in one go is all there, or somebody is told.
 */
import t from 'tap';
import { lookAgain } from '../../rnic/memory/posted.ts';
import { isLostBefore, putOffBytes, settlePutOff } from '../../rnic/memory/put-off.ts';
import { beginTurn } from '../../rnic/memory/turn.ts';
import { registerArena } from '../../wire/arena.ts';
import { placeRest } from '../../workers/hosted/placement.ts';
import { Process } from '../../workers/hosted/process.ts';
import { ProcessMemory } from '../../workers/hosted/process-memory.ts';
import { Arena } from '../../workers/linux/arena.ts';
import * as Libc from '../../workers/linux/libc.ts';

const PIDFD_OPEN = 434;
const BYTES = 24 * 4096;
const SEGMENT = 1024;

function setUp(t: { teardown(undo: () => void): void }, start: number, bytes: number) {
  const own = new Arena(BYTES);
  for (let i = 0; i < BYTES; i++) own.bytes[i] = i % 251;
  const pidfd = Libc.syscall2(PIDFD_OPEN, process.pid, 0);
  const someone = new Process(process.pid, pidfd, { now: 0 });
  t.teardown(() => someone.close());
  const memory = new ProcessMemory(someone, own.address + start, bytes);
  const into = new Uint8Array(1 << 17);
  // It names the memory, which nobody else keeps alive: others know its address only.
  const posted = (offset: number, length: number): number[] | false =>
    own.bytes.length > 0 && memory.readPosted(offset, into, 5, length, 0) && [...into.subarray(5, 5 + length)];
  /** A packet's payload, with so much of its message behind it. */
  const packet = (offset: number, length: number, ahead: number): number[] | false =>
    own.bytes.length > 0 && memory.read(offset, into, 5, length, ahead) && [...into.subarray(5, 5 + length)];
  return { own, someone, memory, posted, packet };
}

const expected = (from: number, length: number): number[] => Array.from({ length }, (_, i) => (from + i) % 251);

t.test('payload of many small work requests is what the program wrote, wherever it lies', async (t) => {
  const { posted } = setUp(t, 100, BYTES - 200);
  lookAgain();
  for (let i = 0; i < 100; i++) {
    const length = 1 + ((i * 337) % 4200);
    const offset = (i * 64 + (i % 7) * 1000) % (BYTES - 200 - length);
    t.strictSame(posted(offset, length), expected(100 + offset, length));
  }
});

t.test('what is posted later is read anew; what was posted together may be read at once', async (t) => {
  for (const length of [64, 4096]) {
    const { own, posted } = setUp(t, 0, BYTES);
    const at = 2 * length;
    lookAgain();
    posted(0, length);
    posted(length, length);
    own.bytes.fill(9, at, at + length);
    t.strictSame(posted(at, length), expected(at, length), 'it was read with its neighbours');
    lookAgain();
    t.strictSame(posted(at, length), Array(length).fill(9));
  }
});

t.test('what was written for a peer is read after it', async (t) => {
  const { memory, posted } = setUp(t, 0, BYTES);
  lookAgain();
  posted(0, 64);
  posted(64, 64);
  t.ok(memory.write(128, new Uint8Array(64).fill(7), 0, 64));
  t.strictSame(posted(128, 64), Array(64).fill(7));
  const old = new Uint32Array(2);
  posted(0, 8);
  posted(8, 8);
  t.ok(memory.fetchAdd(16, 0, 1, old));
  t.equal((posted(16, 8) as number[])[0], (expected(16, 1)[0]! + 1) % 256);
});

t.test('a region ends where it ends, whatever lies around it', async (t) => {
  const { posted } = setUp(t, 64, 256);
  lookAgain();
  t.strictSame(posted(0, 64), expected(64, 64));
  t.strictSame(posted(192, 64), expected(256, 64));
  t.equal(posted(193, 64), false);
  t.equal(posted(256, 1), false);
});

t.test('where a page is gone, what lies before it can still be read', async (t) => {
  const { posted } = setUp(t, 0, 2 ** 40);
  lookAgain();
  for (const offset of [0, 64, 128, 192]) t.strictSame(posted(offset, 64), expected(offset, 64));
  t.equal(posted(2 ** 39, 64), false);
});

t.test('a message that leaves in packets is what the program wrote, wherever it begins and ends', async (t) => {
  const { packet } = setUp(t, 100, BYTES - 200);
  for (const [begin, end] of [
    [0, 70_000],
    [70_000, 70_001],
    [4096, 9000],
    [9000, BYTES - 200],
    [9000, 30_000],
  ] as const) {
    beginTurn();
    for (let at = begin; at < end; at += SEGMENT) {
      const length = Math.min(SEGMENT, end - at);
      if (at % 10 === 0) beginTurn();
      t.strictSame(packet(at, length, end - at - length), expected(100 + at, length));
    }
  }
});

t.test('a message is read as it was in the turn in which it leaves, and another message anew', async (t) => {
  const { own, packet } = setUp(t, 0, BYTES);
  const end = 8 * SEGMENT;
  const all = Array.from({ length: SEGMENT }, () => 9);
  const begin = (): void => {
    own.bytes.forEach((_, i) => {
      own.bytes[i] = i % 251;
    });
    beginTurn();
    for (let i = 0; i < 3; i++) packet(i * SEGMENT, SEGMENT, end - (i + 1) * SEGMENT);
    own.bytes.fill(9);
  };
  begin();
  t.strictSame(
    packet(3 * SEGMENT, SEGMENT, end - 4 * SEGMENT),
    expected(3 * SEGMENT, SEGMENT),
    'read with those before',
  );
  beginTurn();
  t.strictSame(packet(4 * SEGMENT, SEGMENT, end - 5 * SEGMENT), all, 'another turn');
  begin();
  t.strictSame(packet(4 * SEGMENT, SEGMENT, end - 5 * SEGMENT), all, 'it does not go on where the last one ended');
  begin();
  t.strictSame(packet(2 * SEGMENT, SEGMENT, end - 3 * SEGMENT), all, 'it begins anew');
  const other = setUp(t, 0, BYTES);
  other.own.bytes.fill(7);
  begin();
  t.equal((other.packet(3 * SEGMENT, SEGMENT, 0) as number[])[0], 7, 'another region');
});

t.test('where a page is gone, the packets before it can still be read', async (t) => {
  const { packet } = setUp(t, 0, 2 ** 40);
  beginTurn();
  const ends = BYTES - (BYTES % SEGMENT);
  for (let at = ends - 4 * SEGMENT; at < ends; at += SEGMENT)
    t.strictSame(packet(at, SEGMENT, 2 ** 39), expected(at, SEGMENT));
  t.equal(packet(2 ** 39, SEGMENT, SEGMENT), false);
});

t.test(
  'what is followed by more is placed with it: with the last of its message, or when no more follow',
  async (t) => {
    const { own, memory } = setUp(t, 0, BYTES);
    const from = new Arena(4 * SEGMENT);
    registerArena(from.bytes);
    from.bytes.forEach((_, i) => {
      from.bytes[i] = 100 + Math.floor(i / SEGMENT);
    });
    const at = (i: number): number => own.bytes[i * SEGMENT + 7]!;
    const before = [0, 1, 2, 3].map(at);
    t.ok(memory.write(0, from.bytes, 0, SEGMENT, true));
    t.ok(memory.write(SEGMENT, from.bytes, SEGMENT, SEGMENT, true));
    t.strictSame([0, 1].map(at), before.slice(0, 2), 'they wait');
    t.ok(memory.write(2 * SEGMENT, from.bytes, 2 * SEGMENT, SEGMENT));
    t.strictSame([0, 1, 2, 3].map(at), [100, 101, 102, before[3]]);
    t.ok(memory.write(5 * SEGMENT, from.bytes, 0, SEGMENT, true));
    t.ok(memory.write(9 * SEGMENT, from.bytes, SEGMENT, SEGMENT, true), 'elsewhere');
    t.ok(memory.write(5 * SEGMENT, from.bytes, 2 * SEGMENT, SEGMENT, true), 'and once more to the same place');
    t.not(at(5), 100, 'they wait, too');
    placeRest();
    t.strictSame([5, 9].map(at), [102, 101]);
    t.ok(memory.write(0, from.bytes, 3 * SEGMENT, SEGMENT, true));
    t.ok(memory.write(SEGMENT, new Uint8Array(SEGMENT).fill(5), 0, SEGMENT), 'from memory without an address');
    t.strictSame([0, 1].map(at), [103, 5]);
    for (let i = 0; i < 100; i++) t.ok(memory.write(i * 8, from.bytes, SEGMENT, 8, true));
    placeRest();
    t.ok(
      own.bytes.subarray(0, 800).every((byte) => byte === 101),
      'more than one call takes',
    );
  },
);

t.test('of what waited the octets are known from which on it is lost, and whose they are', async (t) => {
  const { own, someone, memory } = setUp(t, 0, BYTES);
  const broken = new ProcessMemory(someone, own.address, 2 ** 40);
  const from = new Arena(SEGMENT);
  registerArena(from.bytes);
  from.bytes.fill(77);
  settlePutOff(true);
  const write = (to: ProcessMemory, offset: number): boolean => to.write(offset, from.bytes, 0, SEGMENT, true);
  const later = () => [write(memory, 0), write(broken, 0)];
  for (const isTold of [true, false]) {
    write(memory, 0);
    write(broken, 2 ** 39);
    write(memory, 2 * SEGMENT);
    t.equal(putOffBytes(), 3 * SEGMENT);
    placeRest();
    t.strictSame([SEGMENT, SEGMENT + 1].map(isLostBefore), [false, true]);
    t.equal(own.bytes[SEGMENT - 1], 77);
    settlePutOff(isTold);
    t.equal(putOffBytes(), 0);
    t.notOk(isLostBefore(2 ** 40));
    t.strictSame(later(), isTold ? [true, true] : [false, false], 'told with their next write unless somebody knows');
    placeRest();
    settlePutOff(true);
  }
});

t.test('what waited and could not be placed is told with the next write, once', async (t) => {
  const { memory } = setUp(t, 0, 2 ** 40);
  const from = new Arena(SEGMENT);
  registerArena(from.bytes);
  const gone = 2 ** 39;
  t.ok(memory.write(gone, from.bytes, 0, SEGMENT, true), 'it waits');
  t.equal(memory.write(gone + SEGMENT, from.bytes, 0, SEGMENT), false, 'the last of its message');
  t.ok(memory.write(gone, from.bytes, 0, SEGMENT, true));
  placeRest();
  t.equal(memory.write(0, from.bytes, 0, SEGMENT), false, 'what was placed without it');
  t.ok(memory.write(0, from.bytes, 0, SEGMENT));
  t.equal(memory.write(2 ** 40, from.bytes, 0, 1, true), false, 'beyond the region');
});
