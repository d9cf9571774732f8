/** Whether tenants can be told apart, and endpoints of one tenant: what collides is refused in words, before a frame could go to the wrong one. */
import { addressesOf, type Endpoint, type Limit, type Tenant } from '../vswitch/model.ts';
import * as Gid from '../wire/gid.ts';
import { gidText } from '../workers/linux/netdev.ts';
import { rateText } from './rates.ts';

const macText = (mac: Uint8Array): string => [...mac].map((octet) => octet.toString(16).padStart(2, '0')).join(':');

/** Why these cannot be the tenants of one daemon; undefined when they can. */
export function faultOfTenants(tenants: readonly Tenant[]): { tenant: number; fault: string } | undefined {
  for (const [i, tenant] of tenants.entries()) {
    const before = tenants.slice(0, i);
    const namesake = before.some(({ name }) => name === tenant.name);
    if (namesake) return { tenant: i, fault: `two tenants are named ${tenant.name}: give each its own name` };
    const other = before.find(({ vni }) => vni === tenant.vni);
    if (other) {
      const fault = `tenants ${other.name} and ${tenant.name} have VNI ${tenant.vni} both: give each its own`;
      return { tenant: i, fault };
    }
    const fault = faultOf(tenant);
    if (fault !== undefined) return { tenant: i, fault };
  }
  return undefined;
}

/** What makes a tenant ambiguous or impossible; undefined when nothing does. */
export function faultOf({ name, endpoints, rules, limit }: Tenant): string | undefined {
  const ids = new Set<string>();
  for (const { id } of rules) {
    if (ids.has(id)) return `tenant ${name} has two rules ${id}: give each its own id`;
    ids.add(id);
  }
  return faultOfEndpoints(name, endpoints) ?? faultOfGuarantees(name, endpoints, limit);
}

/** What is guaranteed must fit in what is allowed. */
function faultOfGuarantees(name: string, endpoints: readonly Endpoint[], limit: Limit = {}): string | undefined {
  const sums = new Map<string, number>();
  if (limit.guarantee !== undefined && limit.rate !== undefined && limit.guarantee > limit.rate)
    return `tenant ${name} is guaranteed ${rateText(limit.guarantee)} and limited to ${rateText(limit.rate)}: guarantee less`;
  for (const { address, host, limit: own } of endpoints) {
    if (own?.guarantee === undefined) continue;
    if (own.rate !== undefined && own.guarantee > own.rate)
      return `endpoint ${gidText(address)} of tenant ${name} is guaranteed ${rateText(own.guarantee)} and limited to ${rateText(own.rate)}: guarantee less`;
    const sum = (sums.get(gidText(host)) ?? 0) + own.guarantee;
    sums.set(gidText(host), sum);
    if (limit.rate !== undefined && sum > limit.rate)
      return `endpoints of tenant ${name} on ${gidText(host)} are guaranteed ${rateText(sum)} together, and the tenant is limited to ${rateText(limit.rate)}: guarantee less`;
  }
  return undefined;
}

function faultOfEndpoints(name: string, endpoints: readonly Endpoint[]): string | undefined {
  const addresses = new Set<string>();
  const holders = new Map<string, string>();
  for (const endpoint of endpoints) {
    const { address, mac, host } = endpoint;
    for (const one of addressesOf(endpoint).map(gidText)) {
      if (addresses.has(one)) return `tenant ${name} has two endpoints ${one}: remove one`;
      addresses.add(one);
    }
    const text = gidText(address);
    if ((endpoint.kind ?? 'vrnic') !== 'vrnic' && endpoint.netdev === undefined)
      return `endpoint ${text} of tenant ${name} is a ${endpoint.kind}: name its netdev`;
    const holder = holders.get(macText(mac));
    if (holder !== undefined)
      return `endpoints ${holder} and ${text} of tenant ${name} have MAC ${macText(mac)} both: change one address`;
    holders.set(macText(mac), text);
    if (Gid.isMappedIpv4(host) !== Gid.isMappedIpv4(endpoints[0]!.host))
      return `hosts ${gidText(endpoints[0]!.host)} and ${gidText(host)} of tenant ${name} are of two families: VTEPs of one tenant are all IPv4 or all IPv6`;
  }
  return undefined;
}
