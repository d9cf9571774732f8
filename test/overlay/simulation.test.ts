/**
 * The overlay under chance: daemons' directories over a store that is slow, cut off, restarted and forgetful; hosts that die; rules, endpoints, underlays and tenants that change;
 * machines that lie, hosts that forge. A seed is a whole run. OVERLAY_SEEDS: how many; OVERLAY_FROM: the first.
 */
import t from 'tap';
import { OverlayWorld } from '../support/overlay-world/overlay-world.ts';
import { Random } from '../support/sim/random.ts';

const SEEDS = Number(process.env.OVERLAY_SEEDS ?? 16);
const FROM = Number(process.env.OVERLAY_FROM ?? 1);
const STEPS = 1500;
/** What happens more than once in a run. */
const NAMES = [
  ...(['delivered', 'refused', 'forged', 'connected', 'ended', 'vxlan', 'translate', 'local'] as const),
  ...(['moves', 'rules', 'deleted', 'added', 'underlays', 'killed', 'started', 'cuts', 'restarts'] as const),
];

t.test(
  'no frame and no connection crosses tenants, or a denial that its host has known for more than 100 ms; no endpoint is lost',
  { timeout: 600_000 },
  async (t) => {
    const total: Record<string, number> = {};
    for (let seed = FROM; seed < FROM + SEEDS; seed++) {
      const world = new OverlayWorld(new Random(seed));
      try {
        await world.begin();
        for (let i = 0; i < STEPS; i++) await world.step();
        await world.settle();
        t.strictSame(world.violations.slice(0, 5), [], `seed ${seed}`);
        for (const [name, count] of Object.entries(world.counts)) total[name] = (total[name] ?? 0) + count;
      } finally {
        world.close();
      }
    }
    t.comment(JSON.stringify(total));
    for (const name of NAMES) t.ok(total[name]! > SEEDS, `${name}: ${total[name]}`);
  },
);
