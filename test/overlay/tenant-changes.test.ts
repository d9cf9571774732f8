/** A tenant changes under vRNICs that talk: which of their connections go on, by which way, and what their programs hear. TypeScript programs, two hosts' VTEPs on lo. */
import t, { type Test } from 'tap';
import {
  Access,
  AsyncEvent,
  Context,
  type Cq,
  type Mr,
  type Pd,
  type Qp,
  QpType,
  SendFlag,
  WcStatus,
  WrOpcode,
} from '../../verbs/index.ts';
import { macOf, type Tenant, type Underlay } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { exclusive } from '../support/exclusive.ts';

const VNI = 100;
const [HERE, THERE] = [toGid('127.8.0.1'), toGid('127.8.0.2')];
/** Two endpoints here, one there. */
const HOMES = [HERE, HERE, THERE];
const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE;
const BYTES = 4096;
const PSN = 5;
const MULTICAST_QPN = 0xff_ffff;
const Q_KEY = 0x1234;
const TENANT: Tenant = {
  name: 'blue',
  vni: VNI,
  endpoints: HOMES.map((host, i) => {
    const address = toGid(`10.0.0.${i + 1}`);
    return { address, mac: macOf(VNI, address), host };
  }),
  rules: [],
};
const NOBODY = { address: toGid('10.9.0.0'), bits: 128 };
/** A change that is about nobody here. */
const ELSEWHERE = { id: 'x', priority: 1, action: 'deny', source: NOBODY, destination: NOBODY } as const;

interface Side {
  readonly gid: Uint8Array;
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
  readonly mr: Mr;
  readonly qp: Qp;
}

/** A supervisor of each host, and what both know of the tenant. */
class World {
  readonly hosts = [HERE, THERE].map(() => new Supervisor({ workers: 1, spin: 20 }));

  hostOf(i: number): Supervisor {
    return this.hosts[HOMES[i] === HERE ? 0 : 1]!;
  }

  async start(): Promise<void> {
    for (const [i, { address, mac, host }] of TENANT.endpoints.entries()) {
      const port = { kind: 'vxlan', netdev: 'lo', local: host, mtu: 4400 } as const;
      const gids = [Gid.linkLocalOf(mac), address];
      await this.hostOf(i).startVrnic({ name: `v${i}`, port, mac, gids, tenant: TENANT });
    }
  }

  /** All hear of it. How many connections that ended, by vRNIC. */
  change(settings: Partial<Tenant>): Promise<unknown[]> {
    return Promise.all(HOMES.map((_, i) => this.hostOf(i).setTenant(`v${i}`, { ...TENANT, ...settings })));
  }

  /** A QP in INIT. */
  async open(i: number, type: QpType = QpType.RC): Promise<Side> {
    const context = new Context(await connect(await this.hostOf(i).endpoint(`v${i}`)));
    const pd = await context.allocPd();
    const cq = await context.createCq(16, await context.createCompChannel());
    const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
    const qp = await pd.createQp({ type, sendCq: cq, recvCq: cq });
    await qp.toInit(type === QpType.UD ? { qKey: Q_KEY } : { accessFlags: RIGHTS });
    return { gid: TENANT.endpoints[i]!.address, context, pd, cq, mr, qp };
  }

  /** A new connection between the endpoints with these numbers. */
  async join(one: number, other: number, underlay?: Underlay): Promise<[Side, Side]> {
    const [a, b] = [await this.open(one), await this.open(other)];
    for (const [side, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      const to = { gid: peer.gid, qpNum: peer.qp.qpNum, psn: PSN };
      await side.qp.toRtr(to, { sgidIndex: 1, ...(underlay && { underlay }) });
      await side.qp.toRts(PSN);
    }
    return [a, b];
  }

  /** Frames that a vRNIC has sent. */
  async sent(i: number): Promise<{ local: number; wire: number }> {
    const { ports } = await this.hostOf(i).statistics(`v${i}`);
    const socket = Object.keys(ports).find((name) => name.startsWith('udp_vxlan'))!;
    return { local: ports.local!.txFrames, wire: ports[socket]!.txFrames };
  }

  /** By which underlays a vRNIC's connections go, by QPN. */
  async listed(i: number): Promise<Map<number, Underlay>> {
    const { connections } = await this.hostOf(i).statistics(`v${i}`);
    return new Map(connections.map(({ qpn, underlay }) => [qpn, underlay]));
  }
}

async function begin(t: Test): Promise<World> {
  await exclusive(t, 'vxlan-port');
  const world = new World();
  t.teardown(() => Promise.all(world.hosts.map((host) => host.stop())));
  await world.start();
  return world;
}

/** A WRITE of a packet arrives. */
async function write(t: Test, from: Side, to: Side, value: number): Promise<void> {
  from.mr.bytes.fill(value);
  const remote = { remoteAddr: to.mr.addr, rKey: to.mr.rKey };
  const sgList = [{ mr: from.mr, length: BYTES }];
  from.qp.postSend({ opcode: WrOpcode.RDMA_WRITE, sendFlags: SendFlag.SIGNALED, ...remote, sgList });
  t.match(await from.cq.next(), [{ status: WcStatus.SUCCESS }]);
  t.ok(to.mr.bytes.every((octet) => octet === value));
}

t.test('a connection keeps the underlay that its program asked for when its tenant changes', async (t) => {
  const world = await begin(t);
  const wired = await world.join(0, 1, 'vxlan');
  const plain = await world.join(0, 1);
  await write(t, ...wired, 1);
  await write(t, ...plain, 2);
  t.strictSame(await world.change({ rules: [ELSEWHERE] }), [0, 0, 0]);
  const before = await world.sent(0);
  await write(t, ...wired, 3);
  const after = await world.sent(0);
  t.equal(after.local, before.local, 'not by memory');
  t.ok(after.wire > before.wire);
  await write(t, ...plain, 4);
  t.equal((await world.sent(0)).wire, after.wire, 'the other one still goes by memory');
  const listed = await world.listed(0);
  t.equal(listed.get(wired[0].qp.qpNum), 'vxlan');
  t.equal(listed.get(plain[0].qp.qpNum), 'local');
});

t.test('a tenant that wants no wire any more: connections between hosts end, and their programs hear it', async (t) => {
  const world = await begin(t);
  const near = await world.join(0, 1, 'vxlan');
  const far = [await world.join(0, 2), await world.join(1, 2, 'vxlan')];
  await write(t, ...near, 1);
  for (const pair of far) await write(t, ...pair, 2);
  const heard = far.flat().map(({ context }) => context.getAsyncEvent());
  t.strictSame(await world.change({ underlay: 'local' }), [1, 1, 2]);
  for (const event of heard) t.match(await event, { code: AsyncEvent.QP_FATAL });
  t.strictSame([...(await world.listed(0)).values()], ['local']);
  t.strictSame([...(await world.listed(2)).values()], []);
  const before = await world.sent(0);
  await write(t, ...near, 3);
  t.equal((await world.sent(0)).wire, before.wire, 'no wire, whatever programs ask for');
  await t.rejects(world.join(0, 2), { code: 'EHOSTUNREACH', message: /lives on host .*: not local/ });
});

/** A UD QP that sends, and hears a group. */
async function attend(world: World, i: number, group: Uint8Array): Promise<Side> {
  const side = await world.open(i, QpType.UD);
  const { qp, mr } = side;
  await qp.toRtr();
  await qp.toRts(PSN);
  await qp.attachMcast(group);
  for (let i = 0; i < 2; i++) qp.postRecv({ sgList: [{ mr, length: BYTES }] });
  return side;
}

t.test('a tenant that wants no wire: a group reaches the members on this host alone', async (t) => {
  const world = await begin(t);
  const group = toGid('239.1.2.3');
  const [one, two, far] = [await attend(world, 0, group), await attend(world, 1, group), await attend(world, 2, group)];
  const ah = await one.pd.createAh({ dgid: group, sgidIndex: 1 });
  const send = async (): Promise<void> => {
    const remote = { ah, remoteQpn: MULTICAST_QPN, remoteQKey: Q_KEY };
    one.qp.postSend({ opcode: WrOpcode.SEND, ...remote, sgList: [{ mr: one.mr, length: 100 }] });
    t.match(await two.cq.next(), [{ status: WcStatus.SUCCESS }]);
  };
  await send();
  t.match(await far.cq.next(), [{ status: WcStatus.SUCCESS }]);
  const { wire } = await world.sent(0);
  t.equal(wire, 1);
  await world.change({ underlay: 'local' });
  await send();
  t.equal((await world.sent(0)).wire, wire, 'nothing leaves');
});
