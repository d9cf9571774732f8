/**
 * Mutated frames into the decoder and into engines: nothing may throw, no octet outside the regions may be changed or told, and every packet has one fate.
 *
 *     node dist/test/fuzz/campaign.js --frames 10000000 --seed 7 [--careful] [--reach]
 */
import { parseArgs } from 'node:util';
import { decode } from '../../wire/decode.ts';
import { Random } from '../support/sim/random.ts';
import type { Envelope } from './envelope.ts';
import { Frames } from './frames.ts';
import { dueFor, Ledger } from './ledger.ts';
import { notReached } from './reach.ts';
import { World } from './world.ts';

export interface CampaignResult {
  readonly frames: number;
  readonly worlds: number;
  /** Counters that moved, over all worlds. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface CampaignOptions {
  readonly frames: number;
  readonly seed: number;
  readonly untilMillis?: number;
  /** Memory is looked at after every frame: slow, and names the frame that did it. */
  readonly isCareful?: boolean;
}

/** A world is small; another one draws other states, timers and keys. */
const LIFE = 4000;
/** Frames between two looks at the memory. */
const LOOK = 256;

/** @throws Error that names the seed, the frame's number and its octets. */
export function runCampaign(options: CampaignOptions): CampaignResult {
  const { frames: count, seed, untilMillis = Number.POSITIVE_INFINITY, isCareful = false } = options;
  const counters: Record<string, number> = {};
  let worlds = 0;
  let done = 0;
  const random = new Random(seed);
  const frames = new Frames(random);
  while (done < count && Date.now() < untilMillis) {
    const world = new World(random);
    const ledger = new Ledger(world.engine.rnic.counters);
    worlds++;
    for (let life = 1; life <= LIFE && done < count; life++, done++) {
      const envelope = frames.next(world);
      judge(world, ledger, envelope, seed, done);
      const isLook = isCareful || life % LOOK === 0 || life === LIFE;
      if (isLook && !world.terrain.holds()) fail(seed, done, envelope, 'memory that no packet may change has changed');
    }
    for (const [name, value] of Object.entries(world.engine.rnic.counters.toObject()))
      if (value !== 0) counters[name] = (counters[name] ?? 0) + value;
  }
  return { frames: done, worlds, counters };
}

function judge(world: World, ledger: Ledger, envelope: Envelope, seed: number, number: number): void {
  const { bytes, segmentBytes } = envelope;
  ledger.open();
  let fates = 0;
  try {
    decode(bytes);
    world.receive(envelope);
    fates = ledger.close();
    world.settle();
  } catch (error) {
    fail(seed, number, envelope, (error as Error).stack ?? String(error));
  }
  const { least, most } = dueFor(bytes, segmentBytes, world.groupMembers);
  if (fates < least || fates > most) fail(seed, number, envelope, `${fates} fates where ${least} to ${most} were due`);
  if (world.hasTold) fail(seed, number, envelope, 'a response holds octets that no key lets a peer read');
}

function fail(seed: number, number: number, { bytes, segmentBytes }: Envelope, why: string): never {
  const segments = segmentBytes === 0 ? '' : ` in segments of ${segmentBytes}`;
  throw new Error(`seed ${seed}, frame ${number}${segments}: ${why}: ${Buffer.from(bytes).toString('hex')}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      frames: { type: 'string', default: '10000000' },
      seed: { type: 'string', default: '1' },
      careful: { type: 'boolean', default: false },
      reach: { type: 'boolean', default: false },
    },
  });
  const options = { frames: Number(values.frames), seed: Number(values.seed), isCareful: values.careful };
  const missed = values.reach ? await notReached(() => runCampaign(options)) : null;
  if (missed === null) console.log(JSON.stringify(runCampaign(options), null, 1));
  else for (const [file, names] of missed) console.log(`${file}: ${names.join(', ')}`);
}

if (process.argv[1]?.endsWith('campaign.js')) await main();
