/** Tenants as people write them, and as workers take them. */
import type { z } from 'zod';
import { addressesOf, type Endpoint, macOf, type Rule, type Tenant, TRANSPORT_NAMES } from '../vswitch/model.ts';
import * as Gid from '../wire/gid.ts';
import { inNamespace } from '../workers/linux/interfaces.ts';
import { gidText, readNetdev, toGid } from '../workers/linux/netdev.ts';
import type { Connection } from '../workers/overlay/overlay.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';
import { prefixText, toPrefix } from './addresses.ts';
import type { EndpointText, RuleText, TenantText, VrnicText } from './configuration.ts';

/** Inner Ethernet, VXLAN, UDP, and the outer IP header. RFC 7348 §4.3: nothing is fragmented. */
const OVERHEAD_IPV4 = 50;
const OVERHEAD_IPV6 = 70;

/** The largest IP packet of a tenant by a VTEP of this host, on `netdev` of `namespace`. @throws Error: the interface cannot carry what the tenant was given. */
export function mtuOf({ name, mtu }: Tenant, local: Uint8Array, netdev: string, namespace?: string): number {
  const carried = inNamespace(namespace, () => readNetdev(netdev).mtu);
  const most = carried - (Gid.isMappedIpv4(local) ? OVERHEAD_IPV4 : OVERHEAD_IPV6);
  if (mtu === undefined || mtu <= most) return mtu ?? most;
  throw new Error(
    `tenant ${name} has MTU ${mtu}, and ${netdev} carries ${most}: make that of ${netdev} larger, or that of the tenant smaller`,
  );
}

/** As the configuration has it, with what follows from that. */
export const describeTenant = ({ endpoints, rules, underlay, ...settings }: Tenant): object => ({
  ...settings,
  underlay: underlay ?? 'auto',
  endpoints: endpoints
    .filter(({ isLost }) => !isLost)
    .map(({ address, also = [], host, mac, ...more }) => ({
      ...more,
      address: gidText(address),
      ...(also.length > 0 && { also: also.map(gidText) }),
      host: gidText(host),
      mac: [...mac].map((octet) => octet.toString(16).padStart(2, '0')).join(':'),
    })),
  rules: rules.map(({ source, destination, ...rule }) => ({
    ...rule,
    source: prefixText(source),
    destination: prefixText(destination),
  })),
});

/** What a vRNIC needs to be this endpoint on its interface, with the VTEP that is there. @throws Error of the interface. */
export function placeIn(
  tenant: Tenant,
  address: string,
  { netdev, namespace }: Pick<VrnicText, 'netdev' | 'namespace'>,
  vtep: string,
): Pick<VrnicConfig, 'port' | 'mac' | 'gids' | 'tenant'> {
  const endpoint = tenant.endpoints.find((one) => gidText(one.address) === gidText(toGid(address)));
  if (!endpoint) throw new Error(`tenant ${tenant.name} has no endpoint ${address}: urnic endpoint add`);
  const { mac } = endpoint;
  const local = toGid(vtep);
  return {
    port: { kind: 'vxlan', netdev, local, mtu: mtuOf(tenant, local, netdev, namespace) },
    mac,
    gids: [Gid.linkLocalOf(mac), ...addressesOf(endpoint)],
    tenant,
  };
}

/** Without keys whose value is undefined: they would overwrite in a spread. */
const defined = <T extends object>(text: T): { [K in keyof T]?: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(text).filter(([, value]) => value !== undefined)) as T;

const toRule = ({ source, destination, ...rule }: z.infer<typeof RuleText>): Rule => ({
  ...rule,
  source: toPrefix(source),
  destination: toPrefix(destination),
});

export function toEndpoint(vni: number, text: z.infer<typeof EndpointText>): Endpoint {
  const { address, also, host, group, translates, limit, quotas, kind, netdev, namespace, mac } = text;
  const gid = toGid(address);
  return {
    address: gid,
    host: toGid(host),
    mac: mac === undefined ? macOf(vni, gid) : Uint8Array.from(mac.split(':'), (octet) => Number.parseInt(octet, 16)),
    ...(kind !== undefined && { kind }),
    ...(netdev !== undefined && { netdev }),
    ...(namespace !== undefined && { namespace }),
    ...(also && { also: also.map(toGid) }),
    ...(translates && { translates }),
    ...(group !== undefined && { group }),
    ...(limit && { limit: defined(limit) }),
    ...(quotas && { quotas: defined(quotas) }),
  };
}

export const toTenant = ({ name, vni, endpoints, rules, limit, quotas, ...settings }: TenantText): Tenant => ({
  name,
  vni,
  ...defined(settings),
  endpoints: endpoints.map((endpoint) => toEndpoint(vni, endpoint)),
  rules: rules.map(toRule),
  ...(limit && { limit: defined(limit) }),
  ...(quotas && { quotas: defined(quotas) }),
});

export const connectionText = ({ qpn, destQpn, transport, local, remote, underlay }: Connection) => ({
  qpn,
  destQpn,
  transport: TRANSPORT_NAMES[transport as keyof typeof TRANSPORT_NAMES],
  underlay,
  local: gidText(local),
  remote: gidText(remote),
});
