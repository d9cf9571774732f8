/** Two tenants with the same addresses on the same two hosts, over VXLAN: unmodified programs, rules that cut live connections, and strangers who get nothing. */
import t, { type Test } from 'tap';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { type Ran, twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const TENANTS = ['blue', 'red'];
const ENDPOINTS = `
      - { address: 10.0.0.1, also: ['fd00::1'], host: 192.0.2.1 }
      - { address: 10.0.0.2, also: [10.0.0.3, 'fd00::2'], host: 192.0.2.2 }`;
const configuration = (address: string): string => `
tenants:
  - name: blue
    vni: 100
    endpoints:${ENDPOINTS}
  - name: red
    vni: 200
    endpoints:${ENDPOINTS}
vrnics:${TENANTS.map((tenant) => `\n  - { name: ${tenant}, tenant: ${tenant}, address: ${address}, netdev: eth0 }`).join('')}
`;
const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis));
const pingpong = (type: string, port: number, iterations: number, gid = 1): string[] =>
  `ibv_${type}_pingpong -d rxe0 -g ${gid} -n ${iterations} -p ${port}`.split(' ');

interface Lab {
  readonly a: UrnicHost;
  readonly b: UrnicHost;
}

/** A pingpong inside one tenant. The programs agree over TCP by the hosts' own addresses. */
async function converse(t: Test, { a, b }: Lab, tenant: string, type: string, port: number, gids = [1, 1]) {
  const server = a.spawn(t, pingpong(type, port, 100, gids[0]), tenant);
  await server.waits();
  const client = await b.run([...pingpong(type, port, 100, gids[1]), '192.0.2.1'], { timeoutMillis: 90_000 }, tenant);
  t.equal(client.code, 0, client.output);
  t.equal(await server.end(), 0, server.output);
  t.match(client.output, gids[0] === 1 ? /remote address: .*GID ::ffff:10\.0\.0\.1/ : /remote address: .*GID fd00::1/);
}

const count = async (host: UrnicHost, vrnic: string, counter: string): Promise<number> => {
  const { output } = await host.urnic('stat', vrnic, '--json', '--socket', host.socket);
  return (JSON.parse(output) as Record<string, { counters: Record<string, number> }>)[vrnic]!.counters[counter]!;
};

/** While each tenant has one connection, of a vRNIC of its name. */
async function listsConnections(t: Test, control: (...args: string[]) => Promise<Ran>): Promise<void> {
  const whose = async (...args: string[]): Promise<string[]> => {
    const found = JSON.parse((await control('conn', 'list', ...args, '--json')).output) as Record<string, string>[];
    return found.map(({ tenant, vrnic, local, remote }) => `${tenant} ${vrnic} ${local} ${remote}`).sort();
  };
  const [blue, red] = TENANTS.map((tenant) => `${tenant} ${tenant} 10.0.0.1 10.0.0.2`);
  await eventually(async () => (await whose()).length === 2);
  t.strictSame(await whose(), [blue, red]);
  t.strictSame(await whose('--tenant', 'blue'), [blue]);
  t.strictSame(await whose('--vrnic', 'red'), [red]);
  t.strictSame(await whose('red'), [red]);
  const line = 'lqpn \\d+ rqpn \\d+ type rc local 10.0.0.1 remote 10.0.0.2 underlay vxlan\n';
  const text = async (...args: string[]): Promise<string> => (await control('conn', 'list', ...args)).output;
  t.match(await text('--tenant', 'red'), new RegExp(`^tenant red vrnic red ${line}$`));
  t.match(await text('red'), new RegExp(`^${line}$`), 'as ever');
  t.equal((await text()).split('\n').filter((one) => /^tenant (\w+) vrnic \1 lqpn /.test(one)).length, 2);
}

t.test('tenants over VXLAN', { skip: lacks('root', 'gcc', 'ibv_rc_pingpong'), timeout: 900_000 }, async (t) => {
  await exclusive(t, 'machine');
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here, 'eth0', configuration('10.0.0.1'));
  const b = await UrnicHost.start(t, there, 'eth0', configuration('10.0.0.2'));
  const lab = { a, b };
  const control = (...args: string[]) => a.urnic(...args, '--socket', a.socket);

  for (const type of ['rc', 'uc', 'ud', 'srq']) {
    await t.test(`${type} in both tenants at once, with one another’s addresses`, (t) =>
      Promise.all(TENANTS.map((tenant, i) => converse(t, lab, tenant, type, 18_515 + i))).then(() => {}),
    );
  }

  await t.test('an endpoint of several addresses: its second IPv4 address, and IPv6', async (t) => {
    await converse(t, lab, 'blue', 'rc', 18_515, [1, 2]);
    for (const type of ['rc', 'ud']) await converse(t, lab, 'red', type, 18_516, [2, 3]);
  });

  await t.test('rdma_cm by tenants’ addresses', async (t) => {
    const server = a.spawn(t, ['rping', '-s', '-a', '10.0.0.1'], 'blue');
    await server.waits();
    const { code, output } = await b.run(['rping', '-c', '-a', '10.0.0.1', '-C', '10', '-V', '-v'], {}, 'blue');
    t.equal(code, 0, output);
    t.equal(await server.end(), 0);
  });

  await t.test('what crosses the wire is VXLAN, and tenants are told apart by their VNI alone', async (t) => {
    t.equal(await count(a, 'blue', 'drop_spoofed'), 0);
    t.ok((await count(a, 'blue', 'rcvd_pkts')) > 0 && (await count(a, 'red', 'rcvd_pkts')) > 0);
  });

  await t.test('a rule denies: the connection is refused in words', async (t) => {
    t.match(await control(...'rule add red wall --action deny --destination 10.0.0.0/24 --transport rc'.split(' ')), {
      code: 0,
    });
    const server = a.spawn(t, pingpong('rc', 18_520, 10), 'red');
    await server.waits();
    const client = b.run([...pingpong('rc', 18_520, 10), '192.0.2.1'], { timeoutMillis: 10_000 }, 'red');
    t.not(await server.end(), 0);
    t.match(server.output, /Failed to modify QP to RTR|Couldn't connect/);
    await client;
    await converse(t, lab, 'blue', 'rc', 18_521);
    await converse(t, lab, 'red', 'ud', 18_523);
    t.match(await control('rule', 'list'), {
      output: /red wall priority 100 deny source any destination 10\.0\.0\.0\/24 direction both transport rc/,
    });
    t.match(await control('rule', 'del', 'red', 'wall'), { code: 0 });
    await converse(t, lab, 'red', 'rc', 18_522);
  });

  await t.test('a rule against connection management: rdma_resolve_addr says so at once', async (t) => {
    await control(...'rule add red mute --action deny --transport cm'.split(' '));
    const { code, output } = await a.run(['rping', '-c', '-a', '10.0.0.2', '-C', '1', '-v'], {}, 'red');
    t.not(code, 0);
    t.match(output, /RDMA_CM_EVENT_ADDR_ERROR, error -13/, 'EACCES');
    t.match(await control('rule', 'del', 'red', 'mute'), { code: 0 });
  });

  await t.test('a rule cuts a live connection of its tenant, and no other', async (t) => {
    const long = (tenant: string, port: number) => {
      const server = a.spawn(t, pingpong('rc', port, 1_000_000), tenant);
      return server
        .waits()
        .then(() => [server, b.spawn(t, [...pingpong('rc', port, 1_000_000), '192.0.2.1'], tenant)] as const);
    };
    const [[redServer], [blueServer, blueClient]] = await Promise.all([long('red', 18_530), long('blue', 18_531)]);
    await eventually(async () => (await control('conn', 'list', 'red', '--json')).output.includes('10.0.0.2'));
    const before = JSON.parse((await control('conn', 'list', 'red', '--json')).output) as object[];
    t.match(before, [{ local: '10.0.0.1', remote: '10.0.0.2' }]);
    await listsConnections(t, control);
    const { output } = await control('rule', 'add', 'red', 'cut', '--action', 'deny');
    t.match(output, /1 connection ended/);
    t.not(await redServer.end(), 0);
    t.match(redServer.output, /Failed status/);
    t.match(await control('conn', 'list', 'red', '--json'), { output: /^\[\]/ });
    await pause(300);
    t.equal(blueServer.child.exitCode, null, 'the other tenant talks on');
    t.equal(blueClient.child.exitCode, null);
    await control('rule', 'del', 'red', 'cut');
  });

  await t.test('an endpoint that is no more is reached no more', async (t) => {
    t.match(await control('endpoint', 'del', 'blue', '10.0.0.2'), { code: 0 });
    const server = a.spawn(t, pingpong('rc', 18_540, 10), 'blue');
    await server.waits();
    await b.run([...pingpong('rc', 18_540, 10), '192.0.2.1'], { timeoutMillis: 20_000 }, 'blue');
    t.not(await server.end(), 0);
    const spoofed = await count(a, 'blue', 'drop_spoofed');
    await control('endpoint', 'add', 'blue', '10.0.0.2', '--host', '192.0.2.2', '--also', '10.0.0.3,fd00::2');
    await converse(t, lab, 'blue', 'rc', 18_541);
    t.equal(await count(a, 'blue', 'drop_spoofed'), spoofed);
    t.match(await control('endpoint', 'list'), {
      output: /blue 10\.0\.0\.2,10\.0\.0\.3,fd00::2 host 192\.0\.2\.2 mac 02:64:/,
    });
    t.match(await control('tenant', 'list'), { output: /blue vni 100 endpoints 2 rules 0/ });
    t.match(await control('rule', 'del', 'blue', 'none'), { code: 1, output: /no rule none/ });
  });
});
