/** The tenants of a daemon: what its control store has of them, kept up as that changes, and changed by writing there. */
import type { Tenant } from '../vswitch/model.ts';
import { faultOfTenants } from './check-tenants.ts';
import type { TenantText } from './configuration.ts';
import { editsOf } from './declare.ts';
import type { Batch, Condition, ControlStore, Edit } from './store/control-store.ts';
import { Mirror } from './store/mirror.ts';
import { type Change, edited, type TenantOp } from './tenant-edits.ts';
import { difference, entriesOf, TenantPieces, tenantKey, tenantOfKey, vniKey } from './tenant-entries.ts';
import { toTenant } from './tenants.ts';

export interface DirectoryEvents {
  /** These are now otherwise; one that was deleted has no endpoints. How many connections that ended. */
  changed(tenants: readonly Tenant[]): Promise<number>;
  /** Something in the store, or the store itself, is not as it should be; what was known before holds on. */
  complained(reason: string): void;
}

/** How often a command begins again because somebody else has changed the tenant meanwhile. */
const ATTEMPTS_MAX = 32;
/** Answers that are remembered for the commands that wait for them. */
const ANSWERS_MAX = 256;
/** Edits of one commit: etcd takes 128 operations. */
const EDITS_MAX = 100;

interface Known {
  readonly tenant: Tenant;
  readonly text: TenantText;
  /** The text as it is compared. */
  readonly json: string;
}

export class TenantDirectory {
  readonly #store: ControlStore;
  readonly #events: DirectoryEvents;
  #mirror!: Mirror;
  readonly #pieces = new Map<string, TenantPieces>();
  readonly #known = new Map<string, Known>();
  /** Tenants that stay as they were, since what the store says of them cannot be. */
  readonly #impossible = new Set<string>();
  /** Connections that a revision ended. */
  readonly #ended = new Map<number, number>();

  /** @throws Error of the store. */
  static async open(store: ControlStore, events: DirectoryEvents): Promise<TenantDirectory> {
    const directory = new TenantDirectory(store, events);
    directory.#mirror = await Mirror.start(store, '', {
      changed: (batch) => directory.#take(batch),
      failed: (error) => events.complained(error.message),
    });
    return directory;
  }

  private constructor(store: ControlStore, events: DirectoryEvents) {
    this.#store = store;
    this.#events = events;
  }

  get tenants(): Tenant[] {
    return [...this.#known.values()].map(({ tenant }) => tenant);
  }

  find(name: string): Tenant | undefined {
    return this.#known.get(name)?.tenant;
  }

  /** What a configuration file declares: what has changed in the file since `host` last declared it is put, the rest is left as commands have made it. */
  async declare(host: string, texts: readonly TenantText[]): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const { edits, conditions } = editsOf(host, texts, this.#mirror.entries);
      this.#checkWith(edits);
      if (await this.#commitAll(edits, conditions)) return;
    }
    throw new Error('the control store changes all the time: nothing could be declared');
  }

  /** Returns how many live connections that has ended here. @throws Error in words: no such tenant, no such rule, a collision, the store out of reach. */
  async change(name: string, op: TenantOp, change: Change): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const before = this.#known.get(name)?.text;
      const after = edited(name, before, op, change);
      this.#check(name, after);
      const edits = difference(before ? entriesOf(before) : new Map(), after ? entriesOf(after) : new Map());
      const conditions = this.#conditions(name, before, after);
      const revision = await this.#store.commit(touching(name, edits, after), conditions);
      if (revision === undefined) {
        await this.#refresh(conditions);
        continue;
      }
      await this.#mirror.until(revision);
      return this.#ended.get(revision) ?? 0;
    }
    throw new Error(`tenant ${name} changes all the time: try again`);
  }

  async close(): Promise<void> {
    await this.#mirror.close();
  }

  /** Changes of one tenant happen one after the other, and nobody takes its VNI meanwhile. */
  #conditions(name: string, before: TenantText | undefined, after: TenantText | undefined): Condition[] {
    const revisionOf = (key: string): Condition => ({ key, revision: this.#mirror.entries.get(key)?.revision ?? 0 });
    const conditions = [revisionOf(tenantKey(name))];
    if (after && after.vni !== before?.vni) conditions.push(revisionOf(vniKey(after.vni)));
    return conditions;
  }

  /** Until what stood in the way of a commit is known here. */
  async #refresh(conditions: readonly Condition[]): Promise<void> {
    for (const { key } of conditions) await this.#mirror.until((await this.#store.get(key))?.revision ?? 0);
  }

  async #commitAll(edits: readonly Edit[], conditions: readonly Condition[]): Promise<boolean> {
    for (let from = 0; from < edits.length; from += EDITS_MAX) {
      const some = edits.slice(from, from + EDITS_MAX);
      const theirs = conditions.filter(({ key }) => some.some((edit) => edit.key === key));
      const revision = await this.#store.commit(some, theirs);
      if (revision === undefined) {
        await this.#refresh(theirs);
        return false;
      }
      await this.#mirror.until(revision);
    }
    return true;
  }

  #check(name: string, after: TenantText | undefined): void {
    const others = [...this.#known.values()].filter(({ text }) => text.name !== name).map(({ tenant }) => tenant);
    const found = after && faultOfTenants([...others, toTenant(after)]);
    if (found) throw new Error(found.fault);
  }

  /** @throws Error: what the file declares cannot be beside what the store has. */
  #checkWith(edits: readonly Edit[]): void {
    const values = new Map([...this.#mirror.entries].map(([key, { value }]) => [key, value]));
    for (const { key, value } of edits) {
      if (value === undefined) values.delete(key);
      else values.set(key, value);
    }
    const pieces = new Map<string, TenantPieces>();
    for (const [key, value] of values) take(pieces, key, value);
    const texts = [...pieces.values()].flatMap(({ text }) => text ?? []);
    const found = faultOfTenants(texts.map(toTenant));
    if (found) throw new Error(`the configuration and the control store disagree: ${found.fault}`);
  }

  async #take({ edits, revision }: Batch): Promise<void> {
    const touched = new Set<string>();
    for (const { key, value } of edits) {
      try {
        const name = take(this.#pieces, key, value);
        if (name !== undefined) touched.add(name);
      } catch (error) {
        this.#events.complained(`${key} in the control store is no such entry: ${(error as Error).message}`);
      }
    }
    // What was impossible may be possible now; and who goes makes room for who comes.
    const names = new Set([...touched, ...this.#impossible]);
    const isGone = (name: string): boolean => this.#pieces.get(name)?.settings === undefined;
    const ordered = [...names].sort((a, b) => Number(isGone(b)) - Number(isGone(a)));
    const changed = ordered.flatMap((name) => this.#renew(name) ?? []);
    if (changed.length === 0) return;
    this.#remember(revision, await this.#events.changed(changed));
  }

  /** The tenant as its pieces now make it; undefined when that is as before, or impossible. */
  #renew(name: string): Tenant | undefined {
    const before = this.#known.get(name);
    const pieces = this.#pieces.get(name);
    if (pieces?.isEmpty) this.#pieces.delete(name);
    this.#impossible.delete(name);
    try {
      const text = pieces?.text;
      if (!text) {
        this.#known.delete(name);
        return before && { ...before.tenant, endpoints: [], rules: [] };
      }
      const json = JSON.stringify(text);
      if (json === before?.json) return undefined;
      this.#check(name, text);
      const tenant = toTenant(text);
      this.#known.set(name, { tenant, text, json });
      return tenant;
    } catch (error) {
      this.#impossible.add(name);
      this.#events.complained(`tenant ${name} stays as it was: ${(error as Error).message}`);
      return undefined;
    }
  }

  #remember(revision: number, ended: number): void {
    this.#ended.set(revision, ended);
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > ANSWERS_MAX) this.#ended.delete(oldest!);
  }
}

/** Every change of a tenant changes its own entry, too: that is what others' conditions look at. */
function touching(name: string, edits: readonly Edit[], after: TenantText | undefined): Edit[] {
  const key = tenantKey(name);
  if (!after || edits.some((edit) => edit.key === key)) return [...edits];
  return [...edits, { key, value: entriesOf(after).get(key)! }];
}

function take(all: Map<string, TenantPieces>, key: string, value: string | undefined): string | undefined {
  const name = tenantOfKey(key);
  if (name === undefined) return undefined;
  const pieces = all.get(name) ?? new TenantPieces();
  all.set(name, pieces);
  pieces.take(key, value);
  return name;
}
