/** Multicast groups of a tenant on two hosts: unmodified programs hear those of their own tenant, and of no other. */
import t from 'tap';
import { eventually } from '../support/eventually.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const ENDPOINTS = `
      - { address: 10.0.0.1, host: 192.0.2.1 }
      - { address: 10.0.0.2, host: 192.0.2.2 }
      - { address: 10.0.0.3, host: 192.0.2.2 }`;
const configuration = (addresses: readonly string[]): string => `
tenants:
  - name: blue
    vni: 100
    endpoints:${ENDPOINTS}
  - name: red
    vni: 200
    endpoints:${ENDPOINTS}
vrnics:
${['blue', 'red'].flatMap((tenant) => addresses.map((address) => `  - { name: ${tenant}${address.at(-1)}, tenant: ${tenant}, address: ${address}, netdev: eth0 }`)).join('\n')}
`;
const MESSAGES = 20;
const START_MILLIS = 60_000;

t.test('multicast in a tenant', { skip: lacks('root', 'gcc', 'mckey'), timeout: 600_000 }, async (t) => {
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here, 'eth0', configuration(['10.0.0.1']));
  const b = await UrnicHost.start(t, there, 'eth0', configuration(['10.0.0.2', '10.0.0.3']));
  const mckey = (address: string, ...more: string[]) => [
    ...`stdbuf -oL mckey -b ${address} -m 239.1.2.3 -C ${MESSAGES}`.split(' '),
    ...more,
  ];
  const counter = async (host: UrnicHost, vrnic: string, name: string): Promise<number> => {
    const { output } = await host.urnic('stat', vrnic, '--json', '--socket', host.socket);
    return (JSON.parse(output) as Record<string, { counters: Record<string, number> }>)[vrnic]!.counters[name]!;
  };

  await t.test('a member on another host and two on one hear every message', async (t) => {
    const two = b.spawn(t, mckey('10.0.0.2'), 'blue2');
    const three = b.spawn(t, mckey('10.0.0.3'), 'blue3');
    const stranger = b.spawn(t, mckey('10.0.0.2'), 'red2');
    for (const who of [two, three, stranger])
      t.ok(await eventually(() => /joined/.test(who.output), START_MILLIS), who.output);
    const before = await counter(b, 'red2', 'rcvd_pkts');
    const sender = await a.run(mckey('10.0.0.1', '-s'), { timeoutMillis: START_MILLIS }, 'blue1');
    t.equal(sender.code, 0, sender.output);
    t.equal(await two.end(START_MILLIS), 0, two.output);
    t.equal(await three.end(START_MILLIS), 0, three.output);
    t.equal(await counter(b, 'red2', 'rcvd_pkts'), before, 'nothing for the other tenant');
    t.equal(stranger.child.exitCode, null);
    t.ok((await counter(b, 'blue2', 'rcvd_pkts')) >= MESSAGES);
  });

  await t.test('what is beyond the tenant’s bound is dropped by name, and its sender does not notice', async (t) => {
    const limit = (...args: string[]) => a.urnic('limit', ...args, '--socket', a.socket);
    const send = async (): Promise<number> => {
      const before = await counter(a, 'blue1', 'drop_flood_limit');
      const { code, output } = await a.run(mckey('10.0.0.1', '-s'), { timeoutMillis: START_MILLIS }, 'blue1');
      t.equal(code, 0, output);
      return (await counter(a, 'blue1', 'drop_flood_limit')) - before;
    };
    t.match(await limit('set', 'blue', '--flood', '0'), { code: 0 });
    t.equal(await send(), MESSAGES);
    t.match(await limit('del', 'blue'), { code: 0 });
    t.equal(await send(), 0);
  });
});
