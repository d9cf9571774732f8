/** Token buckets under a virtual clock: exact over long runs, whatever the steps, the rate, and the number of those who share one. */
import t from 'tap';
import { Bucket, burstOf, newMeter } from '../../vswitch/bucket.ts';
import { Pacer } from '../../vswitch/pacer.ts';
import { ConnectionQuota } from '../../vswitch/quota.ts';

const RATES = [10_000, 10e6, 33_333_333, 1e9, 10e9, 100e9];
/** A small generator of numbers between 0 and 1. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

t.test('T-43: over a long run exactly the rate leaves, in frames of all sizes, at odd moments', async (t) => {
  for (const rate of RATES) {
    const next = random(7);
    const burst = burstOf(rate);
    const begin = 2 ** 33 + 0.3;
    const bucket = new Bucket(rate, burst, begin);
    let now = begin;
    let last = now;
    let sent = 0;
    const end = begin + (burst * 8e6 * 40) / rate;
    // Each step is shorter than the bucket lasts: a full one loses what comes.
    for (; now < end; now += next() * Math.min((burst * 2e6) / rate, 1e6))
      while (bucket.level(now) > 0) {
        const bytes = 64 + Math.floor(next() * 4096);
        bucket.spend(bytes);
        sent += bytes;
        last = now;
      }
    const wanted = burst + (rate * (last - begin)) / 8e6;
    t.ok(Math.abs(sent - wanted) < 4160 + rate / 4e6, `${rate} bit/s: ${sent} of ${wanted}`);
  }
});

t.test('T-43: after a pause a burst leaves, and no more; a pause longer than the cell counts is one too', async (t) => {
  const bucket = new Bucket(8e6, 20_000, 1000); // an octet each microsecond
  t.equal(bucket.level(1000), 20_000);
  bucket.spend(20_000);
  t.equal(bucket.level(1000), 0);
  t.equal(bucket.level(1500.5), 500.5);
  t.equal(bucket.level(1e6), 20_000);
  t.equal(bucket.level(1e6 + 2 ** 31 + 5), 20_000, 'half the cell’s range later');
  bucket.spend(30_000);
  t.equal(bucket.level(1e6 + 2 ** 31 + 5), -10_000, 'what left too much is owed');
  t.equal(bucket.level(1e6 + 2 ** 31 + 10_005), 0);
  t.equal(bucket.readyAt(1e6 + 2 ** 31 + 10_005), 1e6 + 2 ** 31 + 10_005 + bucket.quantum);
});

t.test('T-43: a pause of any length, of one bucket or of all of a meter, is followed by a burst', async (t) => {
  const minute = 60e6;
  for (let minutes = 1; minutes < 300; minutes++) {
    const meter = newMeter();
    const begin = 1e9 + minutes * 1e7;
    const [one, other] = [0, 1].map(() => new Bucket(8e6, 20_000, begin, meter)) as [Bucket, Bucket];
    one.spend(25_000);
    const end = begin + minutes * minute;
    if (other.level(end) !== 20_000 || one.level(end) !== 20_000) t.fail(`${one.level(end)} after ${minutes} minutes`);
    const quota = new ConnectionQuota(1, begin);
    quota.take();
    if (!quota.hasRoom(end)) t.fail(`no connection after ${minutes} minutes`);
  }
  t.pass();
});

t.test('those who share a meter have one rate together, whenever each of them came', async (t) => {
  const meter = newMeter();
  const shared = Array.from({ length: 3 }, (_, i) => new Bucket(80e6, 40_000, i * 10, meter));
  const next = random(3);
  let sent = 0;
  let now = 20;
  let last = now;
  for (; now < 5e6; now += next() * 1000)
    for (const bucket of shared)
      while (bucket.level(now) > 0) {
        bucket.spend(1500.7);
        sent += 1500.7;
        last = now;
      }
  t.ok(Math.abs(sent - 40_000 - last * 10) < 3 * 1501 + 10_000, `${sent}`);
  const another = new Bucket(80e6, 40_000, now, meter);
  t.ok(another.level(now) < 40_000, 'a newcomer brings no new burst');
});

t.test('a pacer: who ran out waits for a quantum, then has the lesser of its limit and its tenant’s', async (t) => {
  const pacer = new Pacer({ rate: 8e6, burst: 20_000 }, { rate: 80e6, burst: 30_000 }, 0);
  t.equal(pacer.allowance(0), 20_000);
  pacer.spend(20_010);
  t.equal(pacer.setWaiting(true, 0), 0);
  t.equal(pacer.readyAt(0), 5010);
  t.equal(pacer.allowance(5009), 0);
  t.equal(pacer.setWaiting(true, 5009), 5009);
  t.equal(pacer.allowance(5010), 5000);
  t.equal(pacer.setWaiting(false, 5011), 2);
  t.equal(pacer.setWaiting(false, 5020), 0);
});

t.test('a guarantee is there when the others have used up the tenant’s limit, and is part of it', async (t) => {
  const meter = newMeter();
  const tenant = { rate: 80e6 };
  const greedy = new Pacer({}, tenant, 0, meter);
  const modest = new Pacer({ guarantee: 16e6 }, tenant, 0, meter);
  const sent = [0, 0];
  const end = 4e6;
  for (let now = 0; now < end; now += 100)
    for (const [i, pacer] of [greedy, modest].entries()) {
      const allowance = Math.max(0, pacer.allowance(now));
      pacer.spend(allowance);
      sent[i]! += allowance;
      pacer.setWaiting(true, now);
    }
  const micros = end;
  t.ok(sent[1]! >= 2 * micros * 0.99, `the guarantee holds: ${sent[1]}`);
  t.ok(Math.abs(sent[0]! + sent[1]! - 10 * micros) < 0.01 * 10 * micros, `so does the limit: ${sent}`);
});

t.test(
  'who is guaranteed something is owed it until it has had it; its tenant’s guarantee counts for all',
  async (t) => {
    const meter = newMeter();
    const [a, b] = [new Pacer({}, { guarantee: 8e6 }, 0, meter), new Pacer({}, { guarantee: 8e6 }, 0, meter)];
    t.equal(a.allowance(0), Number.POSITIVE_INFINITY);
    t.ok(a.isOwed(0) && b.isOwed(0));
    a.spend(1e6);
    t.notOk(a.isOwed(0) || b.isOwed(0));
    t.ok(b.isOwed(1e6));
    t.notOk(new Pacer({ rate: 8e6 }, {}, 0).isOwed(0));
  },
);
