/** What commands may make of a tenant. */
import t from 'tap';
import { Tenants } from '../../daemon/tenants.ts';

const ONE = { address: 'fd00::1', host: '192.0.2.1' };
const newTenants = (): Tenants => new Tenants([{ name: 'blue', vni: 100, endpoints: [ONE], rules: [] }]);
const NONE = { rule: undefined, endpoint: undefined, key: '' };

t.test('an endpoint is deleted by any way of writing its address', async (t) => {
  t.equal(newTenants().change('blue', 'deleteEndpoint', { ...NONE, key: 'FD00:0::1' }).endpoints.length, 0);
});

t.test('an endpoint that collides is refused, and the tenant stays as it was', async (t) => {
  const tenants = newTenants();
  for (const [endpoint, message] of [
    [{ address: 'fd00::1:0:0', host: '192.0.2.2' }, /have MAC/],
    [{ address: 'fd00::2', host: '2001:db8::2' }, /two families/],
  ] as const)
    t.throws(() => tenants.change('blue', 'addEndpoint', { ...NONE, endpoint }), { message });
  t.match(tenants.texts, [{ endpoints: [{ address: 'fd00::1' }] }]);
  t.equal(
    tenants.change('blue', 'addEndpoint', { ...NONE, endpoint: { ...ONE, host: '192.0.2.9' } }).endpoints.length,
    1,
  );
});
