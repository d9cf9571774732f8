/**
 * What the store says, revision by revision, read by somebody who shares no code with the directory or the switch: who is where, who may send to whom, which connection may live.
 *
 * An endpoint that went with a lease is lost, not deleted: nobody wanted that, so nothing ends for it. One that a commit deleted is deleted.
 */
import type { Commit } from './store-server.ts';

export interface EndpointFacts {
  readonly address: string;
  readonly also?: readonly string[];
  readonly host: string;
  readonly group?: string;
  readonly kind?: 'vrnic' | 'veth';
  readonly translates?: boolean;
}

export interface RuleFacts {
  readonly id: string;
  readonly priority: number;
  readonly action: 'allow' | 'deny';
  readonly source: string;
  readonly destination: string;
  readonly direction: 'in' | 'out' | 'both';
  readonly transport: string;
}

export interface Facts {
  readonly name: string;
  readonly vni: number;
  readonly underlay: string;
  readonly rules: readonly RuleFacts[];
  /** By their first address. */
  readonly endpoints: ReadonlyMap<string, EndpointFacts>;
  readonly lost: ReadonlyMap<string, EndpointFacts>;
}

export interface State {
  readonly tenants: ReadonlyMap<string, Facts>;
  /** VTEPs of the hosts that are there, with all that is theirs; by their keys. */
  readonly hosts: ReadonlyMap<string, readonly string[]>;
}

/** As a host's end of it was made. */
export interface ConnectionFacts {
  readonly tenant: string;
  readonly vni: number;
  readonly local: string;
  readonly remote: string;
  readonly transport: string;
  readonly localHost: string;
  readonly remoteHost: string;
  readonly isTranslated: boolean;
  readonly wanted: string | undefined;
}

/** Why it may end, and whether it must. */
export interface Reason {
  readonly text: string;
  readonly isBinding: boolean;
}

export const addressesOf = ({ address, also = [] }: Pick<EndpointFacts, 'address' | 'also'>): readonly string[] => [
  address,
  ...also,
];

/** Who has an address; also one that is lost. */
export function endpointAt({ endpoints, lost }: Facts, address: string): EndpointFacts | undefined {
  const isIt = (one: EndpointFacts): boolean => addressesOf(one).includes(address);
  return [...endpoints.values()].find(isIt) ?? [...lost.values()].find(isIt);
}

function matches(prefix: string, address: string): boolean {
  if (prefix === 'any') return true;
  return prefix === '0.0.0.0/0' ? !address.includes(':') : prefix === address;
}

/** The highest priority decides; of equal ones a denial. Where nobody has said anything: yes. */
export function allows({ rules }: Facts, from: string, to: string, side: 'in' | 'out', transport: string): boolean {
  const found = rules.filter(
    (rule) =>
      (rule.direction === 'both' || rule.direction === side) &&
      (rule.transport === 'any' || rule.transport === transport) &&
      matches(rule.source, from) &&
      matches(rule.destination, to),
  );
  const best = Math.max(...found.map(({ priority }) => priority));
  return !found.some(({ priority, action }) => priority === best && action === 'deny');
}

/** Where both are known. */
export function areApart(facts: Facts, one: string, other: string): boolean {
  const [a, b] = [endpointAt(facts, one), endpointAt(facts, other)];
  return a !== undefined && b !== undefined && a.group !== b.group;
}

/** It is, or is missing together with that host. */
export const mayBeAt = ({ hosts }: State, endpoint: EndpointFacts | undefined, host: string): boolean =>
  endpoint ? endpoint.host === host : ![...hosts.values()].some((vteps) => vteps.includes(host));

/**
 * Undefined: the connection stays. What is missing together with its host may have been deleted or lost: who has only a listing of what is there now cannot know, and may let
 * the connection live.
 */
export function reasonToEnd(state: State, connection: ConnectionFacts): Reason | undefined {
  const { tenant, vni, local, remote, transport, localHost, remoteHost, isTranslated, wanted } = connection;
  const facts = state.tenants.get(tenant);
  if (!facts) return binding('its tenant is no more');
  if (facts.vni !== vni) return binding('its tenant has another VNI');
  const [own, peer] = [endpointAt(facts, local), endpointAt(facts, remote)];
  if (own?.host !== localHost) return { text: 'its endpoint is not here', isBinding: !mayBeAt(state, own, localHost) };
  if (peer?.host !== remoteHost) return { text: 'its peer is not there', isBinding: !mayBeAt(state, peer, remoteHost) };
  if (own.group !== peer.group) return binding('groups keep them apart');
  if (!allows(facts, local, remote, 'out', transport) || !allows(facts, remote, local, 'in', transport))
    return binding('a rule denies it');
  if (facts.underlay === 'local' && localHost !== remoteHost) return binding('its tenant has no wire');
  if (isTranslated && (wanted ?? facts.underlay) === 'vxlan') return binding('its tenant is not translated');
  return undefined;
}

const binding = (text: string): Reason => ({ text, isBinding: true });

export class Ledger {
  /** By revision. */
  readonly #states: State[] = [{ tenants: new Map(), hosts: new Map() }];
  /** Endpoints as commits put them last, `tenant address`, whatever leases did since. */
  readonly wanted = new Map<string, EndpointFacts>();

  at(revision: number): State {
    return this.#states[revision]!;
  }

  get last(): State {
    return this.#states.at(-1)!;
  }

  take({ revision, edits, isLeaseEnd }: Commit): void {
    const tenants = new Map(this.last.tenants);
    const hosts = new Map(this.last.hosts);
    for (const { key, value } of edits) {
      const [folder, name = '', id = ''] = key.split('/');
      if (folder === 'hosts') takeHost(hosts, name, value);
      if (folder === 'tenants') takeTenant(tenants, name, value);
      // What it had goes with it, also what was lost then.
      if (folder === 'tenants' && value === undefined)
        for (const one of this.wanted.keys()) if (one.startsWith(`${name} `)) this.wanted.delete(one);
      // What comes before its tenant, or goes behind it, is of none.
      const facts = tenants.get(name);
      if (folder === 'rules' && facts) tenants.set(name, withRule(facts, id, value));
      if (folder === 'endpoints') {
        this.#want(`${name} ${id}`, value, isLeaseEnd);
        if (facts) tenants.set(name, withEndpoint(facts, id, value, isLeaseEnd));
      }
    }
    this.#states[revision] = { tenants, hosts };
  }

  #want(key: string, value: string | undefined, isLeaseEnd: boolean): void {
    if (value !== undefined) this.wanted.set(key, JSON.parse(value) as EndpointFacts);
    else if (!isLeaseEnd) this.wanted.delete(key);
  }
}

function takeHost(hosts: Map<string, readonly string[]>, name: string, value: string | undefined): void {
  const { vteps, isReturning = false } = JSON.parse(value ?? '{"vteps":[]}') as { vteps: string[]; isReturning?: true };
  hosts.set(name, isReturning ? [] : vteps);
}

function takeTenant(state: Map<string, Facts>, name: string, value: string | undefined): void {
  if (value === undefined) {
    state.delete(name);
    return;
  }
  const { vni, underlay = 'auto' } = JSON.parse(value) as { vni: number; underlay?: string };
  const { rules, endpoints, lost } = state.get(name) ?? { rules: [], endpoints: new Map(), lost: new Map() };
  state.set(name, { name, vni, underlay, rules, endpoints, lost });
}

function withRule(facts: Facts, id: string, value: string | undefined): Facts {
  const others = facts.rules.filter((rule) => rule.id !== id);
  return { ...facts, rules: value === undefined ? others : [...others, JSON.parse(value) as RuleFacts] };
}

function withEndpoint(facts: Facts, address: string, value: string | undefined, isLeaseEnd: boolean): Facts {
  const endpoints = new Map(facts.endpoints);
  const lost = new Map(facts.lost);
  const before = endpoints.get(address);
  endpoints.delete(address);
  lost.delete(address);
  if (value !== undefined) endpoints.set(address, JSON.parse(value) as EndpointFacts);
  else if (isLeaseEnd && before) lost.set(address, before);
  return { ...facts, endpoints, lost };
}
