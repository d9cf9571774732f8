/** Which way packets go. */
import t from 'tap';
import type { Endpoint, Tenant } from '../../vswitch/model.ts';
import { hostsOf, underlayOf } from '../../vswitch/underlay.ts';

const endpoint = (host: number, translates?: boolean): Endpoint => ({
  address: new Uint8Array(16),
  mac: new Uint8Array(6),
  host: new Uint8Array(16).fill(host),
  ...(translates !== undefined && { translates }),
});
const of = (underlay: NonNullable<Tenant['underlay']>) => ({ underlay });

t.test(
  'auto: a connection is translated where both hosts offer it; of a host that says nothing VXLAN is known',
  async (t) => {
    for (const [one, other, expected] of [
      [undefined, undefined, 'vxlan'],
      [true, undefined, 'vxlan'],
      [false, true, 'vxlan'],
      [true, true, 'translate'],
    ] as const) {
      t.equal(underlayOf({}, endpoint(1, one), endpoint(2, other), true), expected);
      t.equal(underlayOf(of('auto'), endpoint(2, other), endpoint(1, one), true), expected, 'both agree');
      t.equal(
        underlayOf(of('auto'), endpoint(1, one), endpoint(2, other), false),
        'vxlan',
        'a datagram is never translated',
      );
    }
  },
);

t.test('what stays on a host has no wire to go by, unless the tenant wants VXLAN', async (t) => {
  for (const isConnected of [true, false]) {
    for (const underlay of ['auto', 'translate', 'local'] as const)
      t.equal(underlayOf(of(underlay), endpoint(1), endpoint(1), isConnected), 'local');
    t.equal(underlayOf(of('vxlan'), endpoint(1), endpoint(1), isConnected), 'vxlan');
  }
});

t.test('a tenant that wants no wire has none, for machines behind ports either', async (t) => {
  const machine = (host: number): Endpoint => ({ ...endpoint(host), kind: 'tap' });
  for (const isConnected of [true, false]) {
    t.equal(underlayOf(of('local'), endpoint(1), machine(2), isConnected), 'local', 'no way');
    t.equal(underlayOf(of('local'), machine(1), endpoint(1), isConnected), 'vxlan', 'within the host');
    t.equal(underlayOf(of('auto'), endpoint(1), machine(2), isConnected), 'vxlan');
  }
  const tenant: Tenant = { name: 'blue', vni: 100, endpoints: [endpoint(1), machine(2)], rules: [] };
  const [here, there] = tenant.endpoints.map(({ host }) => host);
  t.strictSame(hostsOf(tenant, here!), [here, there]);
  t.strictSame(hostsOf({ ...tenant, underlay: 'local' }, here!), [here]);
});

t.test('a tenant that says what it wants gets that', async (t) => {
  for (const underlay of ['vxlan', 'translate', 'local'] as const)
    t.equal(underlayOf(of(underlay), endpoint(1, true), endpoint(2), true), underlay);
  t.equal(underlayOf(of('translate'), endpoint(1), endpoint(2), false), 'vxlan');
});
