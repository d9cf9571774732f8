/** Two tenants on one VTEP, each in a worker of its own: the kernel steers what arrives by VNI. Hosts are two addresses of the loopback interface. */
import { readdirSync } from 'node:fs';
import t from 'tap';
import { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { connect } from '../../workers/client.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { VtepGroup } from '../../workers/vtep-group.ts';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { RcApp, writeAll } from '../workers/rc-app.ts';

const HOSTS = [toGid('127.7.0.1'), toGid('127.7.0.2')] as const;
const TENANTS = [100, 200].map((vni): Tenant => {
  const endpoints = ['10.0.0.1', '10.0.0.2'].map((text, i) => {
    const address = toGid(text);
    return { address, mac: macOf(vni, address), host: HOSTS[i]! };
  });
  return { name: `t${vni}`, vni, endpoints, rules: [] };
});
const BYTES = 1 << 18;
const GID_INDEX = 1;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

async function start(supervisor: Supervisor, tenant: Tenant, i: number): Promise<RcApp> {
  const { address, mac, host } = tenant.endpoints[i]!;
  const port = { kind: 'vxlan', local: host, mtu: 4400 } as const;
  await supervisor.startVrnic({ name: tenant.name, port, mac, gids: [Gid.linkLocalOf(mac), address], tenant });
  return RcApp.open(await connect(await supervisor.endpoint(tenant.name)), BYTES);
}

async function join(tenant: Tenant, apps: readonly [RcApp, RcApp]): Promise<void> {
  for (const [i, app] of apps.entries()) {
    const peer = apps[1 - i]!;
    const done = await app.connect(tenant.endpoints[1 - i]!.address, GID_INDEX, peer.qpNum);
    if (!done.ok) throw new Error(done.reason);
  }
}

t.test('two tenants on one VTEP, in two workers', { timeout: 300_000 }, async (t) => {
  await exclusive(t, 'vxlan-port');
  const hosts = HOSTS.map(() => new Supervisor({ workers: 2, spin: 20 })) as [Supervisor, Supervisor];
  t.teardown(() => Promise.all(hosts.map((host) => host.stop())));
  const open = (tenant: Tenant) =>
    Promise.all(hosts.map((host, i) => start(host, tenant, i))) as Promise<[RcApp, RcApp]>;
  const pairs = [await open(TENANTS[0]!), await open(TENANTS[1]!)];
  for (const [i, pair] of pairs.entries()) await join(TENANTS[i]!, pair);

  await t.test('both talk at once, and neither sees a packet of the other', async (t) => {
    for (let round = 0; round < 4; round++)
      await Promise.all(pairs.map(([a, b], i) => writeAll(t, round % 2 ? a : b, round % 2 ? b : a, round * 7 + i)));
    for (const host of hosts)
      for (const { name } of TENANTS) {
        const { counters } = await host.statistics(name);
        t.ok(counters['rcvd_pkts']! > 0);
        for (const drop of ['drop_vni', 'drop_inner_address', 'drop_spoofed']) t.equal(counters[drop], 0, drop);
      }
  });

  await t.test('one stops with its worker and comes back; the other notices nothing', async (t) => {
    const [blue, red] = TENANTS as [Tenant, Tenant];
    await hosts[0].stopVrnic(blue.name);
    await writeAll(t, pairs[1]![0], pairs[1]![1], 3);
    const again = [await start(hosts[0], blue, 0), pairs[0]![1]] as const;
    await hosts[1].stopVrnic(blue.name);
    const peer = await start(hosts[1], blue, 1);
    await join(blue, [again[0], peer]);
    await Promise.all([writeAll(t, again[0], peer, 5), writeAll(t, pairs[1]![1], pairs[1]![0], 6)]);
    t.equal((await hosts[0].statistics(red.name)).counters['drop_vni'], 0);
  });
});

t.test(
  'a group of sockets: by VNI to the worker that has it, else to the first; what a worker leaves the next one gets',
  async (t) => {
    await exclusive(t, 'vxlan-port');
    const before = descriptors();
    const [one, two] = [{ name: 'one' }, { name: 'two' }];
    const group = new VtepGroup<object>(HOSTS[0]);
    const adopt = (descriptor: number): UdpVxlanPort => new UdpVxlanPort({ local: HOSTS[0], mtu: 1450, descriptor });
    const sender = new UdpVxlanPort({ local: HOSTS[1], mtu: 1450, udpPort: 0 });
    sender.setVtep(0, HOSTS[0]);
    const send = (vni: number): void => {
      const burst = new TransmitBurst(1024);
      Vxlan.write(burst.view, 0, vni);
      burst.frameBytes[0] = 64;
      burst.count = 1;
      sender.transmit(burst);
    };
    const burst = new ReceiveBurst();
    /** The VNI of what comes next, and to whom. */
    const next = async (ports: readonly UdpVxlanPort[]): Promise<[vni: number, port: number]> => {
      let found: [number, number] = [-1, -1];
      await eventually(() => {
        for (const [i, port] of ports.entries())
          if (port.receive(burst) > 0) found = [Vxlan.vni(burst.view, burst.at[0]!), i];
        return found[1] >= 0;
      });
      return found;
    };
    const ports = [adopt(group.enter(100, 1, one)), adopt(group.enter(200, 1, two))];
    for (const [vni, port] of [
      [100, 0],
      [200, 1],
      [200, 1],
      [300, 0],
    ] as const) {
      send(vni);
      t.strictSame(await next(ports), [vni, port]);
    }
    t.strictSame([...group.workersOf(200)], [two]);
    t.throws(() => new VtepGroup(HOSTS[0]), { message: /EADDRINUSE/ }, 'another daemon is refused');
    ports[1]!.close();
    group.workerEnded(two);
    t.equal(group.workersOf(200).size, 0);
    const three = { name: 'three' };
    ports[1] = adopt(group.enter(300, 1, three));
    send(300);
    t.strictSame(await next(ports), [300, 1]);
    group.leave(100, 1);
    send(100);
    t.strictSame(await next(ports), [100, 1], 'the first one is somebody who is there');
    group.leave(300, 1);
    t.ok(group.isEmpty);
    group.close();
    for (const port of [...ports, sender]) port.close();
    t.ok(await eventually(() => descriptors() <= before), 'nothing is left open');
  },
);
