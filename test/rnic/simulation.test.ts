/**
 * Simulation: two engines, one bad wire, random RC work, virtual time. URNIC_SEED runs one seed, URNIC_SEEDS that many from a random one on; a failure names its
 * seed, which is the whole run.
 */
import t from 'tap';
import { type Outcome, optionsOf, simulate } from '../support/sim/simulation.ts';

const SEEDS = 40;
const one = process.env.URNIC_SEED;
const many = Number(process.env.URNIC_SEEDS ?? 0);
const first = one !== undefined ? Number(one) : many > 0 ? Math.floor(Math.random() * 2 ** 31) : 1;
const count = one !== undefined ? 1 : many || SEEDS;

t.test(
  `simulation: seeds ${first} to ${first + count - 1}: memory, completions, atomics and the trace are right`,
  (t) => {
    const outcomes: Outcome[] = [];
    for (let seed = first; seed < first + count; seed++) {
      try {
        outcomes.push(simulate(seed));
      } catch (error) {
        t.fail(`URNIC_SEED=${seed}: ${(error as Error).message}`, { options: optionsOf(seed) });
        break;
      }
    }
    const sum = (pick: (outcome: Outcome) => number): number =>
      outcomes.reduce((total, outcome) => total + pick(outcome), 0);
    t.comment(
      `${sum((o) => o.packets)} packets, ${sum((o) => o.completions)} completions, ${sum((o) => o.retransmitted)} retransmitted, ${sum((o) => o.held)} held`,
    );
    t.equal(outcomes.length, count);
    if (count > 10) {
      t.ok(sum((o) => o.retransmitted) > 0, 'some packets were sent again');
      t.ok(sum((o) => o.held) > 0, 'some packets were held');
    }
    t.end();
  },
);

t.test('simulation: a seed is a whole run', (t) => {
  const [once, again] = [simulate(first), simulate(first)];
  t.same(once, again);
  t.end();
});
