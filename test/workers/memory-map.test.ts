import { readdirSync } from 'node:fs';
import t from 'tap';
import * as Libc from '../../workers/linux/libc.ts';
import { createMemoryFile, mapShared, release } from '../../workers/linux/memory-map.ts';
import { SystemError } from '../../workers/linux/system-error.ts';

const PAGE = 4096;

t.test('memory map: two mappings of one file show the same octets, Atomics included', async (t) => {
  const fd = createMemoryFile('urnic-test', 4 * PAGE);
  const [whole, second] = [mapShared(fd, 0, 4 * PAGE), mapShared(fd, PAGE, PAGE)];
  Libc.close(fd);
  new Uint8Array(whole.buffer)[PAGE + 5] = 42;
  t.equal(new Uint8Array(second.buffer)[5], 42);
  Atomics.add(new Int32Array(second.buffer), 16, 7);
  t.equal(Atomics.load(new Int32Array(whole.buffer), PAGE / 4 + 16), 7);
  release(whole);
  release(second);
});

t.test('memory map: a released mapping reads as zeros and takes writes that nobody sees', async (t) => {
  const fd = createMemoryFile('urnic-test', PAGE);
  const [mine, theirs] = [mapShared(fd, 0, PAGE), mapShared(fd, 0, PAGE)];
  Libc.close(fd);
  const view = new Uint8Array(mine.buffer);
  view.fill(9);
  release(mine);
  t.equal(view[0], 0);
  view[0] = 1;
  t.equal(new Uint8Array(theirs.buffer)[0], 9);
  release(theirs);
});

t.test('memory map: what the kernel refuses is an error that names it, and nothing stays open', async (t) => {
  const before = readdirSync('/proc/self/fd').length;
  t.throws(() => mapShared(-1, 0, PAGE), { name: 'SystemError', message: /mmap 4096 octets: .*EBADF/ });
  t.throws(() => createMemoryFile('urnic-test', -1), { name: 'SystemError', message: /ftruncate.*EINVAL/ });
  t.equal(readdirSync('/proc/self/fd').length, before);
  t.match(new SystemError('bind', 98), { errno: 98, message: /^bind: address already in use \(EADDRINUSE\)$/ });
});
