/** Which way connections go. */
import t from 'tap';
import type { Endpoint } from '../../vswitch/model.ts';
import { underlayOf } from '../../vswitch/underlay.ts';

const endpoint = (host: number, translates?: boolean): Endpoint => ({
  address: new Uint8Array(16),
  mac: new Uint8Array(6),
  host: new Uint8Array(16).fill(host),
  ...(translates !== undefined && { translates }),
});
const tenant = { name: 'blue', vni: 1, endpoints: [], rules: [] };

t.test(
  'auto: a connection is translated where both hosts offer it; of a host that says nothing VXLAN is known',
  async (t) => {
    for (const [one, other, expected] of [
      [undefined, undefined, 'vxlan'],
      [true, undefined, 'vxlan'],
      [false, true, 'vxlan'],
      [true, true, 'translate'],
    ] as const) {
      t.equal(underlayOf(tenant, endpoint(1, one), endpoint(2, other)), expected);
      t.equal(
        underlayOf({ ...tenant, underlay: 'auto' }, endpoint(2, other), endpoint(1, one)),
        expected,
        'both agree',
      );
    }
  },
);

t.test('a tenant that says what it wants gets that', async (t) => {
  for (const underlay of ['vxlan', 'translate'] as const)
    t.equal(underlayOf({ ...tenant, underlay }, endpoint(1, true), endpoint(2)), underlay);
});
