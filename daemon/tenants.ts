/** The tenants of a daemon: what the configuration said, and what commands have changed since. */

import type { z } from 'zod';
import { addressesOf, type Endpoint, type Limit, macOf, type Rule, type Tenant } from '../vswitch/model.ts';
import { TRANSPORT_NAMES } from '../vswitch/transport.ts';
import { gidText, isMappedIpv4, linkLocalOf, readNetdev, toGid } from '../workers/linux/netdev.ts';
import type { Connection } from '../workers/overlay/overlay.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';
import { canonical, isAddress, prefixText, toPrefix } from './addresses.ts';
import { faultOf } from './check-tenants.ts';
import type { EndpointText, LimitText, RuleText, TenantText } from './configuration.ts';

/** Inner Ethernet, VXLAN, UDP, and the outer IP header. RFC 7348 §4.3: nothing is fragmented. */
const OVERHEAD_IPV4 = 50;
const OVERHEAD_IPV6 = 70;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export interface Change {
  readonly rule: z.infer<typeof RuleText> | undefined;
  readonly endpoint: z.infer<typeof EndpointText> | undefined;
  readonly limit?: z.infer<typeof LimitText> | undefined;
  readonly key: string;
}

export class Tenants {
  readonly #byName: Map<string, Tenant>;

  constructor(texts: readonly TenantText[]) {
    this.#byName = new Map(texts.map((text) => [text.name, toTenant(text)]));
  }

  /** As the configuration has them. */
  get texts(): object[] {
    return [...this.#byName.values()].map(({ name, vni, endpoints, rules, underlay, limit }) => ({
      name,
      vni,
      underlay: underlay ?? 'auto',
      endpoints: endpoints.map(({ address, also = [], host, mac, ...more }) => ({
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
      ...(limit && { limit }),
    }));
  }

  /** What a vRNIC needs to be this endpoint on `netdev`. @throws Error of the interface. */
  place(tenantName: string, address: string, netdev: string): Pick<VrnicConfig, 'port' | 'mac' | 'gids' | 'tenant'> {
    const tenant = this.#named(tenantName);
    const own = toGid(address);
    const endpoint = tenant.endpoints.find(({ address }) => gidText(address) === gidText(own))!;
    const { host: local, mac } = endpoint;
    const mtu = readNetdev(netdev).mtu - (isMappedIpv4(local) ? OVERHEAD_IPV4 : OVERHEAD_IPV6);
    return {
      port: { kind: 'vxlan', netdev, local, mtu },
      mac,
      gids: [linkLocalOf(mac), ...addressesOf(endpoint)],
      tenant,
    };
  }

  /** @throws Error in words: no such tenant, no such rule, already there. */
  change(name: string, op: string, { rule, endpoint, limit, key }: Change): Tenant {
    const tenant = this.#named(name);
    let changed: Writable<Tenant> = { ...tenant };
    if (op === 'addRule' && rule) {
      if (tenant.rules.some(({ id }) => id === rule.id))
        throw new Error(`tenant ${name} has a rule ${rule.id} already`);
      changed.rules = [...tenant.rules, toRule(rule)];
    } else if (op === 'deleteRule') {
      changed.rules = without(tenant.rules, ({ id }) => id === key, `tenant ${name} has no rule ${key}`);
    } else if (op === 'addEndpoint' && endpoint) {
      const others = tenant.endpoints.filter(({ address }) => gidText(address) !== endpoint.address);
      // What a move does not name stays.
      const known = tenant.endpoints.find(({ address }) => gidText(address) === endpoint.address);
      changed.endpoints = [...others, { ...known, ...toEndpoint(tenant.vni, endpoint) }];
    } else if (op === 'deleteEndpoint') {
      const text = isAddress(key) ? canonical(key) : key;
      const isIt = ({ address }: { address: Uint8Array }): boolean => gidText(address) === text;
      changed.endpoints = without(tenant.endpoints, isIt, `tenant ${name} has no endpoint ${key}`);
    } else if (op === 'setLimit') {
      changed = limited(tenant, key, limit ?? {});
    } else throw new Error(`${op} of a tenant lacks what it is about`);
    const fault = faultOf(changed);
    if (fault !== undefined) throw new Error(fault);
    this.#byName.set(name, changed);
    return changed;
  }

  #named(name: string): Tenant {
    const tenant = this.#byName.get(name);
    if (!tenant) throw new Error(`no tenant named ${JSON.stringify(name)}`);
    return tenant;
  }
}

/** `key`: of this endpoint; of the whole tenant when it is empty. */
function limited(tenant: Tenant, key: string, text: z.infer<typeof LimitText>): Tenant {
  const limit = defined(text);
  if (key === '') return { ...tenant, limit };
  const wanted = isAddress(key) ? canonical(key) : key;
  const isIt = ({ address }: Endpoint): boolean => gidText(address) === wanted;
  if (!tenant.endpoints.some(isIt)) throw new Error(`tenant ${tenant.name} has no endpoint ${key}`);
  return { ...tenant, endpoints: tenant.endpoints.map((one) => (isIt(one) ? { ...one, limit } : one)) };
}

/** Without keys whose value is undefined: they would overwrite in a spread. */
const defined = (limit: z.infer<typeof LimitText>): Limit =>
  Object.fromEntries(Object.entries(limit).filter(([, value]) => value !== undefined));

function without<T>(list: readonly T[], isIt: (one: T) => boolean, otherwise: string): T[] {
  if (!list.some(isIt)) throw new Error(otherwise);
  return list.filter((one) => !isIt(one));
}

const toRule = ({ source, destination, ...rule }: z.infer<typeof RuleText>): Rule => ({
  ...rule,
  source: toPrefix(source),
  destination: toPrefix(destination),
});

function toEndpoint(vni: number, text: z.infer<typeof EndpointText>): Endpoint {
  const { address, also, host, group, translates, limit } = text;
  const gid = toGid(address);
  return {
    address: gid,
    host: toGid(host),
    mac: macOf(vni, gid),
    ...(also && { also: also.map(toGid) }),
    ...(translates && { translates }),
    ...(group !== undefined && { group }),
    ...(limit && { limit: defined(limit) }),
  };
}

export const toTenant = ({ name, vni, endpoints, rules, underlay, limit }: TenantText): Tenant => ({
  name,
  vni,
  ...(underlay && { underlay }),
  endpoints: endpoints.map((endpoint) => toEndpoint(vni, endpoint)),
  rules: rules.map(toRule),
  ...(limit && { limit: defined(limit) }),
});

export const connectionText = ({ qpn, transport, local, remote, underlay }: Connection) => ({
  qpn,
  transport: TRANSPORT_NAMES[transport as keyof typeof TRANSPORT_NAMES],
  underlay,
  local: gidText(local),
  remote: gidText(remote),
});
