/** When a worker naps in a crowd: only where naps find more to do than sleeps. */
import t from 'tap';
import { Naps } from '../../workers/naps.ts';

const CYCLE = 50;

/** Rests until a nap is tried, each `micros` after the one before it and with so many packets since. */
function sleepsUntilNap(naps: Naps, packets: number, micros = CYCLE): number {
  for (let sleeps = 1; sleeps <= 5000; sleeps++) if (naps.next(packets, micros) > 0) return sleeps;
  return Number.POSITIVE_INFINITY;
}

t.test('naps go on while they find several times as much to do as sleeps, and are then compared again', async (t) => {
  const naps = new Naps();
  sleepsUntilNap(naps, 2);
  let count = 1;
  let micros = CYCLE;
  for (let length = naps.next(20, CYCLE); length > 0; length = naps.next(20, CYCLE)) {
    micros = length;
    count++;
  }
  t.equal(count, 1024);
  t.ok(micros > CYCLE * 0.8 && micros <= CYCLE, 'as long as the time from one sleep to the next');
  t.equal(sleepsUntilNap(naps, 2), 16, 'and tried again soon');
  t.ok(naps.next(20, CYCLE) > 0);
});

t.test(
  'a nap that finds no more than a sleep did is the last for a while, and for twice as long the next time',
  async (t) => {
    const naps = new Naps();
    sleepsUntilNap(naps, 2);
    const trials: number[] = [];
    for (let i = 0; i < 8; i++) {
      t.equal(naps.next(2, CYCLE), 0);
      trials.push(sleepsUntilNap(naps, 2));
    }
    t.strictSame(trials, [32, 64, 128, 256, 512, 1024, 1024, 1024]);
  },
);

t.test('messages of many packets that answer each other are no reason to nap', async (t) => {
  const naps = new Naps();
  sleepsUntilNap(naps, 30);
  t.equal(naps.next(30, CYCLE), 0);
});

t.test('nor is one packet where there were none', async (t) => {
  const naps = new Naps();
  sleepsUntilNap(naps, 0);
  t.equal(naps.next(1, CYCLE), 0);
});

t.test('one poor nap among good ones changes nothing', async (t) => {
  const naps = new Naps();
  sleepsUntilNap(naps, 2);
  for (let i = 0; i < 10; i++) naps.next(20, CYCLE);
  t.ok(naps.next(0, CYCLE) > 0);
  t.ok(naps.next(20, CYCLE) > 0);
});

t.test('who is woken seldom does not nap', async (t) => {
  t.equal(sleepsUntilNap(new Naps(), 2, 3000), Number.POSITIVE_INFINITY);
});

t.test('a nap is no shorter than 20 µs and no longer than a millisecond', async (t) => {
  const lengths = [1, 990].map((micros) => {
    const naps = new Naps();
    for (let i = 0; i < 200; i++) {
      const length = naps.next(0, micros);
      if (length > 0) naps.next(0, micros);
    }
    let length = 0;
    while (length === 0) length = naps.next(0, micros);
    return length;
  });
  t.equal(lengths[0], 20);
  t.ok(lengths[1]! > 900 && lengths[1]! <= 1000);
});

t.test('what came before the crowd did says nothing of sleeps', async (t) => {
  const naps = new Naps();
  naps.next(1e9, 1e9);
  sleepsUntilNap(naps, 2);
  t.ok(naps.next(20, CYCLE) > 0);
});
