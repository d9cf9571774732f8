/** Whether tenants can be told apart, and endpoints of one tenant: what collides is refused in words, before a frame could go to the wrong one. */
import { addressesOf, type Endpoint, type Tenant } from '../vswitch/model.ts';
import * as Gid from '../wire/gid.ts';
import { gidText } from '../workers/linux/netdev.ts';
import { rateText } from './rates.ts';
import type { Fault } from './schema-faults.ts';

const macText = (mac: Uint8Array): string => [...mac].map((octet) => octet.toString(16).padStart(2, '0')).join(':');

/** Which endpoint is which interface of which host: `10.0.0.1 of tenant blue`, by `interfaceOf`. */
export type Interfaces = Map<string, string>;

/** Why these cannot be the tenants of one daemon; undefined when they can. */
export function faultOfTenants(tenants: readonly Tenant[]): Fault | undefined {
  const interfaces: Interfaces = new Map();
  for (const [i, tenant] of tenants.entries()) {
    const before = tenants.slice(0, i);
    const namesake = before.some(({ name }) => name === tenant.name);
    if (namesake) return { at: [i, 'name'], text: `two tenants are named ${tenant.name}: give each its own name` };
    const other = before.find(({ vni }) => vni === tenant.vni);
    if (other) {
      const text = `tenants ${other.name} and ${tenant.name} have VNI ${tenant.vni} both: give each its own`;
      return { at: [i, 'vni'], text };
    }
    const fault = faultOf(tenant, interfaces);
    if (fault) return { at: [i, ...fault.at], text: fault.text };
  }
  return undefined;
}

/** What makes a tenant ambiguous or impossible; undefined when nothing does. @param interfaces other tenants' endpoints have; the tenant's are added. */
export function faultOf(tenant: Tenant, interfaces: Interfaces = new Map()): Fault | undefined {
  return (
    faultOfRules(tenant) ??
    faultOfEndpoints(tenant) ??
    faultOfGuarantees(tenant) ??
    faultOfInterfaces(tenant, interfaces)
  );
}

export function interfacesOf(tenants: readonly Tenant[]): Interfaces {
  const interfaces: Interfaces = new Map();
  for (const tenant of tenants) faultOfInterfaces(tenant, interfaces);
  return interfaces;
}

function faultOfRules({ name, rules }: Tenant): Fault | undefined {
  const ids = new Set<string>();
  for (const [i, { id }] of rules.entries()) {
    if (ids.has(id))
      return { at: ['rules', i, 'id'], text: `tenant ${name} has two rules ${id}: give each its own id` };
    ids.add(id);
  }
  return undefined;
}

/** Those of `more` that can be endpoints of the tenant beside its own: of two that collide the first. */
export function fitting(tenant: Tenant, more: readonly Endpoint[]): Endpoint[] {
  if (more.length === 0 || faultOf(having(tenant, more)) === undefined) return [...more];
  if (more.length === 1) return [];
  // By halves: where few of many collide, few of the ways to put them together are looked at.
  const middle = more.length >> 1;
  const first = fitting(tenant, more.slice(0, middle));
  return [...first, ...fitting(having(tenant, first), more.slice(middle))];
}

const having = (tenant: Tenant, more: readonly Endpoint[]): Tenant => ({
  ...tenant,
  endpoints: [...tenant.endpoints, ...more],
});

/** What is guaranteed must fit in what is allowed; those that are lost have no part in it. */
function faultOfGuarantees({ name, endpoints, limit = {} }: Tenant): Fault | undefined {
  const sums = new Map<string, number>();
  if (limit.guarantee !== undefined && limit.rate !== undefined && limit.guarantee > limit.rate) {
    const text = `tenant ${name} is guaranteed ${rateText(limit.guarantee)} and limited to ${rateText(limit.rate)}: guarantee less`;
    return { at: ['limit', 'guarantee'], text };
  }
  for (const [i, { address, host, isLost, limit: own }] of endpoints.entries()) {
    if (isLost || own?.guarantee === undefined) continue;
    const at = ['endpoints', i, 'limit', 'guarantee'];
    if (own.rate !== undefined && own.guarantee > own.rate) {
      const text = `endpoint ${gidText(address)} of tenant ${name} is guaranteed ${rateText(own.guarantee)} and limited to ${rateText(own.rate)}: guarantee less`;
      return { at, text };
    }
    const sum = (sums.get(gidText(host)) ?? 0) + own.guarantee;
    sums.set(gidText(host), sum);
    if (limit.rate !== undefined && sum > limit.rate) {
      const text = `endpoints of tenant ${name} on ${gidText(host)} are guaranteed ${rateText(sum)} together, and the tenant is limited to ${rateText(limit.rate)}: guarantee less`;
      return { at, text };
    }
  }
  return undefined;
}

function faultOfEndpoints({ name, endpoints }: Tenant): Fault | undefined {
  const addresses = new Set<string>();
  const holders = new Map<string, string>();
  const first = endpoints[0]?.host;
  for (const [i, endpoint] of endpoints.entries()) {
    const { address, mac, host, kind = 'vrnic', netdev, quotas } = endpoint;
    const fault = (at: readonly (string | number)[], text: string): Fault => ({ at: ['endpoints', i, ...at], text });
    for (const [j, one] of addressesOf(endpoint).map(gidText).entries()) {
      const at = j === 0 ? ['address'] : ['also', j - 1];
      if (addresses.has(one)) return fault(at, `tenant ${name} has two endpoints ${one}: remove one`);
      addresses.add(one);
    }
    const text = gidText(address);
    if (kind !== 'vrnic' && netdev === undefined)
      return fault(['kind'], `endpoint ${text} of tenant ${name} is a ${kind}: name its netdev`);
    if (kind !== 'vrnic' && quotas)
      return fault(['quotas'], `endpoint ${text} of tenant ${name} is a ${kind}: quotas are of vRNICs`);
    const holder = holders.get(macText(mac));
    if (holder !== undefined)
      return fault(
        ['mac'],
        `endpoints ${holder} and ${text} of tenant ${name} have MAC ${macText(mac)} both: change one address`,
      );
    holders.set(macText(mac), text);
    if (Gid.isMappedIpv4(host) !== Gid.isMappedIpv4(first!))
      return fault(
        ['host'],
        `hosts ${gidText(first!)} and ${gidText(host)} of tenant ${name} are of two families: VTEPs of one tenant are all IPv4 or all IPv6`,
      );
  }
  return undefined;
}

/** Undefined: a vRNIC. */
function interfaceOf({ kind = 'vrnic', host, netdev, namespace }: Endpoint): string | undefined {
  if (kind === 'vrnic' || netdev === undefined) return undefined;
  return `${netdev}${namespace === undefined ? '' : ` in ${namespace}`} on ${gidText(host)}`;
}

/** What comes by an interface that two endpoints are would be both's. */
function faultOfInterfaces({ name, endpoints }: Tenant, holders: Interfaces): Fault | undefined {
  for (const [i, endpoint] of endpoints.entries()) {
    const place = interfaceOf(endpoint);
    if (place === undefined) continue;
    const own = `${gidText(endpoint.address)} of tenant ${name}`;
    const holder = holders.get(place);
    const text = `endpoints ${holder} and ${own} are both interface ${place}: give each its own`;
    if (holder !== undefined) return { at: ['endpoints', i, 'netdev'], text };
    holders.set(place, own);
  }
  return undefined;
}
