/** Who may send in a breath of a worker, and who is asked first. */
import t from 'tap';
import { DoorbellPage, doorbellBytes } from '../../rnic/queue/doorbell.ts';
import { Bell, newBellMemory, newWakeDescriptor, SUMMONED_MAX, summonsOf } from '../../workers/bell.ts';
import { type Breather, Share, Turns } from '../../workers/turns.ts';

/** Writes down in which order it is asked, and whether it may send. */
class Asked implements Breather {
  readonly errandMicros = 0;
  readonly share = new Share();
  hasRunOut = false;
  /** It leaves nothing to those behind it. */
  takesAll = false;
  isOwedNow = false;
  isDozing = false;
  readonly #name: string;
  readonly #log: string[];

  constructor(name: string, log: string[]) {
    this.#name = name;
    this.#log = log;
  }

  breathe(_now: number, mayTransmit: boolean): boolean {
    if (this.takesAll) this.hasRunOut = this.#log.length === 0;
    this.#log.push(mayTransmit ? this.#name.toUpperCase() : this.#name);
    return this.#name === 'b';
  }

  dozes(): boolean {
    return this.isDozing;
  }

  isOwed(): boolean {
    return this.isOwedNow;
  }
}

function worker() {
  const log: string[] = [];
  const all = ['a', 'b', 'c'].map((name) => new Asked(name, log));
  const turns = new Turns();
  const breath = (): string => {
    log.length = 0;
    turns.breathe(all, 0);
    return log.join('');
  };
  return { all, turns, breath };
}

t.test('all may send, in their order, where nobody is guaranteed or limited', async (t) => {
  const { all, turns, breath } = worker();
  t.equal(breath(), 'ABC');
  t.equal(breath(), 'ABC');
  t.equal(turns.breathe(all, 0), true, 'b was busy');
  t.equal(turns.breathe([all[0]!], 0), false);
  t.equal(turns.breathe([], 0), false);
});

t.test('who dozes is not asked', async (t) => {
  const { all, breath } = worker();
  all[1]!.isDozing = true;
  t.equal(breath(), 'AC');
  all[1]!.isDozing = false;
  t.equal(breath(), 'ABC');
});

t.test('whom its limit has stopped goes to the end of the line', async (t) => {
  const { all, breath } = worker();
  all[0]!.hasRunOut = true;
  breath();
  all[0]!.hasRunOut = false;
  t.equal(breath(), 'BCA');
  for (const one of all) one.takesAll = true;
  t.strictSame([breath(), breath(), breath(), breath()], ['BCA', 'CAB', 'ABC', 'BCA'], 'each is first in turn');
});

t.test('who is below its guarantee sends first; the others all breathe, and send now and then', async (t) => {
  const { all, turns, breath } = worker();
  all[1]!.isOwedNow = true;
  t.equal(breath(), 'ABC', 'nobody has told the worker of guarantees');
  turns.hasGuarantees = true;
  const breaths = Array.from({ length: 34 }, breath);
  t.equal(breaths.filter((order) => order === 'aBc').length, 32);
  t.equal(breaths.filter((order) => order === 'ABC').length, 2);
  all[1]!.isOwedNow = false;
  t.equal(breath(), 'ABC');
});

/** Takes its time, of a clock that nothing else moves. */
class Timed implements Breather {
  readonly share = new Share();
  readonly hasRunOut = false;
  /** Of a breath, for others. */
  errandMicros = 0;
  /** Of a breath. */
  cost: number;
  hasWork = true;
  isOwedNow = false;
  /** All that it has had. */
  had = 0;
  breaths = 0;
  readonly #machine: { now: number };

  constructor(cost: number, machine: { now: number }) {
    this.cost = cost;
    this.#machine = machine;
  }

  breathe(): boolean {
    this.breaths++;
    if (!this.hasWork) return false;
    this.#machine.now += this.cost;
    this.had += this.cost;
    return true;
  }

  dozes(): boolean {
    return false;
  }

  isOwed(): boolean {
    return this.isOwedNow;
  }
}

/** Of these costs, in microseconds. */
function timedWorker(...costs: number[]) {
  const machine = { now: 0, readings: 0 };
  const turns = new Turns(() => {
    machine.readings++;
    return machine.now;
  });
  const all = costs.map((cost) => new Timed(cost, machine));
  const rounds = (count: number): void => {
    for (let i = 0; i < count; i++) turns.breathe(all, machine.now);
  };
  return { machine, turns, all, rounds };
}

/** What one may have had more than another: what is allowed, and the breath that went beyond it. */
const within = (cost: number): number => 20 + cost;

t.test('each has as much time as the others, however long its breaths are', async (t) => {
  const { all, rounds, machine } = timedWorker(2, 60, 100, 7);
  rounds(1); // nobody knows yet that they are several
  const before = all.map((one) => one.had);
  let most = 0;
  for (let i = 0; i < 5000; i++) {
    rounds(1);
    const had = all.map((one, j) => one.had - before[j]!);
    most = Math.max(most, Math.max(...had) - Math.min(...had));
  }
  t.ok(most <= within(100), `never more than ${most} before another`);
  for (const { had } of all) t.ok(Math.abs(had / (machine.now / 4) - 1) < 0.02, `${had} of ${machine.now}`);
});

t.test('who waited while others had nothing to do is not paid for it', async (t) => {
  const { all, rounds } = timedWorker(10, 30, 10);
  all[2]!.hasWork = false;
  rounds(1000);
  const before = all.map(({ had }) => had);
  all[2]!.hasWork = true;
  rounds(300);
  const since = all.map(({ had }, i) => had - before[i]!);
  t.ok(Math.abs(since[2]! - since[0]!) <= within(30), String(since));
  t.ok(Math.abs(since[2]! - since[1]!) <= within(30), String(since));
});

t.test('who has something to do in every other breath has no more time for it', async (t) => {
  for (const costs of [
    [10, 100],
    [100, 10],
  ]) {
    const { all, rounds } = timedWorker(...costs);
    const other = all[costs.indexOf(100)]!;
    const victim = all[costs.indexOf(10)]!;
    for (let i = 0; i < 5000; i++) {
      const { breaths } = other;
      rounds(1);
      if (other.breaths > breaths) other.hasWork = !other.hasWork;
    }
    // The first breath of all is not timed.
    t.ok(other.had <= victim.had + within(100) + 100, `${other.had} and ${victim.had}`);
    t.ok(other.had > victim.had * 0.9, 'and no less');
  }
});

t.test('nobody waits for one that has nothing to do', async (t) => {
  const { all, rounds } = timedWorker(2, 100);
  rounds(3);
  const { breaths } = all[1]!;
  rounds(10);
  t.equal(all[1]!.breaths, breaths, 'it has had more');
  all[0]!.hasWork = false;
  rounds(1);
  t.equal(all[1]!.breaths, breaths, 'that the other has stopped is seen when it is asked');
  rounds(10);
  t.equal(all[1]!.breaths, breaths + 10);
});

t.test('who breathes beside nobody is not timed', async (t) => {
  const { all, turns, rounds, machine } = timedWorker(10, 10);
  for (let i = 0; i < 100; i++) turns.breathe([all[0]!], 0);
  t.equal(machine.readings, 0);
  rounds(2);
  t.ok(machine.readings > 0);
});

t.test('who reads for others does not pay for it', async (t) => {
  const { all, rounds } = timedWorker(2, 10);
  const [reader, other] = all as [Timed, Timed];
  rounds(1);
  reader.cost += 100;
  reader.errandMicros = 100;
  rounds(600);
  t.ok(Math.abs(reader.breaths / other.breaths - 5) < 0.5, `${reader.breaths} breaths for ${other.breaths}`);
});

t.test('a breath in which the thread lost its core costs half a millisecond', async (t) => {
  const { all, rounds } = timedWorker(10, 10);
  rounds(3);
  all[1]!.cost = 10_000;
  rounds(1);
  all[1]!.cost = 10;
  const { breaths } = all[1]!;
  rounds(40);
  t.equal(all[1]!.breaths, breaths);
  rounds(20);
  t.ok(all[1]!.breaths > breaths);
});

t.test('who is below its guarantee sends, though it has had more time', async (t) => {
  const { all, turns, rounds } = timedWorker(2, 100);
  turns.hasGuarantees = true;
  all[1]!.isOwedNow = true;
  rounds(16);
  t.equal(all[1]!.breaths, 16);
});

t.test('commands are paid for with breaths', async (t) => {
  const { all, turns, rounds, machine } = timedWorker(10, 10);
  const [flooder, victim] = all as [Timed, Timed];
  flooder.hasWork = false;
  const command = (): boolean => {
    if (!turns.admits(flooder)) return false;
    machine.now += 100;
    flooder.had += 100;
    turns.charge(flooder, 100);
    return true;
  };
  rounds(1);
  for (let i = 0; i < 1000; i++) {
    command();
    rounds(1);
  }
  t.ok(Math.abs(flooder.had / victim.had - 1) < 0.05, `${flooder.had} and ${victim.had}`);
  victim.hasWork = false;
  rounds(2);
  for (let i = 0; i < 10; i++) {
    t.ok(command(), 'nobody else has something to do');
    rounds(1);
  }
});

t.test('a doorbell of a vRNIC is a bit of its worker’s bell, and asks there whether the worker sleeps', async (t) => {
  const memory = newBellMemory();
  const bell = new Bell(memory, newWakeDescriptor());
  t.teardown(() => bell.close());
  const pages = [0, 33, SUMMONED_MAX - 1].map(
    (index) => new DoorbellPage(new Int32Array(new SharedArrayBuffer(doorbellBytes(8))), 8, summonsOf(memory, index)),
  );
  const summoned = (count: number): number[] => {
    const found: number[] = [];
    bell.takeSummons(count, (index) => found.push(index));
    return found;
  };
  for (const page of pages) t.notOk(page.ring(3), 'awake');
  t.ok(pages[1]!.pending(), 'its page says which QP');
  t.notOk(bell.hasMail());
  t.ok(bell.hasSummons(1));
  t.strictSame(summoned(1), [0]);
  t.notOk(bell.hasSummons(32));
  t.strictSame(summoned(SUMMONED_MAX), [33, SUMMONED_MAX - 1]);
  t.notOk(bell.hasSummons(SUMMONED_MAX), 'each is told once');
  bell.setSleeping(true);
  t.ok(pages[0]!.ring(3), 'to be woken');
});
