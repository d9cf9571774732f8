/** Containers behind veth ports of two tenants with the same addresses, on two hosts: ping, TCP, rules, spoofing, MTU, and a vRNIC beside them. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { eventually } from '../support/eventually.ts';
import { must, Namespace, twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { CLI, UrnicHost } from '../uverbs/lab.ts';

const TENANTS = ['blue', 'red'] as const;
const MTU = 1400;
const LIMIT_MILLIS = 60_000;
const macOf = (last: number): string => `02:00:00:00:00:0${last}`;

/** Two containers of each tenant, c1 on the first host and c2 on the second, and a vRNIC of blue on the second. Blue's VTEPs have IPv4 addresses, red's IPv6. */
const tenant = (name: string, vni: number, prefix: string): string => `
  - name: ${name}
    vni: ${vni}
    mtu: ${MTU}
    endpoints:
      - { address: 10.0.0.1, also: ['fd00::1'], host: '${prefix}1', kind: veth, netdev: ${name}1, mac: '${macOf(1)}' }
      - { address: 10.0.0.2, also: ['fd00::2'], host: '${prefix}2', kind: veth, netdev: ${name}2, mac: '${macOf(2)}' }
      - { address: 10.0.0.3, also: ['fd00::3'], host: '${prefix}2' }
      - { address: 10.0.0.4, host: '${prefix}1', kind: veth, netdev: ${name}4, mac: '${macOf(4)}' }`;
const TEXT = `tenants:${tenant('blue', 100, '192.0.2.')}${tenant('red', 200, 'fd02::')}\n`;
const VRNIC = 'vrnics:\n  - { name: blue3, tenant: blue, address: 10.0.0.3, netdev: eth0 }\n';

/** A container: a namespace whose eth0 is the other end of the host's `netdev`. */
async function container(t: Test, host: Namespace, netdev: string): Promise<Namespace> {
  const last = Number(netdev.at(-1));
  const inside = await Namespace.create(t, netdev);
  await must(
    'ip',
    'link',
    'add',
    netdev,
    'netns',
    host.name,
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    inside.name,
  );
  await inside.ip('link', 'set', 'eth0', 'address', macOf(last), 'mtu', String(MTU), 'up');
  await inside.ip('addr', 'add', `10.0.0.${last}/24`, 'dev', 'eth0');
  if (last < 4) await inside.ip('addr', 'add', `fd00::${last}/64`, 'dev', 'eth0');
  return inside;
}

t.test(
  'ports of containers',
  { skip: lacks('root', 'busybox', 'iperf3', 'tshark', 'gcc'), timeout: 900_000 },
  async (t) => {
    const [here, there] = await twoHosts(t);
    for (const [i, host] of [here, there].entries())
      await host.ip('addr', 'add', `fd02::${i + 1}/64`, 'dev', 'eth0', 'nodad');
    const inside = new Map<string, Namespace>();
    for (const name of TENANTS)
      for (const [host, last] of [
        [here, 1],
        [there, 2],
        [here, 4],
      ] as const)
        inside.set(`${name}${last}`, await container(t, host, `${name}${last}`));
    const at = (name: string): Namespace => inside.get(name)!;
    const a = await UrnicHost.start(t, here, 'eth0', TEXT);
    await UrnicHost.start(t, there, 'eth0', TEXT + VRNIC);
    const ping = (from: Namespace, to: string, ...more: string[]) =>
      from.run(['busybox', 'ping', '-c', '3', '-A', '-W', '10', ...more, to], { timeoutMillis: LIMIT_MILLIS });
    const counters = async (host: UrnicHost, port: string): Promise<Record<string, number>> => {
      const { output } = await host.urnic('stat', port, '--json', '--socket', host.socket);
      return (JSON.parse(output) as Record<string, { counters: Record<string, number> }>)[port]!.counters;
    };

    for (const [what, from, to] of [
      ['on another host', 1, '10.0.0.2'],
      ['on another host, over IPv6', 1, 'fd00::2'],
      ['on the same host', 1, '10.0.0.4'],
    ] as const)
      await t.test(`a container reaches another of its tenant ${what}`, async (t) => {
        for (const name of TENANTS) t.match(await ping(at(`${name}${from}`), to), { code: 0 });
      });

    await t.test('tenants with one another’s addresses hear their own alone', async (t) => {
      const listen = at('red2').spawn(t, ['nc', '-l', '-p', '7000']);
      await eventually(async () => (await at('red2').run(['ss', '-Hltn'])).output.includes(':7000'));
      t.not((await at('blue1').run(['nc', '-N', '-w', '3', '10.0.0.2', '7000'], { input: 'blue' })).code, 0);
      t.equal((await at('red1').run(['nc', '-N', '-w', '30', '10.0.0.2', '7000'], { input: 'red' })).code, 0);
      await listen.end(LIMIT_MILLIS);
      t.equal(listen.output, 'red');
    });

    await t.test('TCP in both tenants at once, cut into segments by the switch', async (t) => {
      await Promise.all(
        TENANTS.map(async (name) => {
          const server = at(`${name}2`).spawn(t, ['iperf3', '-s', '-1']);
          await eventually(async () => (await at(`${name}2`).run(['ss', '-Hltn'])).output.includes(':5201'));
          const client = await at(`${name}1`).run(['iperf3', '-c', '10.0.0.2', '-n', '20M', '-J'], {
            timeoutMillis: LIMIT_MILLIS,
          });
          t.equal(client.code, 0, client.output.slice(-1000));
          t.equal(await server.end(LIMIT_MILLIS), 0);
          const { end } = JSON.parse(client.output) as { end: { sum_received: { bits_per_second: number } } };
          t.comment(`${name}: ${Math.round(end.sum_received.bits_per_second / 1e6)} Mb/s`);
        }),
      );
      t.equal((await counters(a, 'blue/blue1')).drop_offload, 0);
    });

    await t.test('a limit holds a port, and counts for how long', async (t) => {
      const limited = (...args: string[]) => a.urnic('limit', ...args, '--socket', a.socket);
      t.match(await limited('set', 'blue', '10.0.0.1', '--rate', '20mbit'), { code: 0 });
      const server = at('blue2').spawn(t, ['iperf3', '-s', '-1']);
      await eventually(async () => (await at('blue2').run(['ss', '-Hltn'])).output.includes(':5201'));
      const client = await at('blue1').run(['iperf3', '-c', '10.0.0.2', '-n', '5M', '-J'], {
        timeoutMillis: LIMIT_MILLIS,
      });
      t.equal(client.code, 0, client.output.slice(-1000));
      await server.end(LIMIT_MILLIS);
      const { end } = JSON.parse(client.output) as { end: { sum_received: { bits_per_second: number } } };
      t.ok(end.sum_received.bits_per_second < 30e6, `${end.sum_received.bits_per_second}`);
      t.ok((await counters(a, 'blue/blue1')).limited_micros! > 0);
      t.match(await limited('del', 'blue', '10.0.0.1'), { code: 0 });
    });

    await t.test('an address that is not the container’s is dropped as spoofed', async (t) => {
      const before = (await counters(a, 'blue/blue1')).drop_spoofed!;
      await at('blue1').ip('addr', 'add', '10.0.0.9/24', 'dev', 'eth0');
      t.not((await ping(at('blue1'), '10.0.0.2', '-I', '10.0.0.9', '-c', '1', '-W', '1')).code, 0);
      t.ok((await counters(a, 'blue/blue1')).drop_spoofed! > before);
      await at('blue1').ip('addr', 'del', '10.0.0.9/24', 'dev', 'eth0');
    });

    await t.test('a frame longer than the tenant’s MTU is dropped as such', async (t) => {
      await at('blue1').ip('link', 'set', 'eth0', 'mtu', '1500');
      t.not((await ping(at('blue1'), '10.0.0.2', '-s', '1400', '-c', '1', '-W', '1')).code, 0);
      t.ok((await counters(a, 'blue/blue1')).drop_too_long! >= 1);
      await at('blue1').ip('link', 'set', 'eth0', 'mtu', String(MTU));
      t.match(await ping(at('blue1'), '10.0.0.2', '-s', String(MTU - 28)), { code: 0 });
    });

    await t.test('a rule cuts what flows, and lets it flow again', async (t) => {
      const control = (...args: string[]) => a.urnic(...args, '--socket', a.socket);
      t.match(await control('rule', 'add', 'red', 'wall', '--action', 'deny', '--destination', '10.0.0.2'), {
        code: 0,
      });
      t.not((await ping(at('red1'), '10.0.0.2', '-c', '1', '-W', '1')).code, 0);
      t.match(await ping(at('red1'), '10.0.0.4'), { code: 0 });
      t.ok((await counters(a, 'red/red1')).drop_rule! >= 1);
      t.match(await control('rule', 'del', 'red', 'wall'), { code: 0 });
      t.match(await ping(at('red1'), '10.0.0.2'), { code: 0 });
    });

    await t.test('a vRNIC of the tenant is found by ARP and neighbour discovery, and speaks RoCE alone', async (t) => {
      for (const [address, route] of [
        ['10.0.0.3', '10.0.0.3'],
        ['fd00::3', 'fd00::3'],
      ] as const) {
        await ping(at('blue1'), address, '-c', '1', '-W', '1');
        t.match(await at('blue1').ip('neigh', 'show', route), /lladdr 02:64:/);
      }
      t.ok((await counters(a, 'blue/blue1')).answered! > 0);
    });

    await t.test(
      'a capture of a tenant has the frames of all its ports here, as the tenant sees them, and no others',
      async (t) => {
        const file = join(t.testdir(), 'blue.pcapng');
        const command = [process.execPath, CLI, 'capture', '--tenant', 'blue', file, '--socket', a.socket];
        const capture = here.spawn(t, command);
        await capture.matches(/capturing tenant blue/, LIMIT_MILLIS);
        for (const name of TENANTS) t.match(await ping(at(`${name}1`), '10.0.0.4'), { code: 0 });
        t.match(await ping(at('blue1'), 'fd00::2'), { code: 0 });
        capture.child.kill('SIGINT');
        t.equal(await capture.end(LIMIT_MILLIS), 0, capture.output);
        const fields = ['frame.interface_name', 'ip.src', 'ipv6.src', 'icmp.type', 'icmpv6.type', 'vxlan'].flatMap(
          (field) => ['-e', field],
        );
        const { code, output } = await here.run(['tshark', '-r', file, '-T', 'fields', ...fields, '-E', 'separator=,']);
        t.equal(code, 0, output);
        const lines = output.split('\n');
        const count = (line: string): number => lines.filter((one) => one === line).length;
        t.strictSame(
          [count('blue/blue1,10.0.0.1,,8,,'), count('blue/blue4,10.0.0.1,,8,,')],
          [3, 3],
          'each question at both ports',
        );
        t.equal(count('blue/blue1,10.0.0.4,,0,,'), 3);
        t.equal(count('blue/blue1,,fd00::2,,129,'), 3, 'answers from another host');
        t.notMatch(output, /red/);
      },
    );

    await t.test('a tenant that wants no wire: containers reach those of their host alone', async (t) => {
      t.match(await ping(at('blue1'), '10.0.0.2'), { code: 0 });
      t.match(await a.urnic('tenant', 'set', 'blue', 'underlay=local', '--socket', a.socket), { code: 0 });
      t.equal((await counters(a, 'blue/blue1')).drop_underlay, 0);
      t.not((await ping(at('blue1'), '10.0.0.2', '-c', '1', '-W', '1')).code, 0);
      t.ok((await counters(a, 'blue/blue1')).drop_underlay! >= 1);
      t.match(await ping(at('blue1'), '10.0.0.4'), { code: 0 });
      const before = (await counters(a, 'blue/blue4')).drop_vtep!;
      t.not((await ping(at('blue2'), '10.0.0.4', '-c', '1', '-W', '1')).code, 0);
      t.ok((await counters(a, 'blue/blue4')).drop_vtep! > before, 'what a host that has not heard of it sends');
      t.match(await a.urnic('tenant', 'set', 'blue', 'underlay=auto', '--socket', a.socket), { code: 0 });
      t.match(await ping(at('blue1'), '10.0.0.2'), { code: 0 });
    });

    await t.test(
      'a container that is started again is heard again; one that comes later than its endpoint, too',
      async (t) => {
        await here.ip('link', 'set', 'blue4', 'down');
        at('blue1').spawn(t, ['busybox', 'ping', '-c', '3', '-W', '1', '10.0.0.4']);
        t.ok(await eventually(async () => (await counters(a, 'blue/blue4')).drop_no_room! > 0), 'it takes nothing');
        t.ok((await counters(a, 'blue/blue1')).flooded! > 0, 'what a kernel tells everybody');
        await here.ip('link', 'del', 'blue4');
        inside.set('blue4', await container(t, here, 'blue4'));
        t.ok(
          await eventually(
            async () => (await ping(at('blue1'), '10.0.0.4', '-c', '1', '-W', '1')).code === 0,
            LIMIT_MILLIS,
          ),
        );
        const later = [
          'endpoint',
          'add',
          'blue',
          '10.0.0.5',
          '--host',
          '192.0.2.1',
          '--kind',
          'veth',
          '--netdev',
          'blue5',
          '--mac',
          macOf(5),
        ];
        t.match(await a.urnic(...later, '--socket', a.socket), { code: 0 });
        await a.daemon.matches(/port blue\/blue5: no such|port blue\/blue5: .*blue5/);
        inside.set('blue5', await container(t, here, 'blue5'));
        t.ok(
          await eventually(
            async () => (await ping(at('blue1'), '10.0.0.5', '-c', '1', '-W', '1')).code === 0,
            LIMIT_MILLIS,
          ),
        );
        t.match(await a.urnic('endpoint', 'list', '--socket', a.socket), { output: /blue 10\.0\.0\.5 .* veth blue5/ });
      },
    );

    await t.test('an endpoint that goes takes its port along', async (t) => {
      const list = async (): Promise<string> => (await a.urnic('stat', '--socket', a.socket)).output;
      t.match(await list(), /link red\/red4/);
      t.match(await a.urnic('endpoint', 'del', 'red', '10.0.0.4', '--socket', a.socket), { code: 0 });
      t.notMatch(await list(), /link red\/red4/);
      t.not((await ping(at('red1'), '10.0.0.4', '-c', '1', '-W', '1')).code, 0);
    });
  },
);

t.test(
  'containers whose interfaces have one name in namespaces of their own have a port each',
  { skip: lacks('root', 'busybox'), timeout: 300_000 },
  async (t) => {
    const [here] = await twoHosts(t);
    const containers: Namespace[] = [];
    const endpoints: string[] = [];
    const paths: string[] = [];
    for (const last of [1, 2]) {
      const outside = await Namespace.create(t, `outside${last}`);
      const inside = await Namespace.create(t, `inside${last}`);
      const pair = ['c0', 'netns', outside.name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', inside.name];
      await must('ip', 'link', 'add', ...pair);
      await inside.ip('link', 'set', 'eth0', 'address', macOf(last), 'mtu', String(MTU), 'up');
      await inside.ip('addr', 'add', `10.0.0.${last}/24`, 'dev', 'eth0');
      containers.push(inside);
      paths.push(`/var/run/netns/${outside.name}`);
      endpoints.push(
        `{ address: 10.0.0.${last}, host: 192.0.2.1, kind: veth, netdev: c0, namespace: ${paths.at(-1)}, mac: '${macOf(last)}' }`,
      );
    }
    const text = `tenants: [{ name: blue, vni: 100, mtu: ${MTU}, endpoints: [${endpoints[0]}, ${endpoints[1]}] }]\n`;
    const host = await UrnicHost.start(t, here, 'eth0', text);
    const control = (...args: string[]) => host.urnic(...args, '--socket', host.socket);
    const ports = async (): Promise<string[]> => Object.keys(JSON.parse((await control('stat', '--json')).output));
    const ping = () => containers[0]!.run(['busybox', 'ping', '-c', '3', '-A', '-W', '10', '10.0.0.2']);

    t.strictSame(await ports(), [`blue/c0@${paths[0]}`, `blue/c0@${paths[1]}`]);
    t.match(await ping(), { code: 0 });

    const second = ['blue', '10.0.0.3', '--host', '192.0.2.1', '--kind', 'veth', '--netdev', 'c0', '--namespace'];
    t.match(await control('endpoint', 'add', ...second, paths[0]!), {
      code: 1,
      output:
        /10\.0\.0\.1 of tenant blue and 10\.0\.0\.3 of tenant blue are both interface c0 in .*: give each its own/,
    });
    const otherwise = paths[0]!.replace('/var/run', '/run');
    t.match(await control('endpoint', 'add', ...second, otherwise), { code: 0 });
    await host.daemon.matches(/port blue\/c0@\/run\/.*: port blue\/c0@\/var\/run\/.* is that interface already/);
    t.match(await control('endpoint', 'del', 'blue', '10.0.0.3'), { code: 0 });
    t.match(await ping(), { code: 0 }, 'whose it was it is');

    t.match(await control('endpoint', 'del', 'blue', '10.0.0.2'), { code: 0 });
    t.strictSame(await ports(), ['blue/c0'], 'a name without a namesake needs no namespace');
  },
);
