/** A tenant's DSCP and ECN on the wire: hosts see its DSCP, a hop that marks its packets makes their receiver notify and their sender slow down. */
import t from 'tap';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const DSCP = 10;
const MESSAGES = 200;
/** By the underlay, and what the VTEPs' addresses begin with. */
const WAYS = [
  { name: 'vxlan', underlay: 'vxlan', prefix: '192.0.2.' },
  { name: 'translate', underlay: 'translate', prefix: '192.0.2.' },
  { name: 'vxlan6', underlay: 'vxlan', prefix: 'fd02::' },
  { name: 'translate6', underlay: 'translate', prefix: 'fd02::' },
];
const tenantText = ({ name, underlay, prefix }: (typeof WAYS)[number], i: number): string => `
  - name: ${name}
    vni: ${100 + i}
    underlay: ${underlay}
    dscp: ${DSCP}
    ecn: true
    endpoints:
      - { address: 10.0.0.1, host: '${prefix}1', translates: true }
      - { address: 10.0.0.2, host: '${prefix}2', translates: true }`;
const configuration = (address: string): string => `
tenants:${WAYS.map(tenantText).join('')}
vrnics:${WAYS.map(({ name }) => `\n  - { name: ${name}, tenant: ${name}, address: ${address}, netdev: eth0 }`).join('')}
`;
/** What leaves a host: packets of another class than the tenant's are counted, then all that may be marked are. */
const HOP = `table netdev hop {
  counter ours4 { }
  counter ours6 { }
  counter other { }
  chain out {
    type filter hook egress device eth0 priority 0;
    udp dport { 4789, 4791 } ip dscp ${DSCP} counter name ours4
    udp dport { 4789, 4791 } ip6 dscp ${DSCP} counter name ours6
    udp dport { 4789, 4791 } ip dscp != ${DSCP} counter name other
    udp dport { 4789, 4791 } ip6 dscp != ${DSCP} counter name other
    udp dport { 4789, 4791 } ip ecn != not-ect ip ecn set ce
    udp dport { 4789, 4791 } ip6 ecn != not-ect ip6 ecn set ce
  }
}`;

t.test('DSCP and ECN', { skip: lacks('root', 'gcc', 'nft', 'ibv_rc_pingpong'), timeout: 600_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  for (const [i, host] of [here, there].entries())
    await host.ip('addr', 'add', `fd02::${i + 1}/64`, 'dev', 'eth0', 'nodad');
  const a = await UrnicHost.start(t, here, 'eth0', configuration('10.0.0.1'));
  const b = await UrnicHost.start(t, there, 'eth0', configuration('10.0.0.2'));
  const count = async (host: UrnicHost, vrnic: string, counter: string): Promise<number> => {
    const { output } = await host.urnic('stat', vrnic, '--json', '--socket', host.socket);
    return (JSON.parse(output) as Record<string, { counters: Record<string, number> }>)[vrnic]!.counters[counter]!;
  };
  t.match(await there.run(['nft', '-f', '-'], { input: HOP }), { code: 0 });
  const packets = async (counter: string): Promise<number> => {
    const { output } = await there.run(['nft', 'list', 'counter', 'netdev', 'hop', counter]);
    return Number(/packets (\d+)/.exec(output)?.[1]);
  };
  const pingpong = (port: number): string[] => `ibv_rc_pingpong -d rxe0 -g 1 -n ${MESSAGES} -p ${port}`.split(' ');

  for (const [i, { name: vrnic, prefix }] of WAYS.entries())
    await t.test(`${vrnic}: packets carry the tenant’s DSCP, marks are answered`, async (t) => {
      const ours = prefix.includes(':') ? 'ours6' : 'ours4';
      const before = await packets(ours);
      const server = a.spawn(t, pingpong(18_800 + i), vrnic);
      await server.waits();
      const client = await b.run([...pingpong(18_800 + i), '192.0.2.1'], { timeoutMillis: 90_000 }, vrnic);
      t.equal(client.code, 0, client.output);
      t.equal(await server.end(), 0, server.output);
      t.ok((await count(a, vrnic, 'np_ecn_marked_roce_packets')) >= MESSAGES);
      t.ok((await count(a, vrnic, 'np_cnp_sent')) > 0);
      t.ok(await eventually(async () => (await count(b, vrnic, 'rp_cnp_handled')) > 0));
      t.equal(await count(b, vrnic, 'np_ecn_marked_roce_packets'), 0, 'nobody marks the other way');
      t.equal(await count(a, vrnic, 'rx_icrc_encapsulated'), 0);
      t.ok((await packets(ours)) >= before + MESSAGES);
      t.equal(await packets('other'), 0);
    });
});
