/** Memory of another process, here this one: what is read of it is never older than the last look at the send queues, and never beyond the region. */
import t from 'tap';
import { lookAgain } from '../../rnic/memory/posted.ts';
import { Process } from '../../workers/hosted/process.ts';
import { ProcessMemory } from '../../workers/hosted/process-memory.ts';
import { Arena } from '../../workers/linux/arena.ts';
import * as Libc from '../../workers/linux/libc.ts';

const PIDFD_OPEN = 434;
const BYTES = 3 * 4096;

function setUp(t: { teardown(undo: () => void): void }, start: number, bytes: number) {
  const own = new Arena(BYTES);
  for (let i = 0; i < BYTES; i++) own.bytes[i] = i % 251;
  const pidfd = Libc.syscall2(PIDFD_OPEN, process.pid, 0);
  const someone = new Process(process.pid, pidfd, { now: 0 });
  t.teardown(() => someone.close());
  const memory = new ProcessMemory(someone, own.address + start, bytes);
  const into = new Uint8Array(1024);
  // It names the memory, which nobody else keeps alive: others know its address only.
  const posted = (offset: number, length: number): number[] | false =>
    own.bytes.length > 0 && memory.readPosted(offset, into, 5, length) && [...into.subarray(5, 5 + length)];
  return { own, memory, posted };
}

const expected = (from: number, length: number): number[] => Array.from({ length }, (_, i) => (from + i) % 251);

t.test('payload of many small work requests is what the program wrote, wherever it lies', async (t) => {
  const { posted } = setUp(t, 100, BYTES - 200);
  lookAgain();
  for (let i = 0; i < 300; i++) {
    const length = 1 + ((i * 37) % 512);
    const offset = (i * 64 + (i % 7) * 1000) % (BYTES - 200 - length);
    t.strictSame(posted(offset, length), expected(100 + offset, length));
  }
});

t.test('what is posted later is read anew; what was posted together may be read at once', async (t) => {
  const { own, posted } = setUp(t, 0, BYTES);
  lookAgain();
  posted(0, 64);
  posted(64, 64);
  own.bytes.fill(9, 128, 192);
  t.strictSame(posted(128, 64), expected(128, 64), 'it was read with its neighbours');
  lookAgain();
  t.strictSame(posted(128, 64), Array(64).fill(9));
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
