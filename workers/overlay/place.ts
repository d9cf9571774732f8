/** What makes a vRNIC an endpoint of its tenant: what it knows of the others, and its ways to them beside its VXLAN port. */
import { macNumber } from '../../vswitch/tenant-view.ts';
import type { Micros } from '../../wire/types.ts';
import type { Netdev } from '../linux/netdev.ts';
import type { Port } from '../port.ts';
import type { VrnicConfig } from '../vrnic-config.ts';
import { joinLocal, type LocalMember } from './local-hub.ts';
import { Overlay } from './overlay.ts';
import { Translation } from './translation.ts';
import { VxlanMember } from './vxlan-hub.ts';

export interface TenantPlace {
  readonly overlay: Overlay;
  readonly wire: VxlanMember;
  readonly local: LocalMember;
  /** Null without an interface, or without QPNs that no other vRNIC there has. */
  readonly translation: Translation | null;
}

/** What its ports should know of a breath of theirs. */
export function beginBreath({ local, wire, translation }: TenantPlace, now: Micros): void {
  local.now = now;
  wire.hub.now = now;
  wire.errandMicros = 0;
  if (translation === null) return;
  translation.port.now = now;
  translation.port.errandMicros = 0;
}

/** @param gids its link-local one, then its addresses in the tenant. Null outside of tenants' networks. */
export function takePlace(
  { tenant, port, qpnBase, qpnCount }: VrnicConfig,
  wire: Port,
  mac: Uint8Array,
  gids: readonly Uint8Array[],
  netdev: Netdev | null,
): TenantPlace | null {
  if (!tenant || port.kind !== 'vxlan' || !(wire instanceof VxlanMember)) return null;
  const vtep = port.local;
  const local = joinLocal(vtep, tenant.vni, macNumber(mac), wire.mtu);
  const overlay = new Overlay(tenant, wire, mac, gids.slice(1), local);
  if (!netdev || qpnBase === undefined || qpnCount === undefined) return { overlay, wire, local, translation: null };
  const qpns = { base: qpnBase, count: qpnCount };
  return { overlay, wire, local, translation: new Translation({ netdev, local: vtep, qpns }) };
}
