/** The overlay under chance: hosts that hear of changes late, rules that come and go, endpoints that move, machines that lie, hosts that forge. A seed is a whole run. */
import t from 'tap';
import { OverlayWorld } from '../support/overlay-world.ts';
import { Random } from '../support/sim/random.ts';

const SEEDS = 25;
const STEPS = 1500;

t.test(
  'no frame and no connection crosses tenants, or a denial of more than 100 ms ago; no endpoint is lost',
  async (t) => {
    const total: Record<string, number> = {};
    for (let seed = 1; seed <= SEEDS; seed++) {
      const undo: (() => void)[] = [];
      const world = new OverlayWorld(new Random(seed), (one) => undo.push(one));
      try {
        for (let i = 0; i < STEPS; i++) world.step();
        world.settle();
        t.strictSame(world.violations.slice(0, 5), [], `seed ${seed}`);
        for (const [name, count] of Object.entries(world.counts)) total[name] = (total[name] ?? 0) + count;
      } finally {
        for (const one of undo) one();
      }
    }
    t.comment(JSON.stringify(total));
    for (const name of ['delivered', 'refused', 'forged', 'ended', 'moves', 'rules'])
      t.ok(total[name]! > SEEDS, `${name}: ${total[name]}`);
  },
);
