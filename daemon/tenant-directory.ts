/** The tenants of a daemon: what its control store has of them, kept up as that changes, and changed by writing there. */
import type { Tenant } from '../vswitch/model.ts';
import { faultOf, faultOfTenants, fitting, type Interfaces, interfacesOf } from './check-tenants.ts';
import type { TenantText } from './configuration.ts';
import { editsOf } from './declare.ts';
import type { Claim } from './presence.ts';
import type { Condition, ControlStore, Edit, Lease } from './store/control-store.ts';
import { Mirror, type MirrorEvents, type News } from './store/mirror.ts';
import type { Sleep } from './store/sleep.ts';
import { type Change, edited, joined, type TenantOp } from './tenant-edits.ts';
import {
  difference,
  ENDPOINTS,
  type EndpointOf,
  endpointKey,
  entriesOf,
  type HostText,
  hostTextOf,
  isTenantItself,
  TenantPieces,
  tenantKey,
  tenantOfKey,
  vniKey,
} from './tenant-entries.ts';
import { toEndpoint, toTenant } from './tenants.ts';

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

/** What has come of a change: how many connections it ended here, and whether all of it was put before somebody else changed the tenant. */
interface Put {
  readonly ended: number;
  readonly isWhole: boolean;
}

export class TenantDirectory {
  readonly #store: ControlStore;
  readonly #events: DirectoryEvents;
  #mirror!: Mirror;
  readonly #pieces = new Map<string, TenantPieces>();
  readonly #known = new Map<string, Known>();
  /** Tenants that stay as they were, since what the store says of them cannot be. */
  readonly #impossible = new Set<string>();
  /** Those that live, by key. */
  readonly #hosts = new Map<string, HostText>();
  /** Connections that a revision ended. */
  readonly #ended = new Map<number, number>();

  /** @throws Error of the store. */
  static async open(store: ControlStore, events: DirectoryEvents, sleep?: Sleep): Promise<TenantDirectory> {
    const directory = new TenantDirectory(store, events);
    const kept: MirrorEvents = {
      changed: (news) => directory.#take(news),
      failed: (error) => events.complained(error.message),
    };
    directory.#mirror = await Mirror.start(store, '', kept, sleep);
    return directory;
  }

  private constructor(store: ControlStore, events: DirectoryEvents) {
    this.#store = store;
    this.#events = events;
  }

  get tenants(): Tenant[] {
    return [...this.#known.values()].map(({ tenant }) => tenant);
  }

  /** What is known of the store here. */
  get known(): Pick<Mirror, 'revision' | 'entries'> {
    return this.#mirror;
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
    let ended = 0;
    /** What was to be added, and is there in part. */
    let begun: TenantText | undefined;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const before = this.#known.get(name)?.text;
      const after = begun ? joined(this.#textOf(name), begun) : edited(name, before, op, change);
      this.#check(name, after, this.#interfacesBeside(name));
      const put = await this.#put(before, after);
      if (!put) continue;
      ended += put.ended;
      if (put.isWhole) return ended;
      if (op === 'addTenant') begun = after;
    }
    throw new Error(`tenant ${name} changes all the time: try again`);
  }

  /** Puts endpoints under the lease that nobody has, or that are at the claim's host. Returns those; without a lease, those that are new. @throws as change. */
  async announce(claims: readonly Claim[], lease: Lease | undefined): Promise<Claim[]> {
    const held: Claim[] = [];
    for (const some of portions(claims)) {
      const name = some[0]!.tenant;
      for (let attempt = 0; ; attempt++) {
        if (attempt === ATTEMPTS_MAX) throw new Error(`tenant ${name} changes all the time: try again`);
        const before = this.#textOf(name);
        const ours = some.filter(({ address, host }) => (this.hostOf(name, address) ?? host) === host);
        const fresh = lease ? ours : ours.filter(({ address }) => this.hostOf(name, address) === undefined);
        if (!lease && fresh.length === 0) break;
        const after = { ...before, endpoints: announced(before.endpoints, ours) };
        this.#check(name, after);
        const keys = new Set(ours.map(({ address }) => endpointKey(name, address)));
        if (!(await this.#put(before, after, { lease, keys }))) continue;
        held.push(...fresh);
        break;
      }
    }
    return held;
  }

  /** Those that their tenants have, or could have beside what these have now. */
  possible(claims: readonly Claim[]): Claim[] {
    return claimsByTenant(claims).flatMap((some) => {
      const text = this.#known.get(some[0]!.tenant)?.text;
      if (!text) return [];
      const [there, absent] = [true, false].map((isThere) =>
        some.filter(({ tenant, address }) => (this.hostOf(tenant, address) !== undefined) === isThere),
      ) as [Claim[], Claim[]];
      const claimOf = new Map(absent.map((claim) => [toEndpoint(text.vni, textOf(claim)), claim]));
      return [...there, ...fitting(toTenant(text), [...claimOf.keys()]).map((endpoint) => claimOf.get(endpoint)!)];
    });
  }

  /**
   * What a claim has changed, or may have, is as it was before: a commit that was not answered, too, for it was under a condition on the tenant's own entry, which this
   * changes. What others have made of the endpoint since stays. @param before the endpoint; undefined: there was none. @throws as change.
   */
  async undo({ tenant, address, host }: Claim, before: EndpointOf | undefined): Promise<void> {
    const key = endpointKey(tenant, address);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const text = this.#known.get(tenant)?.text;
      if (!text) return; // gone with all that it had
      const edit = before ? { key, value: JSON.stringify(before) } : { key };
      const edits = touching(tenant, this.hostOf(tenant, address) === host ? [edit] : [], text);
      if (await this.#putAll(tenant, [edits], this.#conditions(tenant, text, text, edits))) return;
    }
    throw new Error(`tenant ${tenant} changes all the time: try again`);
  }

  /** They are no more, wherever they are. The revision that tells of it. */
  async withdraw(claims: readonly Claim[]): Promise<number> {
    let last = 0;
    for (const some of portions(claims)) {
      const entries = some.flatMap(
        ({ tenant, address }) => this.#mirror.entries.get(endpointKey(tenant, address)) ?? [],
      );
      if (entries.length === 0) continue;
      const edits = entries.map(({ key }) => ({ key }));
      // What somebody has changed meanwhile goes with the lease, or is not ours any more.
      last = (await this.#store.commit(edits, entries)) ?? last;
    }
    return last;
  }

  /** …and here that is known. */
  async remove(claims: readonly Claim[]): Promise<void> {
    await this.#mirror.until(await this.withdraw(claims));
  }

  /** Undefined: the tenant has no such endpoint. */
  hostOf(tenant: string, address: string): string | undefined {
    return this.endpointOf(tenant, address)?.host;
  }

  endpointOf(tenant: string, address: string): EndpointOf | undefined {
    return this.#known.get(tenant)?.text.endpoints.find((one) => one.address === address);
  }

  /** It went with its host. */
  isLost(tenant: string, address: string): boolean {
    return this.#pieces.get(tenant)?.lost.some((one) => one.address === address) ?? false;
  }

  #textOf(name: string): TenantText {
    const known = this.#known.get(name);
    if (!known) throw new Error(`no tenant named ${JSON.stringify(name)}: urnic tenant add, or in the configuration`);
    return known.text;
  }

  /**
   * Makes the second of the first. Undefined where somebody else was faster.
   *
   * What one commit does not take goes in several, in the order of `difference`. Whoever dies between two of them leaves a tenant that has less than it should, and
   * each endpoint with all the rules that it had or was to have: `tenant delete` again deletes the rest; a `tenant add` is repaired by `tenant delete` and another one.
   */
  async #put(
    before: TenantText | undefined,
    after: TenantText | undefined,
    { lease, keys = NO_KEYS }: { lease?: Lease | undefined; keys?: ReadonlySet<string> } = {},
  ): Promise<Put | undefined> {
    const name = (after ?? before)!.name;
    const wanted = after ? entriesOf(after) : new Map<string, string>();
    const changes = difference(before ? entriesOf(before) : new Map(), wanted);
    const edits = changes.map((edit) => this.#underLease(edit));
    if (lease) {
      for (const key of keys) {
        const at = edits.findIndex((edit) => edit.key === key);
        edits.splice(at < 0 ? edits.length : at, 1, { key, value: wanted.get(key)!, lease });
      }
    }
    if (edits.length === 0 && before === after) return { ended: 0, isWhole: true };
    return this.#putAll(
      name,
      commitsOf(edits, !after).map((some) => touching(name, some, (after ?? before)!)),
      this.#conditions(name, before, after, edits),
    );
  }

  /** One commit after the other, as long as nobody else changes the tenant between them. Undefined: somebody did before the first. */
  async #putAll(
    name: string,
    commits: readonly (readonly Edit[])[],
    conditions: readonly Condition[],
  ): Promise<Put | undefined> {
    let last: number | undefined;
    let ended = 0;
    for (const edits of commits) {
      const theirs = conditionsOn(edits, conditions).map((condition) =>
        condition.key === tenantKey(name) && last !== undefined ? { ...condition, revision: last } : condition,
      );
      const revision = await this.#store.commit(edits, theirs);
      if (revision === undefined) {
        await this.#refresh(theirs);
        return last === undefined ? undefined : { ended, isWhole: false };
      }
      await this.#mirror.until(revision);
      ended += this.#ended.get(revision) ?? 0;
      last = revision;
    }
    return { ended, isWhole: true };
  }

  /** An endpoint that stays where it is stays under the lease of its host. */
  #underLease(edit: Edit): Edit {
    const before = this.#mirror.entries.get(edit.key);
    if (edit.value === undefined || !before || !edit.key.startsWith(ENDPOINTS)) return edit;
    return hostIn(before.value) === hostIn(edit.value) ? { ...edit, lease: 'keep' } : edit;
  }

  async close(): Promise<void> {
    await this.#mirror.close();
  }

  /** Changes of one tenant happen one after the other, and nobody takes its VNI meanwhile. */
  #conditions(
    name: string,
    before: TenantText | undefined,
    after: TenantText | undefined,
    edits: readonly Edit[],
  ): Condition[] {
    const revisionOf = (key: string): Condition => ({ key, revision: this.#mirror.entries.get(key)?.revision ?? 0 });
    const conditions = [revisionOf(tenantKey(name))];
    if (after && after.vni !== before?.vni) conditions.push(revisionOf(vniKey(after.vni)));
    for (const { key, lease } of edits) if (lease === 'keep') conditions.push(revisionOf(key));
    return conditions;
  }

  /** Until what stood in the way of a commit is known here. */
  async #refresh(conditions: readonly Condition[]): Promise<void> {
    for (const { key } of conditions) await this.#mirror.until((await this.#store.get(key))?.revision ?? 0);
  }

  async #commitAll(edits: readonly Edit[], conditions: readonly Condition[]): Promise<boolean> {
    for (const some of pieces(edits)) {
      const theirs = conditionsOn(some, conditions);
      const revision = await this.#store.commit(some, theirs);
      if (revision === undefined) {
        await this.#refresh(theirs);
        return false;
      }
      await this.#mirror.until(revision);
    }
    return true;
  }

  /** Interfaces that endpoints of the other tenants are. */
  #interfacesBeside(name: string): Interfaces {
    return interfacesOf(this.tenants.filter((tenant) => tenant.name !== name));
  }

  /** @param interfaces that endpoints of others are, where that is to be looked at. @throws Error in words. */
  #check(name: string, after: TenantText | undefined, interfaces?: Interfaces): void {
    if (!after) return;
    const other = [...this.#known.values()].find(({ text }) => text.name !== name && text.vni === after.vni);
    if (other) throw new Error(`tenants ${other.text.name} and ${name} have VNI ${after.vni} both: give each its own`);
    const fault = faultOf(toTenant(after), interfaces);
    if (fault) throw new Error(fault.text);
  }

  /** @throws Error: what the file declares cannot be beside what the store has. */
  #checkWith(edits: readonly Edit[]): void {
    const values = new Map([...this.#mirror.entries].map(([key, { value }]) => [key, value]));
    for (const { key, value } of edits) {
      if (value === undefined) values.delete(key);
      else values.set(key, value);
    }
    const pieces = new Map<string, TenantPieces>();
    for (const [key, value] of values) take(pieces, key, value, NO_KEYS);
    const texts = [...pieces.values()].flatMap(({ text }) => text ?? []);
    const found = faultOfTenants(texts.map(toTenant));
    if (found) throw new Error(`the configuration and the control store disagree: ${found.text}`);
  }

  async #take(news: News): Promise<void> {
    const { edits, revision } = news;
    const { lost, returned } = this.#takeHosts(news);
    const touched = new Set([...this.#pieces].flatMap(([name, one]) => (one.forget(returned) ? name : [])));
    for (const { key, value } of edits) {
      try {
        const name = take(this.#pieces, key, value, lost);
        if (name !== undefined) touched.add(name);
      } catch (error) {
        this.#complainOf(key, error as Error);
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

  /**
   * VTEPs whose endpoints are lost where they go with these edits: of hosts that go, too, and in a listing of those that are returning. And those of hosts that have returned: what
   * is lost there still was deleted.
   */
  #takeHosts({ edits, isListed }: News): { lost: Set<string>; returned: Set<string> } {
    const before = new Map(this.#hosts);
    for (const { key, value } of edits) this.#takeHost(key, value);
    const changes = edits.map(({ key }) => ({ was: before.get(key), is: this.#hosts.get(key) }));
    const gone = changes.flatMap(({ was, is }) => (is ? [] : (was ?? [])));
    const returned = changes.flatMap(({ was, is }) =>
      is && !is.isReturning && (was ? was.isReturning : isListed) ? is : [],
    );
    const returning = isListed ? [...this.#hosts.values()].filter((host) => host.isReturning) : [];
    const vtepsOf = (hosts: readonly HostText[]): Set<string> => new Set(hosts.flatMap(({ vteps }) => vteps));
    return { lost: vtepsOf([...gone, ...returning]), returned: vtepsOf(returned) };
  }

  #takeHost(key: string, value: string | undefined): void {
    try {
      const host = value === undefined ? undefined : hostTextOf(key, value);
      if (host) this.#hosts.set(key, host);
      else this.#hosts.delete(key);
    } catch (error) {
      this.#complainOf(key, error as Error);
    }
  }

  #complainOf(key: string, { message }: Error): void {
    this.#events.complained(`${key} in the control store is no such entry: ${message}`);
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
      const lost = pieces!.lost;
      const json = JSON.stringify([text, lost]);
      if (json === before?.json) return undefined;
      this.#check(name, text);
      const tenant = withLost(toTenant(text), lost);
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

/** In commits: what is the tenant's own is all in the first, or in the last of one that goes. */
function commitsOf(edits: readonly Edit[], isGoing: boolean): readonly (readonly Edit[])[] {
  if (edits.length <= EDITS_MAX) return [edits];
  const own = edits.filter(({ key }) => isTenantItself(key));
  const parts = pieces(edits.filter(({ key }) => !isTenantItself(key)));
  return (isGoing ? [...parts, own] : [own, ...parts]).filter((some) => some.length > 0);
}

/** Every change of a tenant changes its own entry, too: that is what others' conditions look at. */
function touching(name: string, edits: readonly Edit[], text: TenantText): Edit[] {
  const key = tenantKey(name);
  if (edits.some((edit) => edit.key === key)) return [...edits];
  return [...edits, { key, value: entriesOf(text).get(key)! }];
}

const conditionsOn = (edits: readonly Edit[], conditions: readonly Condition[]): Condition[] => {
  const keys = new Set(edits.map(({ key }) => key));
  return conditions.filter(({ key }) => keys.has(key));
};

const NO_KEYS: ReadonlySet<string> = new Set();
const hostIn = (value: string): string => (JSON.parse(value) as { host: string }).host;

/** Of one tenant each, and no more than one commit takes. */
const portions = (claims: readonly Claim[]): Claim[][] => claimsByTenant(claims).flatMap(pieces);

function claimsByTenant(claims: readonly Claim[]): Claim[][] {
  const byTenant = new Map<string, Claim[]>();
  for (const claim of claims) byTenant.set(claim.tenant, [...(byTenant.get(claim.tenant) ?? []), claim]);
  return [...byTenant.values()];
}

/** Each no more than one commit takes. */
const pieces = <T>(all: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(all.length / EDITS_MAX) }, (_, i) => all.slice(i * EDITS_MAX, (i + 1) * EDITS_MAX));

/** Who is there already stays as it is. */
function announced(endpoints: TenantText['endpoints'], claims: readonly Claim[]): TenantText['endpoints'] {
  const there = new Set(endpoints.map(({ address }) => address));
  const fresh = claims.filter(({ address }) => !there.has(address));
  return [...endpoints, ...fresh.map(textOf)];
}

const textOf = ({ address, host, more }: Claim): TenantText['endpoints'][number] => ({ ...more, address, host });

/** Without those whose addresses somebody has now: the tenant's own, or one that was lost later. */
function withLost(tenant: Tenant, lost: readonly TenantText['endpoints'][number][]): Tenant {
  const more = lost.map((text) => ({ ...toEndpoint(tenant.vni, text), isLost: true })).reverse();
  return { ...tenant, endpoints: [...tenant.endpoints, ...fitting(tenant, more)] };
}

function take(
  all: Map<string, TenantPieces>,
  key: string,
  value: string | undefined,
  lostVteps: ReadonlySet<string>,
): string | undefined {
  const name = tenantOfKey(key);
  if (name === undefined) return undefined;
  const pieces = all.get(name) ?? new TenantPieces();
  all.set(name, pieces);
  pieces.take(key, value, lostVteps);
  return name;
}
