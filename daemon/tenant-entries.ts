/** Tenants as entries of a control store: the tenant itself, each rule and each endpoint have a key of their own. */
import { EndpointText, RuleText, TenantText } from './configuration.ts';
import type { Edit } from './store/control-store.ts';

export const TENANTS = 'tenants/';
const RULES = 'rules/';
export const ENDPOINTS = 'endpoints/';
/** The tenant that has a VNI: what two hosts add at once cannot both be taken. */
const VNIS = 'vnis/';
const HOSTS = 'hosts/';

export const tenantKey = (name: string): string => TENANTS + name;
export const vniKey = (vni: number): string => VNIS + vni;
export const endpointKey = (tenant: string, address: string): string => `${ENDPOINTS}${tenant}/${address}`;

export const hostKey = (name: string): string => HOSTS + name;

/** What a host says of itself. */
export interface HostText {
  readonly vteps: readonly string[];
  /** Its endpoints went with a lease, and are not all back yet. */
  readonly isReturning?: true;
}

/** Undefined: the entry is not a host's. */
export const hostTextOf = (key: string, value: string): HostText | undefined =>
  key.startsWith(HOSTS) ? (JSON.parse(value) as HostText) : undefined;

/** A host's name; undefined: the entry is none. */
export const hostOfKey = (key: string): string | undefined =>
  key.startsWith(HOSTS) ? key.slice(HOSTS.length) : undefined;

/** `endpoints/blue/fd00::1` is of tenant blue; undefined: not a tenant's. */
export function tenantOfKey(key: string): string | undefined {
  const [folder, name] = key.split('/', 2);
  return `${folder}/` === TENANTS || `${folder}/` === RULES || `${folder}/` === ENDPOINTS ? name : undefined;
}

/** Values by key: the tenant itself, its rules, its endpoints. */
export function entriesOf(text: TenantText): Map<string, string> {
  const { rules, endpoints, ...settings } = text;
  return new Map([
    [tenantKey(text.name), JSON.stringify(settings)],
    [vniKey(text.vni), text.name],
    ...rules.map((rule): [string, string] => [`${RULES}${text.name}/${rule.id}`, JSON.stringify(rule)]),
    ...endpoints.map((one): [string, string] => [endpointKey(text.name, one.address), JSON.stringify(one)]),
  ]);
}

/** It says what the tenant is, not what it has: its settings, its VNI. */
export const isTenantItself = (key: string): boolean => key.startsWith(TENANTS) || key.startsWith(VNIS);

/** What makes the second of the first. Endpoints go before the rules that they were under, and come after them. */
export function difference(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): Edit[] {
  const gone = [...before.keys()].filter((key) => !after.has(key)).map((key) => ({ key }));
  const changed = [...after].filter(([key, value]) => before.get(key) !== value);
  return [...gone.reverse(), ...changed.map(([key, value]) => ({ key, value }))];
}

export type EndpointOf = TenantText['endpoints'][number];

const LOST_MAX = 1024;

/** A tenant that is being put together from entries as they come. */
export class TenantPieces {
  settings: object | undefined;
  readonly #rules = new Map<string, TenantText['rules'][number]>();
  readonly #endpoints = new Map<string, EndpointOf>();
  /** Endpoints that went with their host, which nobody has heard of: live connections to them end by themselves or not at all. */
  readonly #lost = new Map<string, EndpointOf>();

  /** @param lostVteps Of hosts whose endpoints go with them. @throws Error: not such an entry. It changes nothing then. */
  take(key: string, value: string | undefined, lostVteps: ReadonlySet<string>): void {
    const before = this.#endpoints.get(key);
    const read = value === undefined ? undefined : (JSON.parse(value) as object);
    if (key.startsWith(TENANTS)) this.settings = read;
    else if (key.startsWith(RULES)) set(this.#rules, key, read && RuleText.parse(read));
    else set(this.#endpoints, key, read && EndpointText.parse(read));
    this.#lost.delete(key);
    if (value === undefined && before && lostVteps.has(before.host)) this.#lose(key, before);
  }

  get lost(): readonly EndpointOf[] {
    return [...this.#lost.values()];
  }

  #lose(key: string, endpoint: EndpointOf): void {
    this.#lost.set(key, endpoint);
    const [oldest] = this.#lost.keys();
    if (this.#lost.size > LOST_MAX) this.#lost.delete(oldest!);
  }

  /** What is lost at these VTEPs is not coming back. False: nothing is. */
  forget(vteps: ReadonlySet<string>): boolean {
    const gone = [...this.#lost].filter(([, { host }]) => vteps.has(host));
    for (const [key] of gone) this.#lost.delete(key);
    return gone.length > 0;
  }

  get isEmpty(): boolean {
    return this.settings === undefined && this.#rules.size === 0 && this.#endpoints.size === 0;
  }

  /** Undefined: there is no such tenant, whatever is said of its rules. @throws Error: its settings are none. */
  get text(): TenantText | undefined {
    if (this.settings === undefined) return undefined;
    const { rules, endpoints, ...settings } = TenantText.parse(this.settings);
    return {
      ...settings,
      rules: [...rules, ...this.#rules.values()],
      endpoints: [...endpoints, ...this.#endpoints.values()],
    };
  }
}

function set<T>(pieces: Map<string, T>, key: string, piece: T | undefined): void {
  if (piece === undefined) pieces.delete(key);
  else pieces.set(key, piece);
}
