/** Random RC work over a few connections, mostly in both directions. */
import { Access, mtuBytes, QpType } from '../../../rnic/constants.ts';
import type { JudgedConnection } from '../../referee/referee.ts';
import * as Area from './area.ts';
import { Broken } from './broken.ts';
import { Flow, type FlowEnd } from './flow.ts';
import type { SimHost } from './host.ts';
import { type KeyKind, SharedKey } from './keys.ts';
import type { Options } from './options.ts';
import type { Random } from './random.ts';
import { type EndSetup, RcPair } from './rc-pair.ts';
import { RcWork, type Tally } from './rc-work.ts';
import { OwnReceives, SharedReceives } from './receives.ts';
import { A, addressName, B, type Scenario } from './scenario.ts';
import type { World } from './world.ts';

const RIGHTS =
  Access.LOCAL_WRITE |
  Access.REMOTE_WRITE |
  Access.REMOTE_READ |
  Access.REMOTE_ATOMIC |
  Access.FLUSH_GLOBAL |
  Access.FLUSH_PERSISTENT;
const KEY_KINDS: readonly KeyKind[] = [2, 0, 2, 0, 1];
const SHARED_BUFFERS = 12;
const CQES = 600;
const WORD_BYTES = 64;

/** Octets that a host needs. */
export const rcMemoryBytes = (pairs: number): number =>
  pairs * Area.AREA_BYTES + WORD_BYTES + SHARED_BUFFERS * Area.RECEIVE_BYTES;

/** What the connections of one host share. */
interface Shared {
  readonly host: SimHost;
  readonly tally: Tally;
  readonly receives: SharedReceives | null;
}

export class RcScenario implements Scenario {
  readonly #options: Options;
  readonly #random: Random;
  readonly #world: World;
  readonly #shared: readonly [Shared, Shared];
  readonly #pairs: RcPair[] = [];

  constructor(world: World, options: Options, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#world = world;
    this.#shared = [this.#share(world.a), this.#share(world.b)];
    for (let i = 0; i < options.pairs; i++) this.#pairs.push(this.#pair(i * Area.AREA_BYTES));
  }

  get isDone(): boolean {
    return this.#pairs.every((pair) => pair.isDone);
  }

  get state(): string {
    return this.#pairs.flatMap((pair) => pair.flows.map(({ flow }) => flow.state)).join('; ');
  }

  get completions(): number {
    return this.#sum((flow) => flow.completed);
  }

  get errors(): number {
    return this.#sum((flow) => flow.errors);
  }

  readonly senders = [];

  get connections(): readonly JudgedConnection[] {
    const { isIpv6, pathMtu, rdAtomic } = this.#options;
    const mtu = mtuBytes(pathMtu);
    return this.#pairs.flatMap(({ incarnations }) =>
      incarnations.map(({ qpnA, qpnB, from }) => ({
        a: { address: addressName(A, isIpv6), qpn: qpnA },
        b: { address: addressName(B, isIpv6), qpn: qpnB },
        mtu,
        from,
        rdAtomic,
      })),
    );
  }

  act(): void {
    for (const pair of this.#pairs) pair.poll();
    for (const { host, receives } of this.#shared) {
      const unpolled = this.#pairs.reduce((sum, pair) => sum + pair.unpolledReceives(host), 0);
      receives?.check(this.#pairs.length + unpolled);
    }
    for (const pair of this.#pairs) pair.act();
  }

  finish(): void {
    for (const pair of this.#pairs) pair.finish();
    const isBroken = this.#pairs.some((pair) => pair.isBroken);
    for (const { host, tally, receives } of this.#shared) {
      checkTally(host, tally, isBroken);
      receives?.check(isBroken ? this.#pairs.length : 0);
    }
  }

  #sum(of: (flow: Flow) => number): number {
    return this.#pairs.flatMap(({ flows }) => flows).reduce((sum, { flow }) => sum + of(flow), 0);
  }

  #share(host: SimHost): Shared {
    const { hasSrq, pairs } = this.#options;
    const wordAt = pairs * Area.AREA_BYTES;
    host.view.setBigUint64(wordAt, 0n, true);
    const buffersAt = wordAt + WORD_BYTES;
    const receives = hasSrq ? new SharedReceives(host, buffersAt, SHARED_BUFFERS, Area.RECEIVE_BYTES) : null;
    return { host, tally: { wordAt, found: [], unheard: 0 }, receives };
  }

  #pair(area: number): RcPair {
    const { options, random } = { options: this.#options, random: this.#random };
    const sqSigAll = random.chance(0.2);
    const setups = [this.#setup(0, sqSigAll), this.#setup(1, sqSigAll)] as const;
    const ends = [this.#end(0, area, setups[0]), this.#end(1, area, setups[1])] as const;
    const pair = new RcPair(this.#world, ends, setups, options.mode === 'liveness', options.hasHazards, random);
    const { pathMtu, work, mostBytes, hasHazards } = options;
    const load = { mtu: mtuBytes(pathMtu), work, mostBytes, hasHazards };
    const directions = random.chance(0.7) ? [0, 1] : [0];
    pair.flows = directions.map((i) => {
      const [from, to] = [ends[i]!, ends[1 - i]!];
      const flow = new Flow(from, to, pair, sqSigAll, random);
      const strangers = () => this.#pairs.filter((other) => other !== pair).map((other) => other.ends[1 - i]!);
      return { flow, work: new RcWork(flow, load, this.#shared[1 - i]!.tally, strangers) };
    });
    return pair;
  }

  #end(side: 0 | 1, area: number, { depth, sqSigAll, extras }: EndSetup): FlowEnd {
    const { host, receives: shared } = this.#shared[side];
    const qp = host.createQp(QpType.RC, depth, sqSigAll, extras);
    const keys = KEY_KINDS.map((kind, i) => new SharedKey(host, kind, area + Area.SLOTS_AT + i * Area.SLOT_BYTES));
    const at = area + Area.RECEIVE_AT;
    const own = new OwnReceives(host, () => end.qp, at, Area.RECEIVE_BUFFERS, Area.RECEIVE_BYTES);
    const end: FlowEnd = {
      host,
      qp,
      area,
      receives: shared ?? own,
      hasChannel: extras.hasChannel === true,
      keys,
      isDrained: false,
    };
    return end;
  }

  #setup(side: 0 | 1, sqSigAll: boolean): EndSetup {
    const { receives } = this.#shared[side];
    const { depth, pathMtu, timeout, retryCnt, rnrRetry, minRnrTimer, rdAtomic, hasChannel } = this.#options;
    const extras = { cqe: CQES, hasChannel, ...(receives && { srq: receives.srq }) };
    const connection = {
      pathMtu,
      timeout,
      retryCnt,
      rnrRetry,
      minRnrTimer,
      maxRdAtomic: rdAtomic,
      maxDestRdAtomic: rdAtomic,
      accessFlags: RIGHTS,
    };
    return { depth, sqSigAll, extras, connection: () => ({ ...connection, sqPsn: psnOf(this.#random) }) };
  }
}

/** Half of all connections start within 64 of where PSNs wrap. */
export const psnOf = (random: Random): number =>
  random.chance(0.5) ? 0xff_ffff - random.below(64) : random.bits() & 0xff_ffff;

/** each addition of one happened once: they found 0, 1, 2 … in some order. Where connections broke, some may have been done unheard. */
function checkTally(host: SimHost, { wordAt, found, unheard }: Tally, isBroken: boolean): void {
  const total = host.view.getBigUint64(wordAt, true);
  if (new Set(found).size !== found.length) throw new Broken('two additions found the same');
  if (found.some((value) => value >= total)) throw new Broken(`an addition found more than ${total}`);
  const least = BigInt(found.length);
  if (!isBroken && (total < least || total > least + BigInt(unheard)))
    throw new Broken(`${found.length} additions of one, and ${unheard} unheard of, make ${total}`);
}
