/** A vRNIC that is an endpoint of a tenant, in its host's namespace, and a small application on it. */
import type { Test } from 'tap';
import type { QpnRanges } from '../../daemon/qpn-ranges.ts';
import type { Tenant } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import type { Supervisor } from '../../workers/supervisor.ts';
import { RcApp } from '../workers/rc-app.ts';

const MTU = 4400;

export interface Hosting {
  readonly supervisor: Supervisor;
  readonly ranges: QpnRanges;
  readonly tenant: Tenant;
}

/** Endpoint `i` of the tenant, as vRNIC `v<i>` on `eth0` of a namespace, given by its path. */
export async function startEndpoint(
  t: Test,
  { supervisor, ranges, tenant }: Hosting,
  i: number,
  namespace: string,
  bytes: number,
): Promise<RcApp> {
  const name = `v${i}`;
  const { address, mac, host } = tenant.endpoints[i]!;
  const port = { kind: 'vxlan', netdev: 'eth0', local: host, mtu: MTU } as const;
  const place = { port, mac, gids: [Gid.linkLocalOf(mac), address], tenant, namespace };
  await supervisor.startVrnic({ name, ...place, ...ranges.allot(name, namespace, true) });
  const app = await RcApp.open(await connect(await supervisor.endpoint(name)), bytes);
  t.teardown(() => app.link.close());
  return app;
}
