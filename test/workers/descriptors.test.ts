/** Descriptors and mappings of a thread that dies: its supervisor gives them back, those included that were on their way to it. */
import { fstatSync, openSync } from 'node:fs';
import t from 'tap';
import { closeAll, newLedger, ownFor } from '../../workers/linux/descriptors.ts';

const newDescriptor = (): number => openSync('/dev/null', 'r');
const isOpen = (fd: number): boolean => {
  try {
    return fstatSync(fd) !== undefined;
  } catch {
    return false;
  }
};

t.test('a descriptor that is sent to a thread is closed with it', async (t) => {
  const ledger = newLedger();
  const fds = [newDescriptor(), newDescriptor()];
  for (const fd of fds) ownFor(ledger, fd);
  t.strictSame(fds.map(isOpen), [true, true]);
  closeAll(ledger);
  t.strictSame(fds.map(isOpen), [false, false]);
});

t.test('one that is sent to a thread that has ended is closed at once', async (t) => {
  const ledger = newLedger();
  closeAll(ledger);
  const fd = newDescriptor();
  ownFor(ledger, fd);
  t.notOk(isOpen(fd));
});

t.test('beyond the limit a descriptor works unwritten', async (t) => {
  const ledger = newLedger();
  for (let fd = 1_000_000; fd < 1_004_096; fd++) ownFor(ledger, fd); // numbers that nothing has
  const fd = newDescriptor();
  ownFor(ledger, fd);
  t.ok(isOpen(fd));
  closeAll(ledger);
  t.ok(isOpen(fd));
});
