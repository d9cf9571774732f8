/** Interfaces that tenants' machines are attached by: made, removed and kept from the host's stack, in the network namespace where they are to be. */
import t from 'tap';
import { bringUp, ensureTap, inNamespace, isolate, removeTap } from '../../workers/linux/interfaces.ts';
import { readNetdev } from '../../workers/linux/netdev.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';

t.test(
  'a tap is made where it is not, in another namespace, and the thread comes back',
  { skip: lacks('root') },
  async (t) => {
    const namespace = await Namespace.create(t, 'taps');
    const path = `/var/run/netns/${namespace.name}`;
    const found = inNamespace(path, () => {
      t.equal(ensureTap('vm0'), true);
      t.equal(ensureTap('vm0'), false, 'it is there now');
      bringUp('vm0', 1400);
      isolate('vm0');
      return readNetdev('vm0');
    });
    t.match(found, { mtu: 1400 });
    t.throws(() => readNetdev('vm0'), { message: /no network interface named vm0/ }, 'not here');
    for (const [key, value] of [
      ['net.ipv6.conf.vm0.disable_ipv6', '1'],
      ['net.ipv4.conf.vm0.arp_ignore', '8'],
      ['net.ipv4.conf.vm0.rp_filter', '1'],
    ] as const)
      t.match(await namespace.run(['sysctl', '-n', key]), { output: `${value}\n` });
    inNamespace(path, () => removeTap('vm0'));
    t.throws(() => inNamespace(path, () => readNetdev('vm0')), { message: /no network interface/ });
    t.throws(() => readNetdev('vm0'), 'and the thread has come back after an error, too');
  },
);

t.test('what cannot be made says why', { skip: lacks('root') }, async (t) => {
  const namespace = await Namespace.create(t, 'taps');
  const path = `/var/run/netns/${namespace.name}`;
  t.throws(() => inNamespace('/var/run/netns/urnic-none', () => {}), { code: 'ENOENT' });
  inNamespace(path, () => {
    t.throws(() => bringUp('nobody', 1400), { message: /MTU 1400 of nobody/ });
    ensureTap('vm0');
    t.throws(() => bringUp('vm0', 100_000_000), { message: /MTU 100000000 of vm0/ });
  });
});
