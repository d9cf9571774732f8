/** Quotas of a tenant and of an endpoint, over the verbs of vRNICs: what passes them is refused in words and counted, what is held stays, what ends gives back exactly. */
import t, { type Test } from 'tap';
import { Access, Context, type Cq, type Pd, type Qp, QpType, type VerbsError } from '../../verbs/index.ts';
import { macOf, type Quotas, type Tenant } from '../../vswitch/model.ts';
import type { Held } from '../../vswitch/quota.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { eventually } from '../support/eventually.ts';
import { alive } from '../support/mortal-threads.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const MEBIBYTE = 1 << 20;
const EDQUOT = 122;
const PEER = toGid('fd00::9');
const addressOf = (i: number): Uint8Array => toGid(`fd00::${i + 1}`);
/** Each endpoint has a VTEP, and so a worker, of its own. */
const vtepOf = (i: number): Uint8Array => toGid(`127.0.0.${i + 1}`);

const VNIS: Readonly<Record<string, number>> = { blue: 100, red: 200 };

function tenantOf(quotas: Quotas = {}, name = 'blue', own: Quotas = {}): Tenant {
  const vni = VNIS[name]!;
  const endpoints = [0, 1].map((i) => ({ address: addressOf(i), host: vtepOf(i), quotas: own }));
  const all = [...endpoints, { address: PEER, host: vtepOf(0) }];
  return { name, vni, endpoints: all.map((one) => ({ ...one, mac: macOf(vni, one.address) })), rules: [], quotas };
}

interface Opened {
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
}

/** How often a vRNIC has refused because of a limit. */
const refused = async (supervisor: Supervisor, name: string): Promise<number> =>
  (await supervisor.statistics(name)).counters['limit_refused']!;

function newSupervisor(t: Test, workers = 1): Supervisor {
  const supervisor = new Supervisor({ spin: 0, workers });
  t.teardown(() => supervisor.stop());
  return supervisor;
}

/** Endpoint `i` of the tenant as a vRNIC, with an application. */
async function start(t: Test, supervisor: Supervisor, name: string, tenant: Tenant, i = 0): Promise<Opened> {
  const { mac, address, host: local } = tenant.endpoints[i]!;
  const port = { kind: 'vxlan', local, mtu: 1450, udpPort: 0 } as const;
  await supervisor.startVrnic({ name, port, mac, gids: [Gid.linkLocalOf(mac), address], tenant });
  return openOn(t, supervisor, name);
}

async function openOn(t: Test, supervisor: Supervisor, name: string): Promise<Opened> {
  const context = new Context(await connect(await supervisor.endpoint(name)));
  t.teardown(() => context.close());
  return { context, pd: await context.allocPd(), cq: await context.createCq(16) };
}

const newQp = ({ pd, cq }: Opened): Promise<Qp> => pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
const newRegion = ({ pd }: Opened, bytes: number) => pd.regMr(new SharedArrayBuffer(bytes), Access.LOCAL_WRITE);

/** 0, or the errno of why no connection was made. */
async function connection(t: Test, opened: Opened, words: RegExp): Promise<number> {
  const qp = await newQp(opened);
  await qp.toInit({});
  try {
    await qp.toRtr({ gid: PEER, qpNum: 77, psn: 0 }, { sgidIndex: 1 });
    return 0;
  } catch (error) {
    t.match((error as VerbsError).message, words);
    return (error as VerbsError).errno;
  } finally {
    await qp.destroy();
  }
}

t.test('QPs, CQs, MRs and pinned octets: as many as the quota says, then ENOMEM', async (t) => {
  const supervisor = newSupervisor(t);
  const tenant = tenantOf({ qps: 2, cqs: 2, mrs: 3, pinnedBytes: 2 * MEBIBYTE });
  const opened = await start(t, supervisor, 'v', tenant);
  const { maxQp, maxCq, maxMr } = await opened.context.queryDevice();
  t.strictSame([maxQp, maxCq, maxMr], [2, 2, 3], 'programs are told');
  const first = await newQp(opened);
  await newQp(opened);
  const message = /tenant blue on this host holds 2 queue pairs already, its limit/;
  await t.rejects(newQp(opened), { code: 'ENOMEM', message });
  await opened.context.createCq(16);
  await t.rejects(opened.context.createCq(16), { code: 'ENOMEM', message: /2 completion queues/ });
  await newRegion(opened, MEBIBYTE);
  await t.rejects(newRegion(opened, MEBIBYTE + 4096), { code: 'ENOMEM', message: /limit of 2097152/ });
  await newRegion(opened, 4096);
  await newRegion(opened, 4096);
  await t.rejects(newRegion(opened, 4096), { code: 'ENOMEM', message: /3 memory regions/ });
  t.equal(await refused(supervisor, 'v'), 4);
  await first.destroy();
  await newQp(opened);
});

t.test('a quota that changes counts from then on; what is held stays', async (t) => {
  const supervisor = newSupervisor(t);
  const opened = await start(t, supervisor, 'v', tenantOf({ qps: 2 }));
  const held = [await newQp(opened), await newQp(opened)];
  await supervisor.setTenant('v', tenantOf({ qps: 1 }));
  await held[0]!.destroy();
  await held[1]!.queryQp();
  await t.rejects(newQp(opened), { code: 'ENOMEM', message: /holds 1 queue pairs/ });
  await supervisor.setTenant('v', tenantOf());
  for (let count = 0; count < 10; count++) await newQp(opened);
  await supervisor.setTenant('v', tenantOf({ qps: 11 }));
  await t.rejects(
    newQp(opened),
    { code: 'ENOMEM', message: /holds 11 queue pairs/ },
    'made without a quota: they count',
  );
});

t.test('an endpoint’s quotas are of its vRNIC alone', async (t) => {
  const supervisor = newSupervisor(t, 2);
  const tenant = tenantOf({ qps: 4 }, 'blue', { qps: 3, connectionsPerSecond: 1 });
  const [one, other] = [await start(t, supervisor, 'v', tenant, 0), await start(t, supervisor, 'w', tenant, 1)];
  t.equal((await one.context.queryDevice()).maxQp, 3);
  t.equal(await connection(t, one, /this vRNIC has made 1 connections/), 0);
  t.equal(await connection(t, other, /this vRNIC has made 1 connections/), 0, 'each has its own');
  for (let count = 0; count < 3; count++) await newQp(one);
  await t.rejects(newQp(one), { code: 'ENOMEM', message: /this vRNIC holds 3 queue pairs already/ });
  await newQp(other);
  await t.rejects(newQp(other), { code: 'ENOMEM', message: /tenant blue on this host holds 4 queue pairs already/ });
});

t.test('connections a second: more are refused with EDQUOT, until time has passed', async (t) => {
  const supervisor = newSupervisor(t);
  const opened = await start(t, supervisor, 'v', tenantOf({ connectionsPerSecond: 2 }));
  const attempt = () => connection(t, opened, /has made 2 connections in a second, its limit/);
  const begin = performance.now();
  let made = 0;
  let refusals = 0;
  // On a machine so slow that it never makes three in a second nothing is refused: then there is nothing to see.
  while (refusals === 0 && performance.now() - begin < 20_000) {
    const errno = await attempt();
    if (errno === 0) made++;
    else refusals += Number(errno === EDQUOT);
  }
  t.ok(made >= 2);
  t.equal(refusals, 1);
  t.equal(await refused(supervisor, 'v'), 1);
  t.ok(await eventually(async () => (await attempt()) === 0), 'again');
});

t.test('connections a second of two vRNICs in two workers are one tenant’s', async (t) => {
  const words = /tenant blue on this host has made 1 connections in a second/;
  // Where more than a second passes between two attempts there is nothing to see.
  for (let tries = 0; tries < 20; tries++) {
    const supervisor = newSupervisor(t, 3);
    const quotas = { connectionsPerSecond: 1 };
    const one = await start(t, supervisor, 'v', tenantOf(quotas), 0);
    const other = await start(t, supervisor, 'w', tenantOf(quotas), 1);
    const stranger = await start(t, supervisor, 'r', tenantOf(quotas, 'red'), 1);
    const begin = performance.now();
    t.equal(await connection(t, one, words), 0);
    const errno = await connection(t, other, words);
    const isSlow = performance.now() - begin > 1000;
    if (isSlow) continue;
    t.equal(errno, EDQUOT);
    t.equal(await connection(t, stranger, words), 0, 'another tenant has its own');
    t.equal(await refused(supervisor, 'w'), 1);
    return;
  }
});

const KINDS: Readonly<Record<keyof Held, (opened: Opened) => Promise<{ end(): Promise<unknown> }>>> = {
  qps: async (opened) => {
    const qp = await newQp(opened);
    return { end: () => qp.destroy() };
  },
  cqs: async ({ context }) => {
    const cq = await context.createCq(1);
    return { end: () => cq.destroy() };
  },
  mrs: async (opened) => {
    const mr = await newRegion(opened, 64);
    return { end: () => mr.dereg() };
  },
  pinnedBytes: async (opened) => {
    const mr = await newRegion(opened, 4096);
    return { end: () => mr.dereg() };
  },
};
const QUOTA: Held = { qps: 6, cqs: 8, mrs: 6, pinnedBytes: 6 * 4096 };
const ROOM = 6;

for (const kind of Object.keys(KINDS) as (keyof Held)[]) {
  t.test(`T-40: ${kind} of two vRNICs in two workers are one tenant’s, given back exactly`, async (t) => {
    const supervisor = newSupervisor(t, 3);
    const tenant = tenantOf({ [kind]: QUOTA[kind] });
    const all = [await start(t, supervisor, 'v', tenant, 0), await start(t, supervisor, 'w', tenant, 1)] as const;
    const red = tenantOf({ [kind]: QUOTA[kind] }, 'red');
    const stranger = await start(t, supervisor, 'r', red, 1);
    t.not(supervisor.workerOf('v'), supervisor.workerOf('w'));
    const make = KINDS[kind];
    const made = await Promise.all([0, 1, 0, 1, 0, 1].map((i) => make(all[i]!)));
    for (const opened of all) await t.rejects(make(opened), { code: 'ENOMEM', message: /tenant blue on this host/ });
    t.equal(supervisor.heldBy('blue')![kind], QUOTA[kind]);
    for (let count = 0; count < ROOM - 1; count++) await make(stranger);
    for (let i = 0; i < 50; i++) {
      await made.shift()!.end();
      made.push(await make(all[i % 2]!));
      await t.rejects(make(all[i % 3 === 0 ? 0 : 1]), { code: 'ENOMEM' });
    }
    t.equal(supervisor.heldBy('blue')![kind], QUOTA[kind]);
    await Promise.all(made.map((one) => one.end()));
    const { [kind]: rest } = supervisor.heldBy('blue')!;
    t.equal(rest, kind === 'cqs' ? 2 : 0);
  });
}

t.test('T-40: two workers that take and give at one moment hold the quota together, and no more', async (t) => {
  const supervisor = newSupervisor(t, 2);
  const tenant = tenantOf({ qps: 40 });
  const all = [await start(t, supervisor, 'v', tenant, 0), await start(t, supervisor, 'w', tenant, 1)] as const;
  for (let round = 0; round < 20; round++) {
    const attempts = Array.from({ length: 60 }, (_, i) => newQp(all[i % 2]!).catch(() => null));
    const qps = (await Promise.all(attempts)).filter((qp) => qp !== null);
    if (qps.length !== 40) t.fail(`${qps.length} QPs in round ${round}`);
    await Promise.all(qps.map((qp) => qp.destroy()));
  }
  t.equal(supervisor.heldBy('blue')!.qps, 0);
});

t.test('T-40: applications that close, vRNICs that are stopped: what they held is there for others', async (t) => {
  const supervisor = newSupervisor(t, 2);
  const tenant = tenantOf({ qps: 4, mrs: 4 });
  const [one, other] = [await start(t, supervisor, 'v', tenant, 0), await start(t, supervisor, 'w', tenant, 1)];
  const fill = async (opened: Opened, count: number) => {
    for (let i = 0; i < count; i++) await Promise.all([newQp(opened), newRegion(opened, 64)]);
    await t.rejects(newQp(opened), { code: 'ENOMEM' });
    await t.rejects(newRegion(opened, 64), { code: 'ENOMEM' });
  };
  await fill(one, 4);
  await one.context.close();
  t.strictSame(supervisor.heldBy('blue'), { qps: 0, cqs: 1, mrs: 0, pinnedBytes: 0 });
  await fill(other, 4);
  await supervisor.stopVrnic('w');
  t.strictSame(supervisor.heldBy('blue'), { qps: 0, cqs: 0, mrs: 0, pinnedBytes: 0 });
  await fill(await openOn(t, supervisor, 'v'), 4);
});

t.test('T-40: a worker that dies at any moment gives back what its vRNICs held, and no more', async (t) => {
  const supervisor = newSupervisor(t, 2);
  const tenant = tenantOf({ qps: 8, pinnedBytes: MEBIBYTE });
  const stays = await start(t, supervisor, 'v', tenant, 0);
  await Promise.all([newQp(stays), newRegion(stays, 4096)]);
  const held = { qps: 1, cqs: 1, mrs: 1, pinnedBytes: 4096 };
  for (let round = 0; round < 4; round++) {
    const before = new Set(alive);
    const dies = await start(t, supervisor, 'w', tenant, 1);
    const [thread] = [...alive].filter((one) => !before.has(one));
    const hasFailed = new Promise((resolve) => {
      supervisor.onFailure = resolve;
    });
    const attempts = Array.from({ length: 400 }, (_, i) =>
      i % 2 ? newQp(dies).then((qp) => qp.destroy()) : newRegion(dies, 64 * i),
    ).map((attempt) => attempt.catch(() => {}));
    await attempts[round * 100];
    await thread!.terminate();
    await hasFailed;
    if (supervisor.runs('w')) t.fail('it runs');
    t.strictSame(supervisor.heldBy('blue'), held, `round ${round}`);
  }
  const again = await start(t, supervisor, 'w', tenant, 1);
  for (let count = 1; count < 8; count++) await newQp(again);
  await t.rejects(newQp(again), { code: 'ENOMEM', message: /tenant blue on this host holds 8 queue pairs/ });
});

t.test('T-40: unmodified programs of two vRNICs', { skip: lacks('root', 'gcc', 'ibv_rc_pingpong') }, async (t) => {
  const [here] = await twoHosts(t);
  const host = await UrnicHost.start(
    t,
    here,
    'eth0',
    `
workers: 2
tenants: [{ name: blue, vni: 100, quotas: { qps: 2 }, endpoints: [{ address: 10.0.0.1, host: 192.0.2.1 }] }]
vrnics: [{ name: v, tenant: blue, address: 10.0.0.1, netdev: eth0 }]
`,
  );
  const urnic = (...args: string[]) => host.urnic(...args, '--socket', host.socket);
  const server = (port: number) => `ibv_rc_pingpong -d rxe0 -g 1 -p ${port}`.split(' ');
  const held = async (): Promise<string> => (await urnic('tenant', 'list')).output.trim();
  const place = '--netdev eth0 --tenant blue --address 10.0.0.2'.split(' ');
  t.match(await urnic('vrnic', 'add', 'w', ...place), { code: 0 });
  const first = host.spawn(t, server(18_801));
  const second = host.spawn(t, server(18_802), 'w');
  await Promise.all([first.waits(), second.waits()]);
  t.match(await held(), /quotas qps 2 of 2$/);
  for (const vrnic of ['v', 'w'])
    t.match(await host.run(server(18_803), {}, vrnic), { code: 1, output: /Couldn't create QP/ });
  await first.stop('SIGKILL');
  t.ok(await eventually(async () => /qps 1 of 2$/.test(await held())), 'a program that was killed');
  t.match(await urnic('vrnic', 'delete', 'w'), { code: 0 });
  t.match(await held(), /quotas qps 0 of 2$/, 'a vRNIC that was deleted');
  const third = host.spawn(t, server(18_804));
  await third.waits();
  t.match(await held(), /quotas qps 1 of 2$/);
});
