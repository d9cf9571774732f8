/** What quotas mean: a tenant's for all its vRNICs of a host together, in whichever workers they are; an endpoint's for its vRNIC alone. */
import type { Micros } from '../wire/types.ts';
import { Bucket } from './bucket.ts';
import type { Quotas } from './model.ts';

/** By the names of an engine's limits. */
const QUOTAS = { qps: 'qps', cqs: 'cqs', mrs: 'mrs', registeredBytes: 'pinnedBytes' } as const;
type Kind = keyof typeof QUOTAS;
/** Cells of an account's memory, 64 bits each, are in this order. */
const KINDS = Object.keys(QUOTAS) as Kind[];

/** Shared memory in which is written down how much of each kind is held. */
export interface Account {
  /** By all vRNICs of the tenant. */
  readonly all: SharedArrayBuffer;
  /** By this one of them: what it has not given back when it ends is taken from both. */
  readonly own: SharedArrayBuffer;
}

/** How much of each kind is held. */
export type Held = Required<Omit<Quotas, 'connectionsPerSecond'>>;

export const newCells = (): SharedArrayBuffer => new SharedArrayBuffer(KINDS.length * 8);

export function heldIn(cells: SharedArrayBuffer): Held {
  const counts = new BigInt64Array(cells);
  const held = KINDS.map((kind, i) => [QUOTAS[kind], Number(Atomics.load(counts, i))]);
  return Object.fromEntries(held) as Held;
}

/** The vRNIC has ended, and maybe its worker with it: it holds nothing any more. */
export function settle(account: Account): void {
  const [all, own] = [new BigInt64Array(account.all), new BigInt64Array(account.own)];
  for (const i of KINDS.keys()) Atomics.sub(all, i, Atomics.exchange(own, i, 0n));
}

/** A tenant's quotas of what is held, as one of its vRNICs meets them: SharedLimits of its engine. */
export class TenantQuota {
  readonly holder: string;
  /** What is there already stays when it is lowered. */
  quotas: Quotas = {};
  readonly #all: BigInt64Array<SharedArrayBuffer>;
  readonly #own: BigInt64Array<SharedArrayBuffer>;

  constructor(holder: string, account: Account) {
    this.holder = holder;
    this.#all = new BigInt64Array(account.all);
    this.#own = new BigInt64Array(account.own);
  }

  most(kind: Kind): number {
    return this.quotas[QUOTAS[kind]] ?? Number.POSITIVE_INFINITY;
  }

  take(kind: Kind, count: number): boolean {
    const i = KINDS.indexOf(kind);
    const most = this.most(kind);
    const more = BigInt(count);
    let held: bigint;
    do {
      held = Atomics.load(this.#all, i);
      if (Number(held) + count > most) return false;
    } while (Atomics.compareExchange(this.#all, i, held, held + more) !== held);
    // A worker that is ended from outside ends where a function begins or a loop turns: not between these two.
    Atomics.add(this.#own, i, more);
    return true;
  }

  giveBack(kind: Kind, count: number): void {
    const i = KINDS.indexOf(kind);
    const less = BigInt(count);
    Atomics.sub(this.#own, i, less);
    Atomics.sub(this.#all, i, less);
  }
}

/** How many connections may be made: so many in a second, and so many at once after a pause of a second. */
export class ConnectionQuota {
  readonly perSecond: number;
  /** Of one octet for each connection. */
  readonly #bucket: Bucket;

  /** @param meter where others share it, with the index of its bucket. `now` is of one clock for all of them. */
  constructor(perSecond: number, now: Micros, meter?: SharedArrayBuffer, index?: number) {
    this.perSecond = perSecond;
    this.#bucket = new Bucket(perSecond * 8, perSecond, now, meter, index);
  }

  /** Of workers that ask at one moment each may get the last one: what is made too many is owed. */
  hasRoom(now: Micros): boolean {
    return this.#bucket.level(now) >= 1;
  }

  take(): void {
    this.#bucket.spend(1);
  }
}

/** The counts of `most`, lowered to what the quotas say. */
export function withinQuotas<T extends Record<Kind, number>>(most: T, quotas: Quotas): T {
  const lowered = KINDS.map((kind) => [kind, Math.min(most[kind], quotas[QUOTAS[kind]] ?? most[kind])]);
  return { ...most, ...Object.fromEntries(lowered) };
}
