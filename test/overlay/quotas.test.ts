/** Quotas of a tenant, over the verbs of one of its vRNICs: what passes them is refused in words and counted, what is held stays. */
import t, { type Test } from 'tap';
import { Access, Context, type Cq, type Pd, type Qp, QpType, type VerbsError } from '../../verbs/index.ts';
import { macOf, type Quotas, type Tenant } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { eventually } from '../support/eventually.ts';

const VNI = 100;
const HOST = toGid('127.0.0.1');
const [OWN, PEER] = [toGid('fd00::1'), toGid('fd00::2')];
const MAC = macOf(VNI, OWN);
const MEBIBYTE = 1 << 20;

const tenant = (quotas?: Quotas): Tenant => ({
  name: 'blue',
  vni: VNI,
  endpoints: [OWN, PEER].map((address) => ({ address, mac: macOf(VNI, address), host: HOST })),
  rules: [],
  ...(quotas && { quotas }),
});

interface Opened {
  readonly context: Context;
  readonly pd: Pd;
  readonly cq: Cq;
  quotas(quotas?: Quotas): Promise<unknown>;
  refused(): Promise<number>;
}

async function open(t: Test, quotas: Quotas): Promise<Opened> {
  const supervisor = new Supervisor({ spin: 0 });
  t.teardown(() => supervisor.stop());
  const port = { kind: 'vxlan', local: HOST, mtu: 1450, udpPort: 0 } as const;
  await supervisor.startVrnic({ name: 'v', port, mac: MAC, gids: [Gid.linkLocalOf(MAC), OWN], tenant: tenant(quotas) });
  const client = await connect(await supervisor.endpoint('v'));
  const context = new Context(client);
  t.teardown(() => context.close());
  const [pd, cq] = [await context.allocPd(), await context.createCq(16)];
  return {
    context,
    pd,
    cq,
    quotas: (changed) => supervisor.setTenant('v', tenant(changed)),
    refused: async () => (await supervisor.statistics('v')).counters['limit_refused']!,
  };
}

const newQp = ({ pd, cq }: Opened): Promise<Qp> => pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
const region = ({ pd }: Opened, bytes: number) => pd.regMr(new SharedArrayBuffer(bytes), Access.LOCAL_WRITE);

t.test('QPs, CQs, MRs and pinned octets: as many as the quota says, then ENOMEM', async (t) => {
  const opened = await open(t, { qps: 2, cqs: 2, mrs: 3, pinnedBytes: 2 * MEBIBYTE });
  const { maxQp, maxCq, maxMr } = await opened.context.queryDevice();
  t.strictSame([maxQp, maxCq, maxMr], [2, 2, 3], 'programs are told');
  const first = await newQp(opened);
  await newQp(opened);
  await t.rejects(newQp(opened), { code: 'ENOMEM', message: /holds 2 queue pairs already, its limit/ });
  await opened.context.createCq(16);
  await t.rejects(opened.context.createCq(16), { code: 'ENOMEM', message: /2 completion queues/ });
  await region(opened, MEBIBYTE);
  await t.rejects(region(opened, MEBIBYTE + 4096), { code: 'ENOMEM', message: /limit of 2097152/ });
  await region(opened, 4096);
  await region(opened, 4096);
  await t.rejects(region(opened, 4096), { code: 'ENOMEM', message: /3 memory regions/ });
  t.equal(await opened.refused(), 4);
  await first.destroy();
  await newQp(opened);
});

t.test('a quota that changes counts from then on; what is held stays', async (t) => {
  const opened = await open(t, { qps: 2 });
  const held = [await newQp(opened), await newQp(opened)];
  await opened.quotas({ qps: 1 });
  await held[0]!.destroy();
  await held[1]!.queryQp();
  await t.rejects(newQp(opened), { code: 'ENOMEM', message: /holds 1 queue pairs/ });
  await opened.quotas();
  for (let count = 0; count < 10; count++) await newQp(opened);
});

t.test('connections a second: more are refused with EDQUOT, until time has passed', async (t) => {
  const opened = await open(t, { connectionsPerSecond: 2 });
  const attempt = async (): Promise<number> => {
    const qp = await newQp(opened);
    await qp.toInit({});
    try {
      await qp.toRtr({ gid: PEER, qpNum: 77, psn: 0 }, { sgidIndex: 1 });
      return 0;
    } catch (error) {
      t.match((error as VerbsError).message, /has made 2 connections in a second, its limit/);
      return (error as VerbsError).errno;
    } finally {
      await qp.destroy();
    }
  };
  const EDQUOT = 122;
  const begin = performance.now();
  let made = 0;
  let refused = 0;
  // On a machine so slow that it never makes three in a second nothing is refused: then there is nothing to see.
  while (refused === 0 && performance.now() - begin < 20_000) {
    const errno = await attempt();
    if (errno === 0) made++;
    else refused += Number(errno === EDQUOT);
  }
  t.ok(made >= 2);
  t.equal(refused, 1);
  t.equal(await opened.refused(), 1);
  t.ok(await eventually(async () => (await attempt()) === 0), 'again');
});
