/** The tenant of the overlay's bench: endpoint i of as many as there are, on one of two hosts; both hosts make the same of it. */
import { macOf, type Tenant } from '../vswitch/model.ts';
import * as Gid from '../wire/gid.ts';
import { toGid } from '../workers/linux/netdev.ts';
import type { VrnicConfig } from '../workers/vrnic-config.ts';

const VNI = 100;
const VXLAN_BYTES = 50;
const QPN_BASE = 2 ** 22;
const QPN_COUNT = 12_288;

export const addressOf = (index: number): Uint8Array => toGid(`10.1.${index >> 8}.${index & 0xff}`);

/** @param hosts the VTEP of each endpoint, from endpoint 1 on. */
export function tenantOn(hosts: readonly string[], underlay: NonNullable<Tenant['underlay']>): Tenant {
  const endpoints = hosts.map((host, i) => {
    const address = addressOf(i + 1);
    return { address, mac: macOf(VNI, address), host: toGid(host) };
  });
  return { name: 'bench', vni: VNI, endpoints, rules: [], underlay };
}

/** What a vRNIC needs to be endpoint `index` (from 1) of the tenant on `netdev`. */
export function placeOf(tenant: Tenant, index: number, netdev: string, mtu: number): Omit<VrnicConfig, 'name'> {
  const { address, mac, host } = tenant.endpoints[index - 1]!;
  const port = { kind: 'vxlan', netdev, local: host, mtu: mtu - VXLAN_BYTES } as const;
  return { port, mac, gids: [Gid.linkLocalOf(mac), address], tenant, ...rangeOf(index) };
}

/** QPNs of the vRNIC with that number on its host. */
export const rangeOf = (index: number) => ({ qpnBase: QPN_BASE + (index - 1) * QPN_COUNT, qpnCount: QPN_COUNT });

const BOTH = ['192.0.2.1', '192.0.2.2'];

/** One of two endpoints: the one that lives at `host`. */
export const endpointAt = (host: string, underlay: 'vxlan' | 'translate', mtu: number) =>
  placeOf(tenantOn(BOTH, underlay), BOTH.indexOf(host) + 1, 'eth0', mtu);
