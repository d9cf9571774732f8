/** Endpoints of one tenant on one host, in two workers: they talk by memory as in one, and what comes from other hosts finds them. */
import t, { type Test } from 'tap';
import { ReceiveBurst, SUPER_FRAME_BYTES, TransmitBurst } from '../../rnic/burst.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { newWakeDescriptor } from '../../workers/bell.ts';
import { connect } from '../../workers/client.ts';
import { gidText, toGid } from '../../workers/linux/netdev.ts';
import { breatheLinks, came, closeLinks, type Member, meet, part, went } from '../../workers/overlay/elsewhere.ts';
import { joinLocal } from '../../workers/overlay/local-hub.ts';
import { joinVtep, type VxlanMember } from '../../workers/overlay/vxlan-hub.ts';
import { FrameKind, LINK_BYTES, WorkerLink } from '../../workers/overlay/worker-link.ts';
import { newFrameRingMemory } from '../../workers/ports/frame-ring.ts';
import { UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { eventually } from '../support/eventually.ts';
import { exclusive } from '../support/exclusive.ts';
import { RcApp, writeAll } from '../workers/rc-app.ts';

const VNI = 100;
const [HERE, THERE] = [toGid('127.8.0.1'), toGid('127.8.0.2')];
const BYTES = 1 << 20;
const GID_INDEX = 1;
const DROPS = ['drop_vni', 'drop_inner_address', 'drop_spoofed', 'drop_vtep', 'drop_no_qp', 'drop_underlay'];

/** Endpoints 10.0.0.1 … of `hosts`. */
function tenantOn(hosts: readonly Uint8Array[], settings: Partial<Tenant> = {}): Tenant {
  const endpoints = hosts.map((host, i) => {
    const address = toGid(`10.0.0.${i + 1}`);
    return { address, mac: macOf(VNI, address), host };
  });
  return { name: 'blue', vni: VNI, endpoints, rules: [], ...settings };
}

async function start(supervisor: Supervisor, tenant: Tenant, i: number): Promise<RcApp> {
  const { address, mac, host } = tenant.endpoints[i]!;
  const port = { kind: 'vxlan', netdev: 'lo', local: host, mtu: 4400 } as const;
  await supervisor.startVrnic({ name: `v${i}`, port, mac, gids: [Gid.linkLocalOf(mac), address], tenant });
  return RcApp.open(await connect(await supervisor.endpoint(`v${i}`)), BYTES);
}

async function join(tenant: Tenant, one: [number, RcApp], other: [number, RcApp]): Promise<void> {
  for (const [[, app], [index, peer]] of [
    [one, other],
    [other, one],
  ] as const) {
    const done = await app.connect(tenant.endpoints[index]!.address, GID_INDEX, peer.qpNum, 5);
    if (!done.ok) throw new Error(done.reason);
  }
}

async function framesOf(supervisor: Supervisor, name: string): Promise<{ local: number; wire: number; drops: number }> {
  const { counters, ports } = await supervisor.statistics(name);
  const socket = Object.keys(ports).find((port) => port.startsWith('udp_vxlan'))!;
  const drops = DROPS.reduce((sum, drop) => sum + counters[drop]!, 0);
  return { local: ports.local!.txFrames, wire: ports[socket]!.txFrames, drops };
}

t.test('two workers of one host', { timeout: 300_000 }, async (t) => {
  await exclusive(t, 'vxlan-port');
  const host = new Supervisor({ workers: 2, spin: 20 });
  t.teardown(() => host.stop());
  const tenant = tenantOn([HERE, HERE, HERE]);
  const apps = [await start(host, tenant, 0), await start(host, tenant, 1), await start(host, tenant, 2)] as const;

  await t.test(
    'two endpoints of a tenant share a worker, the third has the other; they talk by memory alone',
    async (t) => {
      t.strictSame(
        [0, 1, 2].map((i) => host.workerOf(`v${i}`)),
        [0, 0, 1],
      );
      await join(tenant, [0, apps[0]], [2, apps[2]]);
      for (let round = 0; round < 4; round++)
        await writeAll(t, apps[round % 2 ? 2 : 0], apps[round % 2 ? 0 : 2], round);
      for (const name of ['v0', 'v2']) {
        const { local, wire, drops } = await framesOf(host, name);
        t.ok(local >= 2 * (BYTES / SUPER_FRAME_BYTES), name);
        t.same([wire, drops], [0, 0], name);
      }
      t.match((await host.statistics('v2')).connections, [{ underlay: 'local' }]);
    },
  );

  await t.test('a worker that sleeps is woken by what another sends', async (t) => {
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await writeAll(t, apps[0], apps[2], 10 + round);
    }
  });

  await t.test('one that stops is heard no more; one that comes again is reached', async (t) => {
    await host.stopVrnic('v2');
    t.equal(host.workerOf('v2'), undefined);
    const again = await start(host, tenant, 2);
    const peer = await RcApp.open(await connect(await host.endpoint('v1')), BYTES);
    await join(tenant, [1, peer], [2, again]);
    await writeAll(t, peer, again, 20);
    await writeAll(t, again, peer, 21);
  });

  await t.test('a rule ends a connection between workers, in both', async (t) => {
    const any = { address: new Uint8Array(16), bits: 0 };
    const wall = { id: 'wall', priority: 1, action: 'deny', source: any, destination: any } as const;
    const ended = await Promise.all(['v1', 'v2'].map((name) => host.setTenant(name, { ...tenant, rules: [wall] })));
    t.strictSame(ended, [1, 1]);
  });
});

t.test('what comes by the wire finds endpoints of one tenant in two workers', { timeout: 300_000 }, async (t) => {
  await exclusive(t, 'vxlan-port');
  const hosts = [new Supervisor({ workers: 2, spin: 20 }), new Supervisor({ workers: 1, spin: 20 })] as const;
  t.teardown(() => Promise.all(hosts.map((host) => host.stop())));
  const tenant = tenantOn([HERE, HERE, HERE, THERE], { underlay: 'vxlan' });
  const here = [
    await start(hosts[0], tenant, 0),
    await start(hosts[0], tenant, 1),
    await start(hosts[0], tenant, 2),
  ] as const;
  const there = await Promise.all([start(hosts[1], tenant, 3)]);
  const second = await RcApp.open(await connect(await hosts[1].endpoint('v3')), BYTES);
  t.not(hosts[0].workerOf('v0'), hosts[0].workerOf('v2'));
  await join(tenant, [0, here[0]], [3, there[0]!]);
  await join(tenant, [2, here[2]], [3, second]);
  for (let round = 0; round < 3; round++) {
    await Promise.all([writeAll(t, there[0]!, here[0], round), writeAll(t, second, here[2], round + 50)]);
    await Promise.all([writeAll(t, here[0], there[0]!, round), writeAll(t, here[2], second, round + 90)]);
  }
  for (const name of ['v0', 'v2']) t.equal((await framesOf(hosts[0], name)).drops, 0, name);
});

/** This thread as one worker, and the other end of a link as another. */
function linkTo(t: Test, worker: number): WorkerLink<Uint8Array> {
  const [there, back] = [newFrameRingMemory(LINK_BYTES), newFrameRingMemory(LINK_BYTES)];
  t.teardown(closeLinks);
  meet({ worker, outgoing: there, incoming: back, wakeFd: newWakeDescriptor() }, []);
  const other = new WorkerLink(
    { worker: 0, outgoing: back, incoming: there, wakeFd: newWakeDescriptor() },
    (vtep) => vtep,
  );
  t.teardown(() => other.close());
  return other;
}

const macOfLast = (last: number): number => 0x02_00_00_00_00_00 + last;

/** This thread as a worker with one member on a VTEP, and a link to worker 7. */
async function joined(t: Test): Promise<{ other: WorkerLink<Uint8Array>; member: VxlanMember }> {
  await exclusive(t, 'vxlan-port');
  const other = linkTo(t, 7);
  const member = joinVtep({ local: HERE, mtu: 1450 }, VNI, macOfLast(1));
  t.teardown(() => member.close());
  return { other, member };
}

/** VXLAN and the two MACs; the last octet tells frames apart. */
function frame(to: number, tag: number): TransmitBurst {
  const burst = new TransmitBurst(1024);
  Vxlan.write(burst.view, 0, VNI);
  burst.view.setUint16(Vxlan.BYTES, Math.floor(to / 2 ** 32));
  burst.view.setUint32(Vxlan.BYTES + 2, to >>> 0);
  burst.bytes[63] = tag;
  burst.frameBytes[0] = 64;
  burst.count = 1;
  return burst;
}

interface Heard {
  readonly tag: number;
  readonly source: string;
}

/** What the other worker has been sent. */
function heard(other: WorkerLink<Uint8Array>, kind: FrameKind): Heard[] {
  breatheLinks(0);
  const all: Heard[] = [];
  other.receive((one) => {
    if (one.kind === kind) all.push({ tag: one.burst.bytes[one.burst.at[0]! + 63]!, source: gidText(one.source) });
  });
  return all;
}

t.test(
  'a frame for an endpoint of another worker goes there, a broadcast too, and nothing once it has gone',
  async (t) => {
    const { other, member } = await joined(t);
    member.hub.nameHosts(member, [HERE, THERE]);
    const away = { vtep: HERE, vni: VNI, mac: macOfLast(2) };
    came(7, away);
    const deliver = (to: number, tag: number): void => {
      const { bytes, view } = frame(to, tag);
      member.hub.deliver(member, bytes, view, 0, 64);
    };
    deliver(macOfLast(2), 1);
    deliver(0xffff_ffff_ffff, 2);
    deliver(macOfLast(1), 3);
    t.strictSame(
      heard(other, FrameKind.VXLAN),
      [1, 2].map((tag) => ({ tag, source: gidText(HERE) })),
    );
    const host = new UdpVxlanPort({ local: THERE, mtu: 1450 });
    t.teardown(() => host.close());
    host.setVtep(0, HERE);
    host.transmit(frame(macOfLast(2), 4));
    const burst = new ReceiveBurst();
    const got: Heard[] = [];
    await eventually(() => {
      member.receive(burst);
      return got.push(...heard(other, FrameKind.VXLAN)) > 0;
    });
    t.strictSame(got, [{ tag: 4, source: gidText(THERE) }], 'the wire’s go there with their host');
    went(7, away);
    deliver(macOfLast(2), 5);
    t.strictSame(heard(other, FrameKind.VXLAN), []);
  },
);

t.test(
  'what comes by a packet socket is asked for of tenants whose packets come by VXLAN and that no other worker has: all workers would see it',
  async (t) => {
    const { member } = await joined(t);
    const said: (readonly number[])[] = [];
    member.hub.port.setVnis = (vnis) => void said.push(vnis);
    const [one, two] = [2, 3].map((last) => ({ vtep: HERE, vni: VNI, mac: macOfLast(last) })) as [Member, Member];
    member.hub.expect(VNI);
    member.hub.expect(VNI);
    member.hub.expect(VNI + 1);
    t.strictSame(said, [[VNI]], 'once, and of tenants that are here');
    came(7, one);
    came(7, two);
    went(7, one);
    t.strictSame(said, [[VNI], []]);
    went(7, two);
    t.strictSame(said, [[VNI], [], [VNI]]);
  },
);

t.test(
  'what another worker sends on comes to who has the MAC, from the host that sent it; strangers’ from nobody',
  async (t) => {
    const { other, member } = await joined(t);
    member.hub.nameHosts(member, [HERE, THERE]);
    const sources: (Uint8Array | undefined)[] = [];
    member.sink = (burst, i) => sources.push(member.hub.vtep(burst.source[i]!));
    const stranger = toGid('127.8.0.9');
    for (const source of [THERE, HERE, stranger, THERE])
      t.ok(other.send(FrameKind.VXLAN, HERE, source, frame(macOfLast(1), 1).bytes, 0, 64, 0, 0, 0));
    other.publish();
    t.ok(breatheLinks(1));
    t.strictSame(sources, [THERE, HERE, undefined, THERE]);
  },
);

t.test(
  'a full link makes its sender wait; a worker that reads nothing for long loses what is for it; so does one that ended',
  (t) => {
    const other = linkTo(t, 7);
    const member = joinLocal(HERE, VNI, macOfLast(1), 1450);
    t.teardown(() => member.close());
    came(7, { vtep: HERE, vni: VNI, mac: macOfLast(2) });
    const burst = frame(macOfLast(2), 1);
    burst.frameBytes[0] = 1000;
    burst.destination[0] = member.destinationOf(macOfLast(2));
    const send = (now: number): boolean => {
      burst.sent = 0;
      member.now = now;
      return member.transmit(burst);
    };
    while (send(1000));
    t.match(member.counters, { txErrors: 0, txBusy: 1 });
    const sent = member.counters.txFrames;
    t.notOk(send(2000));
    t.equal(heard(other, FrameKind.LOCAL).length > 0, true);
    t.ok(send(3000), 'there is room again');
    while (send(4000));
    t.equal(member.counters.txErrors, 0);
    t.ok(send(1_000_000), 'nobody reads');
    t.equal(member.counters.txErrors, 1);
    t.ok(member.counters.txFrames > sent);
    part(7);
    t.ok(send(1_000_001));
    t.equal(member.counters.txErrors, 2);
    t.end();
  },
);

t.test('a frame that another worker hands over comes to the vRNIC that it names', (t) => {
  const other = linkTo(t, 7);
  const member = joinLocal(HERE, VNI, macOfLast(1), 1450);
  t.teardown(() => member.close());
  const taken: number[] = [];
  member.sink = (burst, i) => taken.push(burst.bytes[burst.at[i]! + 63]!);
  for (const [to, tag] of [
    [1, 5],
    [2, 6],
    [1, 7],
  ] as const)
    other.sendBurst(FrameKind.LOCAL, HERE, frame(macOfLast(to), tag), 0, 0);
  other.publish();
  breatheLinks(0);
  t.strictSame(taken, [5, 7]);
  t.match(member.counters, { rxFrames: 2, rxBytes: 128 });
  t.end();
});
