/** The timer wheel: what is armed fires once, not early, and at the first look after it is due. */
import t from 'tap';
import { type Timer, Timers } from '../../rnic/timers.ts';
import { Random } from '../support/sim/random.ts';

class Alarm implements Timer {
  deadline = Number.POSITIVE_INFINITY;
  slot = -1;
  firedAt: number[] = [];
  /** What it does when it fires. */
  afterwards: () => void = () => undefined;
  handleTimeout(now: number): void {
    this.firedAt.push(now);
    this.afterwards();
  }
}

t.test('timers: one that moved later into the present tick still fires', (t) => {
  const timers = new Timers(0);
  const alarm = new Alarm();
  timers.arm(alarm, 100);
  timers.arm(alarm, 1010);
  timers.handleTimeout(1005);
  t.same(alarm.firedAt, []);
  t.equal(timers.nextDeadline(), 1010);
  timers.handleTimeout(1010);
  t.same(alarm.firedAt, [1010]);
  t.equal(timers.nextDeadline(), Number.POSITIVE_INFINITY);
  t.end();
});

t.test('timers: one that fires may take others away', (t) => {
  const timers = new Timers(0);
  const alarms = Array.from({ length: 5 }, () => new Alarm());
  for (const alarm of alarms) {
    timers.arm(alarm, 50);
    alarm.afterwards = () => {
      for (const other of alarms) if (other !== alarm) timers.remove(other);
    };
  }
  timers.handleTimeout(60);
  t.equal(alarms.flatMap((alarm) => alarm.firedAt).length, 1);
  t.end();
});

t.test('timers: a thousand that are armed, moved and disarmed at random behave like a sorted list', (t) => {
  const random = new Random(7);
  const timers = new Timers(0);
  const alarms = Array.from({ length: 1000 }, () => new Alarm());
  const due = new Map<Alarm, number>();
  let wrong = 0;
  for (let now = 0; now < 2e6; now += random.pick([1, 40, 64, 1000, 30_000, 400_000])) {
    timers.handleTimeout(now);
    for (const [alarm, deadline] of due) {
      const fired = alarm.firedAt.pop();
      if (deadline <= now !== (fired === now)) wrong++;
      if (fired !== undefined) due.delete(alarm);
    }
    if (timers.nextDeadline() !== Math.min(...due.values())) wrong++;
    for (let i = 0; i < 30; i++) {
      const alarm = random.pick(alarms);
      if (random.chance(0.2)) {
        timers.disarm(alarm);
        due.delete(alarm);
      } else {
        const deadline = now + 1 + random.below(random.pick([10, 100, 10_000, 1_000_000]));
        timers.arm(alarm, deadline);
        due.set(alarm, deadline);
      }
    }
  }
  t.equal(wrong, 0);
  t.end();
});
