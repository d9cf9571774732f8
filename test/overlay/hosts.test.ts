/** Three hosts that share one etcd: they learn of each other, lose each other, and lose etcd, while connections live on. */
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { type Background, hostsOnSwitch, type Teardown } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const TTL = 3;
const LOOK_MILLIS = 10;
const PARTITION =
  'add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in iif "br0" tcp dport 2379 drop';

const configuration = (host: number, vrnics: string, tenants = ''): string => `
store: { etcd: ['http://192.0.2.254:2379'], ttl: ${TTL}, name: host-${host} }
${tenants}
vrnics:
${vrnics}
`;
const vrnic = (name: string, address: string): string =>
  `  - { name: ${name}, tenant: blue, address: ${address}, netdev: eth0 }`;

interface Endpoint {
  readonly address: string;
  readonly host: string;
}

const tenantsOf = async (host: UrnicHost) =>
  (await ask(host.socket, { op: 'tenants' })) as {
    name: string;
    endpoints: Endpoint[];
    rules: { id: string }[];
  }[];
const endpointsOf = async (host: UrnicHost): Promise<string[]> =>
  (await tenantsOf(host)).flatMap(({ endpoints }) => endpoints.map(({ address, host }) => `${address}@${host}`)).sort();

/** How long until each of them sees these endpoints of blue, from 10.0.0 and 192.0.2: `host-1 31 ms, host-2 27 ms`. Each is looked at every 10 ms. */
async function untilAll(
  t: Test,
  hosts: readonly UrnicHost[],
  wanted: readonly string[],
  begin = performance.now(),
): Promise<string> {
  const all = wanted.map((one) => one.replace(/^(\d+)@(\d+)$/, '10.0.0.$1@192.0.2.$2')).sort();
  const figures = hosts.map(async (host, i) => {
    const deadline = performance.now() + 60_000;
    let seen = await endpointsOf(host);
    for (; seen.join() !== all.join() && performance.now() < deadline; seen = await endpointsOf(host))
      await sleep(LOOK_MILLIS);
    t.same(seen, all);
    return `host-${i + 1} ${(performance.now() - begin).toFixed(0)} ms`;
  });
  return (await Promise.all(figures)).join(', ');
}

/** A conversation without an end, from `b`'s vRNIC to `a`'s. */
async function converse(
  t: Teardown,
  a: UrnicHost,
  b: UrnicHost,
  port: number,
): Promise<readonly [Background, Background]> {
  // Patient (-u): a machine that is busy with the tests beside this one must not end it.
  const command = `ib_send_lat -d rxe0 -x 1 -s 64 -D 1700 -u 21 -F -p ${port}`.split(' ');
  const server = a.spawn(t, command, 'v');
  await server.waits();
  const address = (await a.namespace.run(['hostname', '-I'])).output.split(' ')[0]!;
  const client = b.spawn(t, [...command, address], 'v');
  if (!(await eventually(async () => (await received(a)) > 1000, 90_000)))
    throw new Error(server.output + client.output);
  return [server, client];
}

async function received(host: UrnicHost): Promise<number> {
  const { counters } = (await ask(host.socket, { op: 'statistics', vrnic: 'v' })) as {
    counters: Record<string, number>;
  };
  return counters.rcvd_pkts!;
}

async function talksOn(t: Test, host: UrnicHost, programs: readonly Background[]): Promise<void> {
  const before = await received(host);
  t.ok(await eventually(async () => (await received(host)) > before + 100), 'packets come');
  for (const { child, output } of programs)
    t.ok(child.exitCode === null && child.signalCode === null, `it lives ${output}`);
}

t.test(
  'hosts that share an etcd',
  { skip: lacks('root', 'etcd', 'nft', 'gcc', 'ibv_rc_pingpong', 'ib_send_lat'), timeout: 1_800_000 },
  async (whole) => {
    const t = whole;
    const [hub, n1, n2, n3] = await hostsOnSwitch(t, 3);
    const etcd = await Etcd.inNamespace(t, hub, '192.0.2.254');
    const tenants = 'tenants: [{ name: blue, vni: 100 }]';
    const one = await UrnicHost.start(t, n1!, 'eth0', configuration(1, vrnic('v', '10.0.0.1'), tenants));
    const two = await UrnicHost.start(t, n2!, 'eth0', configuration(2, vrnic('v', '10.0.0.2')));
    const three = await UrnicHost.start(t, n3!, 'eth0', configuration(3, vrnic('v', '10.0.0.3')));
    const all = [one, two, three];
    const programs: Background[] = [];

    await t.test('each learns of the others’ endpoints', async (t) => {
      await untilAll(t, all, ['1@1', '2@2', '3@3']);
      const begin = performance.now();
      const endpoint = { address: '10.0.0.9', host: '192.0.2.99' };
      const [figures] = await Promise.all([
        untilAll(t, all, ['1@1', '2@2', '3@3', '9@99'], begin),
        ask(two.socket, { op: 'addEndpoint', tenant: 'blue', endpoint }),
      ]);
      t.comment(`an endpoint that host-2 is asked to add is known by ${figures}, from the asking on`);
      await three.urnic('endpoint', 'del', 'blue', '10.0.0.9', '--socket', three.socket);
      await untilAll(t, all, ['1@1', '2@2', '3@3']);
      const { output } = await two.urnic('store', 'show', '--socket', two.socket);
      t.match(
        output,
        /^store etcd http:\/\/192\.0\.2\.254:2379 prefix urnic\/ ttl 3 name host-2\nanswers revision \d+/,
      );
      t.match(output, /host host-1 192\.0\.2\.1\nhost host-2 192\.0\.2\.2\nhost host-3 192\.0\.2\.3\n$/);
      t.match(JSON.parse((await one.urnic('store', 'show', '--json', '--socket', one.socket)).output), {
        kind: 'etcd',
        answers: true,
        hosts: { length: 3 },
      });
    });

    await t.test('what one host commands counts on all', async (t) => {
      const { code, output } = await two.urnic(...'rule add blue wall --action deny --socket'.split(' '), two.socket);
      t.equal(code, 0, output);
      t.ok(await eventually(async () => (await tenantsOf(one))[0]!.rules.some(({ id }) => id === 'wall')));
      t.match(await three.urnic(...'rule add blue wall --action allow --socket'.split(' '), three.socket), {
        code: 1,
        output: /has a rule wall already/,
      });
      await three.urnic('rule', 'del', 'blue', 'wall', '--socket', three.socket);
      t.ok(await eventually(async () => (await tenantsOf(two))[0]!.rules.length === 0));
    });

    await t.test('a rule that a third host commands ends a live connection at both its ends', async (t) => {
      const cut = await converse(whole, one, two, 18_602);
      const live = async (host: UrnicHost): Promise<number> =>
        ((await ask(host.socket, { op: 'connections', vrnic: 'v' })) as object[]).length;
      t.same([await live(one), await live(two)], [1, 1]);
      const begin = performance.now();
      await ask(three.socket, { op: 'addRule', tenant: 'blue', rule: { id: 'cut', action: 'deny' } });
      for (const host of [one, two]) t.ok(await eventually(async () => (await live(host)) === 0));
      t.comment(`both have ended after ${(performance.now() - begin).toFixed(0)} ms, the store's own time among them`);
      for (const program of cut) t.not(await program.end(), 0, 'its program hears of it');
      await three.urnic('rule', 'del', 'blue', 'cut', '--socket', three.socket);
      t.ok(await eventually(async () => (await tenantsOf(one))[0]!.rules.length === 0));
      programs.push(...(await converse(whole, one, two, 18_600)));
    });

    await t.test('etcd is killed and comes back: nothing is lost, and no connection ends', async (t) => {
      await etcd.kill();
      t.match(await two.urnic(...'rule add blue wall --action deny --socket'.split(' '), two.socket), {
        code: 1,
        output: /etcd at http:\/\/192\.0\.2\.254:2379 does not answer/,
      });
      t.match(await two.urnic('store', 'show', '--socket', two.socket), {
        code: 0,
        output: /does not answer: .*revision \d+ entries \d+\nhost host-1/,
      });
      await talksOn(t, one, programs);
      await etcd.restart();
      await untilAll(t, all, ['1@1', '2@2', '3@3']);
      t.ok(
        await eventually(
          async () =>
            (await two.urnic('endpoint', 'add', 'blue', '10.0.0.8', '--host', '192.0.2.98', '--socket', two.socket))
              .code === 0,
        ),
      );
      t.comment(`changes flow again: ${await untilAll(t, all, ['1@1', '2@2', '3@3', '8@98'])}`);
      await talksOn(t, one, programs);
    });

    await t.test(
      'a partition that is longer than the lease: connections live on, and endpoints come back',
      async (t) => {
        t.equal((await hub.run(['nft', PARTITION])).code, 0);
        const inEtcd = async (): Promise<string> => (await etcdKeys(etcd)).join(' ');
        t.ok(await eventually(async () => !(await inEtcd()).includes('hosts/'), 60_000), 'the leases have ended');
        t.notMatch(await inEtcd(), /endpoints\/blue\/10\.0\.0\.1/);
        await talksOn(t, one, programs);
        await hub.run(['nft', 'delete', 'table', 'inet', 'cut']);
        t.ok(await eventually(async () => (await inEtcd()).match(/hosts\//g)?.length === 3, 60_000), 'they are back');
        await untilAll(t, all, ['1@1', '2@2', '3@3', '8@98']);
        await talksOn(t, one, programs);
        t.match(await one.urnic('endpoint', 'del', 'blue', '10.0.0.8', '--socket', one.socket), { code: 0 });
        await untilAll(t, all, ['1@1', '2@2', '3@3']);
      },
    );

    await t.test('a host that is killed: its endpoints disappear when its lease ends', async (t) => {
      await three.daemon.stop('SIGKILL');
      t.comment(`with a lease of ${TTL} s it is gone for ${await untilAll(t, [one, two], ['1@1', '2@2'])}`);
      await talksOn(t, one, programs);
      await three.restart();
      await untilAll(t, all, ['1@1', '2@2', '3@3']);
    });

    await t.test('an endpoint moves to another host: peers find it at the same address', async (t) => {
      const on = (host: UrnicHost, ...args: string[]) => host.urnic(...args, '--socket', host.socket);
      const place = ['--netdev', 'eth0', '--tenant', 'blue', '--address', '10.0.0.2'];
      t.match(await on(three, 'vrnic', 'add', 'w', ...place), { code: 0 });
      t.match(await on(three, 'endpoint', 'move', 'blue', '10.0.0.7', '--host', '192.0.2.3'), {
        code: 1,
        output: /no endpoint 10\.0\.0\.7/,
      });
      await untilAll(t, all, ['1@1', '2@2', '3@3']);
      await talksOn(t, one, programs);
      t.match(await on(one, 'endpoint', 'move', 'blue', '10.0.0.2', '--host', '192.0.2.3'), { code: 0 });
      await untilAll(t, all, ['1@1', '2@3', '3@3']);
      for (const program of programs) t.not(await program.end(), 0, 'its connection has ended');

      const pingpong = 'ibv_rc_pingpong -d rxe0 -g 1 -n 100 -p 18601'.split(' ');
      const server = one.spawn(t, pingpong, 'v');
      await server.waits();
      const client = await three.run([...pingpong, '192.0.2.1'], { timeoutMillis: 120_000 }, 'w');
      t.equal(client.code, 0, client.output);
      t.equal(await server.end(), 0, server.output);

      t.equal(await two.daemon.stop(), 0);
      await two.restart();
      await untilAll(t, all, ['1@1', '2@3', '3@3']);
      t.match(await on(three, 'vrnic', 'delete', 'w'), { code: 0 });
      await untilAll(t, all, ['1@1', '3@3']);
      t.match(await on(one, 'endpoint', 'add', 'blue', '10.0.0.2', '--host', '192.0.2.2'), { code: 0 });
      await untilAll(t, all, ['1@1', '2@2', '3@3']);
      t.ok(
        await eventually(async () => (await etcdKeys(etcd, true)).includes('endpoints/blue/10.0.0.2')),
        'under a lease again',
      );
    });

    await t.test('a host that ends well takes its endpoints along at once', async (t) => {
      t.equal(await three.daemon.stop(), 0);
      await untilAll(t, [one], ['1@1', '2@2']);
    });
  },
);

/** As etcd itself has them, whoever else can reach it. */
async function etcdKeys(etcd: Etcd, isLeased = false): Promise<string[]> {
  const { kvs = [] } = await etcd.ask<{ kvs?: { key: string; lease?: string }[] }>('/v3/kv/range', {
    key: Buffer.from('urnic/').toString('base64'),
    range_end: Buffer.from('urnic0').toString('base64'),
    keys_only: true,
  });
  const wanted = kvs.filter(({ lease }) => !isLeased || lease !== undefined);
  return wanted.map(({ key }) => Buffer.from(key, 'base64').toString().slice('urnic/'.length));
}
