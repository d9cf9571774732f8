/**
 * Mutated frames into the decoder and into engines: nothing may throw, no octet outside a region may change, every RoCE frame must be counted somewhere.
 *
 *     node dist/test/fuzz/campaign.js --frames 10000000 --seed 7
 */
import { parseArgs } from 'node:util';
import { decode } from '../../wire/decode.ts';
import { Random } from '../support/sim/random.ts';
import { Frames } from './frames.ts';
import { World } from './world.ts';

export interface CampaignResult {
  readonly frames: number;
  readonly worlds: number;
  /** Counters that moved, over all worlds. */
  readonly counters: Readonly<Record<string, number>>;
}

/** A world's QPs end in ERR soon: a new one after so many frames. */
const LIFE = 400;

/** @throws Error that names the seed, the frame's number and its octets. */
export function runCampaign(count: number, seed: number, untilMillis = Number.POSITIVE_INFINITY): CampaignResult {
  const frames = new Frames(new Random(seed));
  const counters: Record<string, number> = {};
  let worlds = 0;
  let done = 0;
  while (done < count && Date.now() < untilMillis) {
    const world = new World();
    worlds++;
    for (let life = 0; life < LIFE && done < count; life++, done++) judge(world, frames, seed, done);
    if (!world.guardsHold())
      throw new Error(`seed ${seed}, before frame ${done}: memory outside the region has changed`);
    for (const [name, value] of Object.entries(world.engine.rnic.counters.toObject()))
      if (value !== 0) counters[name] = (counters[name] ?? 0) + value;
  }
  return { frames: done, worlds, counters };
}

function judge(world: World, frames: Frames, seed: number, number: number): void {
  const { frame, isWhole } = frames.next(world);
  const fail = (why: string): never => {
    throw new Error(`seed ${seed}, frame ${number}: ${why}: ${Buffer.from(frame).toString('hex')}`);
  };
  const before = world.counted();
  try {
    decode(frame);
    world.receive(frame);
  } catch (error) {
    fail((error as Error).stack ?? String(error));
  }
  if (isWhole && world.counted() === before) fail('no counter moved');
}

if (process.argv[1]?.endsWith('campaign.js')) {
  const options = { frames: { type: 'string', default: '10000000' }, seed: { type: 'string', default: '1' } } as const;
  const { values } = parseArgs({ options });
  console.log(JSON.stringify(runCampaign(Number(values.frames), Number(values.seed)), null, 1));
}
