/** Endpoints of two tenants with the same addresses, all on one host: unmodified programs whose packets see no wire. */
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const TENANTS = ['blue', 'red'];
const HOST = '192.0.2.1';
const LIMIT_MILLIS = 60_000;
const ENDPOINTS = `
      - { address: 10.0.0.1, host: ${HOST} }
      - { address: 10.0.0.2, host: ${HOST} }`;
const CONFIGURATION = `
tenants:
  - name: blue
    vni: 100
    endpoints:${ENDPOINTS}
  - name: red
    vni: 200
    underlay: local
    endpoints:${ENDPOINTS}
  - name: wired
    vni: 300
    underlay: vxlan
    endpoints:${ENDPOINTS}
vrnics:${[...TENANTS, 'wired'].flatMap((tenant) => [1, 2].map((n) => `\n  - { name: ${tenant}${n}, tenant: ${tenant}, address: 10.0.0.${n}, netdev: eth0 }`)).join('')}
`;
const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis));

interface Statistics {
  readonly counters: Record<string, number>;
  readonly ports: Record<string, { txFrames: number; txErrors: number }>;
}

t.test('endpoints of one host', { skip: lacks('root', 'gcc', 'ibv_rc_pingpong', 'ib_write_bw') }, async (t) => {
  const namespace = await Namespace.create(t, 'local');
  await namespace.addTap('eth0', `${HOST}/24`, 9000);
  const host = await UrnicHost.start(t, namespace, 'eth0', CONFIGURATION);

  async function statistics(vrnic: string): Promise<Statistics> {
    return (await ask(host.socket, { op: 'statistics', vrnic })) as Statistics;
  }

  /** Frames that left: by memory, by the socket. */
  async function sent(vrnic: string): Promise<[number, number]> {
    const { ports } = await statistics(vrnic);
    const socket = Object.keys(ports).find((name) => name.startsWith('udp_vxlan'))!;
    return [ports.local!.txFrames, ports[socket]!.txFrames];
  }

  async function listens(port: number): Promise<void> {
    for (const end = Date.now() + LIMIT_MILLIS; Date.now() < end; await pause(100))
      if ((await namespace.run(['ss', '-Hltn', `sport = :${port}`])).output.trim() !== '') return;
  }

  async function converse(t: Test, tenant: string, program: string, port: number): Promise<void> {
    const command = `${program} -p ${port}`.split(' ');
    const server = host.spawn(t, command, `${tenant}1`);
    await listens(port);
    const client = await host.run([...command, HOST], { timeoutMillis: LIMIT_MILLIS }, `${tenant}2`);
    t.equal(client.code, 0, client.output);
    t.equal(await server.end(LIMIT_MILLIS), 0, server.output);
  }

  for (const program of [
    ...['rc', 'uc', 'ud'].map((type) => `ibv_${type}_pingpong -d rxe0 -g 1 -n 50`),
    ...['write', 'atomic'].map((what) => `ib_${what}_bw -d rxe0 -x 1 -F -n 50`),
  ])
    await t.test(`${program.split(' ')[0]} in both tenants at once, by memory alone`, async (t) => {
      const before = await Promise.all(TENANTS.map((tenant) => sent(`${tenant}2`)));
      await Promise.all(TENANTS.map((tenant, i) => converse(t, tenant, program, 18_515 + i)));
      for (const [i, tenant] of TENANTS.entries()) {
        const [local, wire] = await sent(`${tenant}2`);
        t.ok(local >= before[i]![0] + 10, tenant);
        t.equal(wire, before[i]![1]);
      }
    });

  await t.test('a tenant that wants VXLAN has it on one host, too', async (t) => {
    await converse(t, 'wired', 'ibv_rc_pingpong -d rxe0 -g 1 -n 50', 18_525);
    const [local, wire] = await sent('wired2');
    t.equal(local, 0);
    t.ok(wire >= 50);
  });

  await t.test(
    'a rule of one tenant cuts its connection and refuses another; urnic conn says that it was local',
    async (t) => {
      const control = (...args: string[]) => host.urnic(...args, '--socket', host.socket);
      const command = 'ibv_rc_pingpong -d rxe0 -g 1 -n 10000000 -p 18530'.split(' ');
      const server = host.spawn(t, command, 'red1');
      await listens(18_530);
      host.spawn(t, [...command, HOST], 'red2');
      let found: object[] = [];
      for (const end = Date.now() + LIMIT_MILLIS; found.length === 0 && Date.now() < end; await pause(100))
        found = (await ask(host.socket, { op: 'connections', vrnic: 'red1' })) as object[];
      t.match(found, [{ local: '10.0.0.1', remote: '10.0.0.2', underlay: 'local' }]);
      t.match(await control('rule', 'add', 'red', 'cut', '--action', 'deny'), { output: /2 connections ended/ });
      t.not(await server.end(LIMIT_MILLIS), 0);
      const refused = host.spawn(t, 'ibv_rc_pingpong -d rxe0 -g 1 -p 18531'.split(' '), 'red1');
      await listens(18_531);
      host.spawn(t, 'ibv_rc_pingpong -d rxe0 -g 1 -p 18531'.split(' ').concat(HOST), 'red2');
      t.not(await refused.end(LIMIT_MILLIS), 0);
      await converse(t, 'blue', 'ibv_rc_pingpong -d rxe0 -g 1 -n 50', 18_532);
    },
  );

  await t.test('a tenant that wants no wire reaches no other host', async (t) => {
    const control = (...args: string[]) => host.urnic(...args, '--socket', host.socket);
    await control('rule', 'del', 'red', 'cut');
    await control('endpoint', 'add', 'red', '10.0.0.2', '--host', '192.0.2.2');
    const server = host.spawn(t, 'ibv_rc_pingpong -d rxe0 -g 1 -p 18540'.split(' '), 'red1');
    await listens(18_540);
    host.spawn(t, 'ibv_rc_pingpong -d rxe0 -g 1 -p 18540'.split(' ').concat(HOST), 'red2');
    t.not(await server.end(LIMIT_MILLIS), 0);
    for (const name of ['drop_underlay', 'drop_spoofed', 'drop_vni', 'drop_no_qp'])
      for (const tenant of TENANTS) t.equal((await statistics(`${tenant}1`)).counters[name], 0, `${tenant} ${name}`);
  });
});
