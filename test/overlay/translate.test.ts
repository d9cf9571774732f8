/** Two tenants with the same addresses on the same two hosts, their connections translated: plain RoCEv2 between the hosts on the wire, told apart by QPN. */
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import { eventually } from '../support/eventually.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const TENANTS = ['blue', 'red'];
const LIMIT_MILLIS = 60_000;
const ENDPOINTS = `
      - { address: 10.0.0.1, host: 192.0.2.1, translates: true }
      - { address: 10.0.0.2, host: 192.0.2.2, translates: true }`;
/** One tenant says what it wants, the other's hosts say what they can. */
const configuration = (address: string): string => `
tenants:
  - name: blue
    vni: 100
    underlay: translate
    endpoints:${ENDPOINTS}
  - name: red
    vni: 200
    endpoints:${ENDPOINTS}
vrnics:${TENANTS.map((tenant) => `\n  - { name: ${tenant}, tenant: ${tenant}, address: ${address}, netdev: eth0 }`).join('')}
`;

interface Statistics {
  readonly counters: Record<string, number>;
  readonly ports: Record<string, { txFrames: number; rxFrames: number }>;
}

async function statistics(host: UrnicHost, vrnic: string): Promise<Statistics> {
  return (await ask(host.socket, { op: 'statistics', vrnic })) as Statistics;
}

/** Frames that left: translated, encapsulated. */
async function sent(host: UrnicHost, vrnic: string): Promise<[number, number]> {
  const { ports } = await statistics(host, vrnic);
  const of = (kind: string): number => Object.entries(ports).find(([name]) => name.startsWith(kind))![1].txFrames;
  return [of('af_packet'), of('udp_vxlan')];
}

t.test('translation', { skip: lacks('root', 'gcc', 'ibv_rc_pingpong', 'ib_write_bw'), timeout: 600_000 }, async (t) => {
  const [here, there] = await twoHosts(t);
  const a = await UrnicHost.start(t, here, 'eth0', configuration('10.0.0.1'));
  const b = await UrnicHost.start(t, there, 'eth0', configuration('10.0.0.2'));

  /** A server here and a client there, in one tenant; the programs agree over TCP by the hosts' own addresses. */
  async function converse(t: Test, tenant: string, program: string, port: number): Promise<string> {
    const command = `${program} -p ${port}`.split(' ');
    const server = a.spawn(t, command, tenant);
    await listens(port);
    const client = await b.run([...command, '192.0.2.1'], { timeoutMillis: LIMIT_MILLIS }, tenant);
    t.equal(client.code, 0, client.output);
    t.equal(await server.end(LIMIT_MILLIS), 0, server.output);
    return client.output;
  }

  async function listens(port: number): Promise<void> {
    for (const end = Date.now() + LIMIT_MILLIS; Date.now() < end; await pause(100))
      if ((await here.run(['ss', '-Hltn', `sport = :${port}`])).output.trim() !== '') return;
  }

  for (const program of ['ibv_rc_pingpong -d rxe0 -g 1 -n 100', 'ibv_uc_pingpong -d rxe0 -g 1 -n 100']) {
    await t.test(`${program.split(' ')[0]} in both tenants at once`, async (t) => {
      const before = await Promise.all(TENANTS.map((tenant) => sent(b, tenant)));
      const outputs = await Promise.all(TENANTS.map((tenant, i) => converse(t, tenant, program, 18_515 + i)));
      for (const output of outputs) t.match(output, /remote address: .*GID ::ffff:10\.0\.0\.1/);
      for (const [i, tenant] of TENANTS.entries()) {
        const [plain, encapsulated] = await sent(b, tenant);
        t.ok(plain >= before[i]![0] + 100, `${tenant}: its messages left as plain RoCEv2`);
        t.equal(encapsulated, before[i]![1], `${tenant}: and none of them as VXLAN`);
      }
    });
  }

  for (const program of ['ib_write_bw', 'ib_read_bw'])
    await t.test(`${program} in both tenants at once`, async (t) => {
      await Promise.all(
        TENANTS.map((tenant, i) => converse(t, tenant, `${program} -d rxe0 -x 1 -F -n 50`, 18_525 + i)),
      );
    });

  await t.test('datagrams travel by VXLAN, so that who receives them sees the tenant’s addresses', async (t) => {
    const [plain, encapsulated] = await sent(b, 'blue');
    await converse(t, 'blue', 'ibv_ud_pingpong -d rxe0 -g 1 -n 100', 18_535);
    const [plainNow, encapsulatedNow] = await sent(b, 'blue');
    t.equal(plainNow, plain);
    t.ok(encapsulatedNow >= encapsulated + 100);
  });

  await t.test('rdma_cm by tenants’ addresses', async (t) => {
    const [plain] = await sent(b, 'red');
    const server = a.spawn(t, ['rping', '-s', '-a', '10.0.0.1'], 'red');
    for (let tries = 0; tries < 20; tries++) {
      const { code, output } = await b.run(['rping', '-c', '-a', '10.0.0.1', '-C', '10', '-V', '-v'], {}, 'red');
      if (code === 0) break;
      if (tries === 19) t.fail(output);
      await pause(250);
    }
    t.equal(await server.end(LIMIT_MILLIS), 0, server.output);
    t.ok((await sent(b, 'red'))[0] > plain, 'the connection that it made is translated');
  });

  await t.test(
    'a rule cuts a live connection of its tenant, and no other; urnic conn says how they travel',
    async (t) => {
      const control = (...args: string[]) => a.urnic(...args, '--socket', a.socket);
      const command = (port: number) => `ibv_rc_pingpong -d rxe0 -g 1 -n 10000000 -p ${port}`.split(' ');
      const servers = TENANTS.map((tenant, i) => a.spawn(t, command(18_545 + i), tenant));
      await Promise.all([listens(18_545), listens(18_546)]);
      const clients = TENANTS.map((tenant, i) => b.spawn(t, [...command(18_545 + i), '192.0.2.1'], tenant));
      for (const tenant of TENANTS) {
        let found: object[] = [];
        for (const end = Date.now() + LIMIT_MILLIS; found.length === 0 && Date.now() < end; await pause(100))
          found = (await ask(a.socket, { op: 'connections', vrnic: tenant })) as object[];
        t.match(found, [{ local: '10.0.0.1', remote: '10.0.0.2', underlay: 'translate' }]);
      }
      t.match(await control('rule', 'add', 'red', 'cut', '--action', 'deny'), { output: /1 connection ended/ });
      t.not(await servers[1]!.end(LIMIT_MILLIS), 0);
      const { counters } = await statistics(a, 'blue');
      const talksOn = async (): Promise<boolean> =>
        (await statistics(a, 'blue')).counters.rcvd_pkts! > counters.rcvd_pkts!;
      t.ok(await eventually(talksOn), 'the other tenant talks on');
      t.equal(clients[0]!.child.exitCode, null);
      await control('rule', 'del', 'red', 'cut');
    },
  );

  await t.test('no packet of one tenant came to the other, and none by a way that was not its own', async (t) => {
    for (const tenant of TENANTS)
      for (const host of [a, b]) {
        const { counters } = await statistics(host, tenant);
        for (const name of ['drop_underlay', 'drop_address', 'drop_no_qp', 'drop_spoofed', 'drop_vni'])
          t.equal(counters[name], 0, `${tenant} ${name}`);
      }
  });

  await t.test(
    'a tenant that wants VXLAN from now on ends what is translated; what is made anew goes by it',
    async (t) => {
      const command = 'ibv_rc_pingpong -d rxe0 -g 1 -n 10000000 -p 18560'.split(' ');
      const server = a.spawn(t, command, 'red');
      await listens(18_560);
      const client = b.spawn(t, [...command, '192.0.2.1'], 'red');
      const isConnected = async (): Promise<boolean> =>
        ((await ask(b.socket, { op: 'connections', vrnic: 'red' })) as object[]).length > 0;
      t.ok(await eventually(isConnected));
      const change = (host: UrnicHost) => host.urnic('tenant', 'set', 'red', 'underlay=vxlan', '--socket', host.socket);
      t.match(await change(a), { output: /1 connection ended/ });
      // Its program may have gone with its peer's by then.
      t.match(await change(b), { code: 0 });
      t.not(await server.end(LIMIT_MILLIS), 0);
      t.not(await client.end(LIMIT_MILLIS), 0);
      const [plain, encapsulated] = await sent(b, 'red');
      await converse(t, 'red', 'ibv_rc_pingpong -d rxe0 -g 1 -n 100', 18_561);
      const [plainNow, encapsulatedNow] = await sent(b, 'red');
      t.equal(plainNow, plain);
      t.ok(encapsulatedNow >= encapsulated + 100);
    },
  );
});

const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis));
