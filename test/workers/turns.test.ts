/** Who may send in a breath of a worker, and who is asked first. */
import t from 'tap';
import { DoorbellPage, doorbellBytes } from '../../rnic/queue/doorbell.ts';
import { Bell, newBellMemory, newWakeDescriptor, SUMMONED_MAX, summonsOf } from '../../workers/bell.ts';
import { type Breather, Turns } from '../../workers/turns.ts';

/** Writes down in which order it is asked, and whether it may send. */
class Asked implements Breather {
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
