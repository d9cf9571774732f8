/** Which way packets go, and to which hosts. Both ends ask this of the same endpoints and the same tenant, so both get the same answer without talking. */
import * as Gid from '../wire/gid.ts';
import type { Endpoint, Tenant, Underlay } from './model.ts';

/** What is behind a port has its tenant's addresses only, and takes frames. */
const isPort = ({ kind = 'vrnic' }: Endpoint): boolean => kind !== 'vrnic';

/** Hosts that frames of a tenant go to and come from, as the one at `local` sees it: a tenant that wants no wire has this one alone. */
export const hostsOf = ({ underlay, endpoints }: Tenant, local: Uint8Array): readonly Uint8Array[] =>
  underlay === 'local' ? [local] : endpoints.map(({ host }) => host);

/**
 * Between two endpoints of one host there is no wire: `local`, unless the tenant wants VXLAN. Between hosts `auto` translates where both offer it. Datagrams are never
 * translated: whoever receives one sees the tenant's addresses. `local` for endpoints of two hosts means that the tenant wants neither wire: there is no way. To a port of this
 * host frames go by `vxlan`, too: the VTEP sends them to itself.
 */
export function underlayOf(
  { underlay = 'auto' }: Pick<Tenant, 'underlay'>,
  one: Endpoint,
  other: Endpoint,
  isConnected: boolean,
): Underlay {
  const isSameHost = Gid.isSame(one.host, other.host);
  if (underlay === 'local' && !isSameHost) return 'local';
  if (isPort(one) || isPort(other)) return 'vxlan';
  if (underlay === 'vxlan' || underlay === 'local') return underlay;
  if (isSameHost) return 'local';
  if (!isConnected) return 'vxlan';
  return underlay === 'translate' || (one.translates && other.translates) ? 'translate' : 'vxlan';
}
