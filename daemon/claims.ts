/** Which endpoints live on this host, as its configuration has it: those of its vRNICs, and taps and veths at an address of ours. */
import { networkInterfaces } from 'node:os';
import * as Gid from '../wire/gid.ts';
import { inNamespace } from '../workers/linux/interfaces.ts';
import { gidText, readNetdev } from '../workers/linux/netdev.ts';
import type { TenantText, VrnicText } from './configuration.ts';
import type { Claim } from './presence.ts';

const endpointIn = (tenants: readonly TenantText[], { tenant, address }: VrnicText) =>
  tenants.find(({ name }) => name === tenant)?.endpoints.find((endpoint) => endpoint.address === address);

/** This host's VTEP for a vRNIC, in its namespace. @throws Error: the interface has no address. */
export function vtepOf(tenants: readonly TenantText[], vrnic: VrnicText): string {
  const { name, netdev, namespace, host = endpointIn(tenants, vrnic)?.host } = vrnic;
  if (host !== undefined) return host;
  const { addresses } = inNamespace(namespace, () => readNetdev(netdev));
  const [first] = addresses.filter((one) => !Gid.isLinkLocal(one));
  if (!first) throw new Error(`vRNIC ${name}: ${netdev} has no address: give it one, or the vRNIC a host`);
  return gidText(first);
}

/** Undefined: it is in no tenant's network. @throws as vtepOf. */
export function claimOf(tenants: readonly TenantText[], vrnic: VrnicText): Claim | undefined {
  const { tenant, address } = vrnic;
  if (tenant === undefined || address === undefined) return undefined;
  const more = { translates: true, ...endpointIn(tenants, vrnic) };
  return { tenant, address, host: vtepOf(tenants, vrnic), more };
}

/** Of taps and veths. */
export function portClaims(tenants: readonly TenantText[]): Claim[] {
  const ours = new Set(Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address)));
  return tenants.flatMap(({ name: tenant, endpoints }) =>
    endpoints
      .filter(({ kind = 'vrnic', host }) => kind !== 'vrnic' && ours.has(host))
      .map((more) => ({ tenant, address: more.address, host: more.host, more })),
  );
}

/** What is left to declare: endpoints that are claimed are announced, and go when this host does. */
export function withoutClaims(tenants: readonly TenantText[], claims: readonly Claim[]): TenantText[] {
  const own = new Set(claims.map(({ tenant, address }) => `${tenant} ${address}`));
  return tenants.map((tenant) => ({
    ...tenant,
    endpoints: tenant.endpoints.filter(({ address }) => !own.has(`${tenant.name} ${address}`)),
  }));
}
