/** As much of the fuzz campaign as fits into CI, with a new seed each time; test/fuzz/campaign.ts runs more, or one seed again. */
import t from 'tap';
import { Random } from '../support/sim/random.ts';
import { runCampaign } from './campaign.ts';
import { Frames } from './frames.ts';

const FRAMES = 2_000_000;
const MILLIS = 40_000;

t.test('fuzz: mutated frames break nothing, and each is counted', { timeout: 300_000 }, async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const { frames, worlds, counters } = runCampaign(FRAMES, seed, Date.now() + MILLIS);
  t.comment(`seed ${seed}: ${frames} frames, ${worlds} engines; ${JSON.stringify(counters)}`);
  t.ok(frames > 10_000);
  const reached = ['rx_write_requests', 'rx_read_requests', 'rx_send_requests', 'cm_rx_msgs'];
  for (const name of [...reached, 'rx_icrc_encapsulated', 'drop_qp_state', 'drop_opcode', 'resp_remote_access_errors'])
    t.ok((counters[name] ?? 0) > 0, `${name}: the frames reach it`);
});

t.test('fuzz: the captures give seeds', async (t) => {
  t.ok(new Frames(new Random(1)).seeds > 100);
});
