/** How threads sleep: the timer that stays set over many sleeps. */
import t from 'tap';
import { Bell, newBellMemory, newWakeDescriptor } from '../../workers/bell.ts';
import { clock } from '../../workers/clock.ts';
import { Sleeper } from '../../workers/sleeper.ts';

const HOUR = 3600e6;

function setUp(t: { teardown(step: () => void): void }): { sleeper: Sleeper; bell: Bell } {
  const sleeper = new Sleeper();
  const bell = new Bell(newBellMemory(), newWakeDescriptor());
  t.teardown(() => {
    sleeper.close();
    bell.close();
  });
  return { sleeper, bell };
}

function sleep(sleeper: Sleeper, bell: Bell, micros: number): number {
  const begin = clock();
  sleeper.reset();
  sleeper.add(bell.fileDescriptor, false);
  sleeper.sleep(micros);
  return clock() - begin;
}

t.test('sleeper: a timer that was set for later is set anew for a shorter sleep', async (t) => {
  const { sleeper, bell } = setUp(t);
  bell.wake();
  sleep(sleeper, bell, HOUR);
  bell.drain();
  t.ok(sleep(sleeper, bell, 2000) >= 1900, 'and goes off, an hour early');
});

t.test('sleeper: a timer that has gone off wakes nobody a second time', async (t) => {
  const { sleeper, bell } = setUp(t);
  sleep(sleeper, bell, 1000);
  for (let i = 0; i < 3; i++) t.ok(sleep(sleeper, bell, 3000) >= 2900, 'a whole sleep');
});

t.test('sleeper: wakes for the bell, with a timer and without one', async (t) => {
  const { sleeper, bell } = setUp(t);
  for (const micros of [HOUR, Number.POSITIVE_INFINITY]) {
    bell.wake();
    sleep(sleeper, bell, micros);
    bell.drain();
    t.pass(`of ${micros} µs`);
  }
});

t.test('sleeper: a nap lasts as long as it was to, whoever rings', async (t) => {
  const { sleeper, bell } = setUp(t);
  bell.wake();
  const begin = clock();
  sleeper.nap(2000);
  t.ok(clock() - begin >= 1900);
});

t.test('sleeper: a descriptor that is added twice wakes for room, too, if it was asked for once', async (t) => {
  const { sleeper, bell } = setUp(t);
  for (const isRoomAskedFor of [false, true]) {
    const begin = clock();
    sleeper.reset();
    sleeper.add(bell.fileDescriptor, false);
    sleeper.add(bell.fileDescriptor, isRoomAskedFor);
    sleeper.add(bell.fileDescriptor, false);
    sleeper.sleep(isRoomAskedFor ? HOUR : 3000);
    if (!isRoomAskedFor) t.ok(clock() - begin >= 2900, 'a bell that nobody rang has nothing to read');
    else t.pass('but room to write');
  }
});

t.test('sleeper: keeps its time by ppoll where it has no timer', async (t) => {
  const { sleeper, bell } = setUp(t);
  sleeper.close();
  t.ok(sleep(sleeper, bell, 2000) >= 1900);
});
