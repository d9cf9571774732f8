/** Hosts that share one etcd: containers and taps move between them, and what a vRNIC is known by changes on another host than its own. */
import t, { type Test } from 'tap';
import { AsyncEvent, type Context, DaemonDevice, openDevice } from '../../verbs/index.ts';
import * as Gid from '../../wire/gid.ts';
import { gidText } from '../../workers/linux/netdev.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { hostsOnSwitch, must, Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const MTU = 1400;
const LIMIT_MILLIS = 60_000;
/** Of the container that stays on the first host, and of the one that moves, wherever it is. */
const [STAYS, MOVES] = [11, 12];
const macOf = (last: number): string => `02:00:00:00:00:${last}`;
const port = (last: number, kind: string, netdev: string, host: number): string =>
  `{ address: 10.0.0.${last}, host: 192.0.2.${host}, kind: ${kind}, netdev: ${netdev}, mac: '${macOf(last)}' }`;
const TENANTS = `
tenants:
  - name: blue
    vni: 100
    mtu: ${MTU}
    endpoints:
      - ${port(STAYS, 'veth', 'stays', 1)}
      - ${port(MOVES, 'veth', 'moves', 2)}
      - ${port(13, 'tap', 'vm', 2)}`;
const configuration = (host: number, tenants = ''): string => `
store: { etcd: ['http://192.0.2.254:2379'], name: host-${host} }
${tenants}
vrnics: [{ name: v, tenant: blue, address: 10.0.0.${host}, netdev: eth0 }]
`;

/** A container on a host: a namespace whose eth0 is the other end of the host's `netdev`. */
async function container(t: Test, host: Namespace, netdev: string, last: number): Promise<Namespace> {
  const inside = await Namespace.create(t, netdev);
  const peer = ['peer', 'name', 'eth0', 'netns', inside.name];
  await must('ip', 'link', 'add', netdev, 'netns', host.name, 'type', 'veth', ...peer);
  await inside.ip('link', 'set', 'eth0', 'address', macOf(last), 'mtu', String(MTU), 'up');
  await inside.ip('addr', 'add', `10.0.0.${last}/24`, 'dev', 'eth0');
  return inside;
}

/** Pings that a container has heard. */
async function heard(inside: Namespace): Promise<number> {
  const lines = (await inside.run(['cat', '/proc/net/snmp'])).output.split('\n').filter((one) => /^Icmp:/.test(one));
  const [names, values] = lines.map((line) => line.split(' '));
  return Number(values![names!.indexOf('InEchos')]);
}

const ping = async (from: Namespace, last: number): Promise<boolean> =>
  (await from.run(['busybox', 'ping', '-c', '1', '-W', '1', `10.0.0.${last}`])).code === 0;

const needs = lacks('root', 'etcd', 'busybox', 'gcc', 'ibv_rc_pingpong');
t.test('what changes on one host of an etcd', { skip: needs, timeout: 900_000 }, async (whole) => {
  const t = whole;
  const [hub, ...namespaces] = await hostsOnSwitch(t, 3);
  await Etcd.inNamespace(t, hub, '192.0.2.254');
  const [n1, n2, n3] = namespaces as [Namespace, Namespace, Namespace];
  const stays = await container(t, n1, 'stays', STAYS);
  const [old, fresh] = [await container(t, n2, 'moves', MOVES), await container(t, n3, 'moves', MOVES)];
  const hosts: UrnicHost[] = [];
  for (const [i, namespace] of namespaces.entries())
    hosts.push(await UrnicHost.start(t, namespace, 'eth0', configuration(i + 1, i === 0 ? TENANTS : '')));
  const [one, two, three] = hosts as [UrnicHost, UrnicHost, UrnicHost];
  const on = (host: UrnicHost, ...args: string[]) => host.urnic(...args, '--socket', host.socket);
  const reaches = (from: Namespace, last: number): Promise<boolean> => eventually(() => ping(from, last), LIMIT_MILLIS);
  const hasPort = async (host: UrnicHost, name: string): Promise<boolean> =>
    Object.keys(JSON.parse((await on(host, 'stat', '--json')).output)).includes(name);

  await t.test(
    'a container moves: peers reach its address at the new host, and the old one drops its frames',
    async (t) => {
      t.ok(await reaches(stays, MOVES));
      t.ok((await heard(old)) > 0);
      t.equal(await heard(fresh), 0);
      for (const [host, there, gone] of [
        [3, fresh, old],
        [2, old, fresh],
      ] as const) {
        t.match(await on(one, 'endpoint', 'move', 'blue', `10.0.0.${MOVES}`, '--host', `192.0.2.${host}`), { code: 0 });
        t.ok(await eventually(() => hasPort(hosts[host - 1]!, 'blue/moves'), LIMIT_MILLIS));
        t.ok(await eventually(async () => !(await hasPort(hosts[host === 3 ? 1 : 2]!, 'blue/moves')), LIMIT_MILLIS));
        const [was, wasGone, wasHere] = [await heard(there), await heard(gone), await heard(stays)];
        t.ok(await reaches(stays, MOVES));
        t.ok((await heard(there)) > was, 'the one at its new host answers');
        t.notOk(await ping(gone, STAYS), 'the other one is heard no more');
        t.strictSame([await heard(gone), await heard(stays)], [wasGone, wasHere]);
        t.ok(await reaches(there, STAYS), 'and this one is');
      }
    },
  );

  await t.test('a tap moves: it goes from the old host, and is made on the new one', async (t) => {
    const hasTap = async ({ namespace }: UrnicHost): Promise<boolean> =>
      (await namespace.run(['ip', 'link', 'show', 'vm'])).code === 0;
    t.strictSame([await hasTap(two), await hasTap(three)], [true, false]);
    t.match(await on(one, 'endpoint', 'move', 'blue', '10.0.0.13', '--host', '192.0.2.3'), { code: 0 });
    t.ok(await eventually(async () => !(await hasTap(two)) && (await hasTap(three)), LIMIT_MILLIS));
    t.strictSame([await hasPort(two, 'blue/vm'), await hasPort(three, 'blue/vm')], [false, true]);
  });

  const pingpong = async (t: Test, number: number): Promise<void> => {
    const command = `ibv_rc_pingpong -d rxe0 -g 1 -n 100 -p ${number}`.split(' ');
    const server = one.spawn(t, command);
    await server.waits();
    const client = await two.run([...command, '192.0.2.1'], { timeoutMillis: 120_000 });
    t.equal(client.code, 0, client.output);
    t.equal(await server.end(), 0, server.output);
  };
  /** A program on the host's vRNIC. */
  const open = async (t: Test, host: UrnicHost): Promise<Context> => {
    const context = await openDevice(new DaemonDevice(host.directory));
    t.teardown(() => context.close());
    return context;
  };

  await t.test('a VNI that the third host gives: the vRNICs and ports of all are made anew', async (t) => {
    await pingpong(t, 18_950);
    const contexts = await Promise.all(hosts.map((host) => open(t, host)));
    t.match(await on(three, 'tenant', 'set', 'blue', 'vni=300'), { code: 0 });
    for (const context of contexts) t.match(await context.getAsyncEvent(), { code: AsyncEvent.DEVICE_FATAL });
    for (const host of hosts) {
      const isAnew = async (): Promise<boolean> => Object.keys(await host.ports()).some((name) => /\/300$/.test(name));
      t.ok(await eventually(() => isAnew().catch(() => false), LIMIT_MILLIS));
    }
    await pingpong(t, 18_951);
    t.ok(await reaches(stays, MOVES), 'containers, too');
  });

  await t.test('a MAC that another host gives: the vRNIC is made anew on its own, and reached by it', async (t) => {
    const mac = '02:aa:00:00:00:02';
    const context = await open(t, two);
    const add = ['endpoint', 'add', 'blue', '10.0.0.2', '--host', '192.0.2.2', '--mac', mac];
    t.match(await on(one, ...add), { code: 0 });
    t.match(await context.getAsyncEvent(), { code: AsyncEvent.DEVICE_FATAL });
    const linkLocal = gidText(Gid.linkLocalOf(Uint8Array.from(mac.split(':'), (octet) => Number.parseInt(octet, 16))));
    const hasIt = async (): Promise<boolean> => (await on(two, 'devinfo', 'v', '--json')).output.includes(linkLocal);
    t.ok(await eventually(hasIt, LIMIT_MILLIS));
    await pingpong(t, 18_952);
  });
});
