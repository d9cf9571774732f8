/** Who may send in a breath of a worker, and who is asked first. */
import t from 'tap';
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
