/** What etcd is, in virtual time: entries, conditions, leases that end by the clock, a log that is compacted, restarts. Who asks it stands in store-client.ts. */
import {
  type Batch,
  CompactedError,
  type Condition,
  type Edit,
  type Entry,
  type Snapshot,
} from '../../../daemon/store/control-store.ts';
import type { VirtualTime } from './virtual-time.ts';

/** As etcd's own. */
const OPERATIONS_MAX = 128;

/** The lease by its name. */
export type ServerEdit = Pick<Edit, 'key' | 'value'> & { readonly lease?: string | undefined };

interface Held extends Entry {
  readonly lease: string | undefined;
}

interface ServerLease {
  readonly millis: number;
  endsAt: number;
}

export interface Commit extends Batch {
  /** Nobody asked for it: a lease has ended. */
  readonly isLeaseEnd: boolean;
}

export class StoreServer {
  readonly entries = new Map<string, Held>();
  revision = 0;
  /** It answers nobody, and no lease ends. */
  isDown = false;
  readonly #time: VirtualTime;
  readonly #committed: (commit: Commit) => void;
  readonly #log: Batch[] = [];
  /** The first revision that a watch may ask for. */
  #oldest = 1;
  readonly #leases = new Map<string, ServerLease>();
  #leaseCount = 0;
  readonly #watchers = new Set<(batch: Batch) => void>();

  constructor(time: VirtualTime, committed: (commit: Commit) => void) {
    this.#time = time;
    this.#committed = committed;
  }

  list(): Snapshot {
    const entries = [...this.entries.values()].map(({ key, value, revision }) => ({ key, value, revision }));
    return { revision: this.revision, entries };
  }

  /** Undefined: a condition does not hold. @throws Error: etcd would refuse it. */
  commit(edits: readonly ServerEdit[], conditions: readonly Condition[]): number | undefined {
    if (edits.length > OPERATIONS_MAX) throw new Error('etcd refuses: too many operations in txn request');
    if (new Set(edits.map(({ key }) => key)).size < edits.length) throw new Error('etcd refuses: duplicate key given');
    if (conditions.some(({ key, revision }) => (this.entries.get(key)?.revision ?? 0) !== revision)) return undefined;
    for (const { lease } of edits)
      if (lease !== undefined && lease !== 'keep' && !this.#leases.has(lease))
        throw new Error('etcd refuses: requested lease not found');
    return this.#apply(edits, false);
  }

  /** @throws CompactedError */
  watch(from: number, tell: (batch: Batch) => void): () => void {
    if (from < this.#oldest) throw new CompactedError(`what was before ${this.#oldest} is forgotten`);
    for (const batch of this.#log) if (batch.revision >= from) tell(batch);
    this.#watchers.add(tell);
    return () => this.#watchers.delete(tell);
  }

  grant(seconds: number): string {
    const id = `lease ${++this.#leaseCount}`;
    const millis = seconds * 1000;
    this.#leases.set(id, { millis, endsAt: this.#time.now + millis });
    this.#watchLease(id, millis);
    return id;
  }

  /** False: it has ended. */
  keepAlive(id: string): boolean {
    const lease = this.#leases.get(id);
    if (lease) lease.endsAt = this.#time.now + lease.millis;
    return lease !== undefined;
  }

  endLease(id: string): void {
    if (!this.#leases.delete(id)) return;
    const gone = [...this.entries.values()].filter(({ lease }) => lease === id);
    if (gone.length === 0) return;
    this.#apply(
      gone.map(({ key }) => ({ key })),
      true,
    );
  }

  /** Watches must list anew that ask for what was before. */
  compact(): void {
    this.#oldest = this.revision + 1;
    this.#log.length = 0;
  }

  /** Whoever had a lease has it for as long again, as with a new leader of etcd. */
  restart(): void {
    this.isDown = false;
    for (const id of this.#leases.keys()) this.keepAlive(id);
  }

  #watchLease(id: string, millis: number): void {
    this.#time.after(millis, () => {
      const lease = this.#leases.get(id);
      if (!lease) return;
      const left = lease.endsAt - this.#time.now;
      if (left <= 0 && !this.isDown) this.endLease(id);
      else this.#watchLease(id, Math.max(left, 1));
    });
  }

  #apply(wanted: readonly ServerEdit[], isLeaseEnd: boolean): number {
    const edits = wanted.filter(({ key, value }) => value !== undefined || this.entries.has(key));
    if (edits.length === 0) return this.revision;
    const revision = ++this.revision;
    for (const { key, value, lease } of edits) {
      const under = lease === 'keep' ? this.entries.get(key)!.lease : lease;
      if (value === undefined) this.entries.delete(key);
      else this.entries.set(key, { key, value, revision, lease: under });
    }
    const batch = { revision, edits: edits.map(({ key, value }) => ({ key, ...(value !== undefined && { value }) })) };
    this.#log.push(batch);
    this.#committed({ ...batch, isLeaseEnd });
    for (const tell of [...this.#watchers]) tell(batch);
    return revision;
  }
}
