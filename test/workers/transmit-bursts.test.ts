/** One burst for all vRNICs of a thread, and those whose frames their ports would not take. */
import t from 'tap';
import { TransmitBurst } from '../../rnic/burst.ts';
import { TransmitBursts } from '../../workers/transmit-bursts.ts';

t.test('bursts: who keeps one has it alone, and what is given back is empty and used again', (t) => {
  let made = 0;
  const bursts = new TransmitBursts(() => {
    made++;
    return new TransmitBurst(4096, 4);
  });
  const first = bursts.current;
  first.count = 2;
  first.end = 100;
  t.equal(bursts.keep(), first);
  t.not(bursts.current, first, 'the next has another');
  t.equal(bursts.current.count, 0);
  t.same([first.count, first.end], [2, 100], 'what was kept is as it was');
  const { generation } = first;
  bursts.giveBack(first);
  t.same([first.count, first.end, first.sent], [0, 0, 0]);
  t.ok(first.generation > generation, 'whoever remembers a frame of it sees that it has gone');
  bursts.keep();
  t.equal(bursts.current, first);
  t.equal(made, 2);
  t.end();
});
