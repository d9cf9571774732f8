/** Settings of a tenant that change while its vRNICs are in use, and programs that choose their connections' way themselves. */
import t from 'tap';
import { eventually } from '../support/eventually.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { CLI, UrnicHost } from '../uverbs/lab.ts';

const [BEFORE, AFTER] = [10, 34];
const WAYS = ['vxlan', 'translate'];
const ENDPOINTS = `
      - { address: 10.0.0.1, host: 192.0.2.1, translates: true }
      - { address: 10.0.0.2, host: 192.0.2.2, translates: true }`;
const configuration = (address: string): string => `
tenants:${WAYS.map((way, i) => `\n  - { name: ${way}, vni: ${100 + i}, underlay: ${way}, dscp: ${BEFORE}, mtu: 4500, endpoints: [${ENDPOINTS.replaceAll('\n      - ', ', ').slice(2)}] }`).join('')}
vrnics:${WAYS.map((way) => `\n  - { name: ${way}, tenant: ${way}, address: ${address}, netdev: eth0 }`).join('')}
`;
/** What leaves a host, by class. */
const HOP = `table netdev hop {
  counter before { }
  counter after { }
  counter other { }
  chain out {
    type filter hook egress device eth0 priority 0;
    udp dport { 4789, 4791 } ip dscp ${BEFORE} counter name before
    udp dport { 4789, 4791 } ip dscp ${AFTER} counter name after
    udp dport { 4789, 4791 } ip dscp != { ${BEFORE}, ${AFTER} } counter name other
  }
}`;
const PATIENCE = 90_000;

t.test(
  'settings change under what is in use',
  { skip: lacks('root', 'gcc', 'nft', 'ibv_rc_pingpong'), timeout: 600_000 },
  async (t) => {
    const [here, there] = await twoHosts(t);
    const a = await UrnicHost.start(t, here, 'eth0', configuration('10.0.0.1'));
    const b = await UrnicHost.start(t, there, 'eth0', configuration('10.0.0.2'));
    const set = (host: UrnicHost, ...args: string[]) => host.urnic('tenant', 'set', ...args, '--socket', host.socket);
    const packets = async (counter: string): Promise<number> => {
      const { output } = await there.run(['nft', 'list', 'counter', 'netdev', 'hop', counter]);
      return Number(/packets (\d+)/.exec(output)?.[1]);
    };
    t.match(await there.run(['nft', '-f', '-'], { input: HOP }), { code: 0 });
    const pingpong = (port: number, count: number): string[] =>
      `ibv_rc_pingpong -d rxe0 -g 1 -n ${count} -p ${port}`.split(' ');

    for (const [i, way] of WAYS.entries())
      await t.test(`${way}: a connection that lives sends with the new DSCP at once`, async (t) => {
        const server = a.spawn(t, pingpong(18_900 + i, 100_000_000), way);
        await server.waits();
        const [before, after] = [await packets('before'), await packets('after')];
        const client = b.spawn(t, [...pingpong(18_900 + i, 100_000_000), '192.0.2.1'], way);
        t.ok(await eventually(async () => (await packets('before')) > before + 20, PATIENCE));
        t.equal(await packets('after'), after);
        t.match(await set(b, way, `dscp=${AFTER}`), { code: 0, output: '' });
        t.ok(await eventually(async () => (await packets('after')) > after + 20, PATIENCE));
        const old = await packets('before');
        const now = await packets('after');
        t.ok(await eventually(async () => (await packets('after')) > now + 20, PATIENCE));
        t.equal(await packets('before'), old, 'none with the old one');
        t.equal(await packets('other'), 0);
        t.equal(client.child.exitCode, null, 'it lives');
        await Promise.all([client.stop('SIGKILL'), server.stop('SIGKILL')]);
      });

    await t.test(
      'mtu: connections to come have the new one; what the interface does not carry is refused',
      async (t) => {
        const active = async (): Promise<string> => (await a.run(['ibv_devinfo', '-d', 'rxe0'], {}, 'vxlan')).output;
        t.match(await active(), /active_mtu:\s+4096/);
        t.match(await set(a, 'vxlan', 'mtu=1500'), { code: 0 });
        t.match(await active(), /active_mtu:\s+1024/);
        t.match(await set(a, 'vxlan', 'mtu=8950'), { code: 0 });
        t.match(await active(), /active_mtu:\s+4096/);
        t.match(await set(a, 'vxlan', 'mtu=9000'), { code: 1, output: /has MTU 9000, and eth0 carries 8950/ });
        t.match(await active(), /active_mtu:\s+4096/, 'and nothing has changed');
      },
    );

    await t.test(
      'unmodified programs choose their connection’s way by --underlay or by environment; urnic conn shows it',
      async (t) => {
        const run = (host: UrnicHost, way: string): string[] => [
          process.execPath,
          CLI,
          'run',
          '--vrnic',
          'vxlan',
          '--socket',
          host.socket,
          '--underlay',
          way,
          '--',
        ];
        const ping = pingpong(18_950, 100_000_000);
        const server = here.spawn(t, [...run(a, 'translate'), ...ping]);
        await server.waits();
        const client = b.spawn(t, ['env', 'URNIC_UNDERLAY=translate', ...ping, '192.0.2.1'], 'vxlan');
        for (const host of [a, b]) {
          const list = async (): Promise<boolean> =>
            /underlay translate/.test((await host.urnic('conn', 'list', 'vxlan', '--socket', host.socket)).output);
          t.ok(await eventually(list, PATIENCE), `${server.output}${client.output}`);
        }
        await Promise.all([client.stop('SIGKILL'), server.stop()]);
        t.match(await here.run([...run(a, 'air'), 'true']), { output: /Allowed choices are vxlan, translate, local/ });
      },
    );
  },
);
