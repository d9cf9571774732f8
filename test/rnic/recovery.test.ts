/** When an RC sender sends again: rnic/recovery.ts. */
import t from 'tap';
import type { Qp } from '../../rnic/core.ts';
import { Recovery } from '../../rnic/recovery.ts';
import type { Psn } from '../../wire/types.ts';

const QP = { timeout: 14, retryCount: 7 } as Qp;
const MILLISECOND = 1000;

/** After a round trip of 20 µs has been measured. */
function measured(): Recovery {
  const recovery = new Recovery();
  recovery.start(0);
  recovery.sent(1 as Psn, 0, true);
  recovery.progressed(2 as Psn, 20);
  return recovery;
}

t.test('recovery: on a path that has lost nothing a silent peer is given milliseconds', async (t) => {
  for (const isRepair of [true, false]) {
    t.equal(measured().deadline(QP, false, isRepair, 100), 100 + 2 * MILLISECOND);
  }
});

t.test('recovery: for a second after a loss the timer follows the round trip', async (t) => {
  const recovery = measured();
  recovery.lost(100);
  t.ok(recovery.deadline(QP, false, true, 200) - 200 < MILLISECOND / 2);
  t.equal(recovery.deadline(QP, false, false, 200) - 200, MILLISECOND);
  recovery.start(2_000_000);
  t.equal(recovery.deadline(QP, false, true, 2_000_000) - 2_000_000, 2 * MILLISECOND);
});

t.test('recovery: strict timers know nothing of that', async (t) => {
  t.equal(measured().deadline(QP, true, false, 0), 4.096 * 2 ** 14);
});

t.test('recovery: the answer to a packet that found nobody on the way tells how long the path is', async (t) => {
  const recovery = new Recovery();
  recovery.start(0);
  recovery.sent(1 as Psn, 0, true);
  recovery.sent(2 as Psn, 1, false);
  t.equal(recovery.progressed(1 as Psn, 10), 0, 'not answered yet');
  t.equal(recovery.progressed(2 as Psn, 20), 20);
  t.equal(recovery.progressed(3 as Psn, 30), 0, 'said once');
  recovery.sent(3 as Psn, 40, false);
  t.equal(recovery.progressed(4 as Psn, 60), 0, 'others were before it');
});
