/** Which way a connection goes. Both ends ask this of the same endpoints and the same tenant, so both get the same answer without talking. */
import type { Endpoint, Tenant, Underlay } from './model.ts';

/** `auto`: translation where both hosts offer it, VXLAN otherwise. Two endpoints of one host have no wire between them to translate for. */
export function underlayOf({ underlay = 'auto' }: Tenant, one: Endpoint, other: Endpoint): Underlay {
  if (one.host.every((octet, i) => octet === other.host[i])) return 'vxlan';
  if (underlay !== 'auto') return underlay;
  return one.translates && other.translates ? 'translate' : 'vxlan';
}
