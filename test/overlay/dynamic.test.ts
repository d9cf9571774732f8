/** A thousand vRNICs that are only defined, some of them in use: made at their first use, ended when they rest, added and taken away by command. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ask } from '../../daemon/control-client.ts';
import {
  Access,
  type Context,
  DaemonDevice,
  type Mr,
  openDevice,
  type Qp,
  QpType,
  SendFlag,
  WcStatus,
  WrOpcode,
} from '../../verbs/index.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { eventually } from '../support/eventually.ts';
import { twoHosts } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { UrnicHost } from '../uverbs/lab.ts';

const DEFINED = 1000;
const PAIRS = 128;
const BYTES = 4096;
const SIDES = ['a', 'b'] as const;
type SideName = (typeof SIDES)[number];

/** 10.1.0.1 … on the first host, 10.2.0.1 … on the second. */
const addressOf = (side: SideName, i: number): string => `10.${side === 'a' ? 1 : 2}.${i >> 8}.${i & 255}`;
const indexes = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

function configuration(side: SideName, counts: Record<SideName, number>): string {
  const endpoints = SIDES.flatMap((one, host) =>
    indexes(counts[one]).map((i) => `      - { address: ${addressOf(one, i)}, host: 192.0.2.${host + 1} }`),
  );
  const vrnics = indexes(counts[side]).map(
    (i) =>
      `  - { name: v${i}, tenant: blue, address: ${addressOf(side, i)}, netdev: eth0, start: use, idle: ${i === 1 ? 1 : 600} }`,
  );
  return `tenants:\n  - name: blue\n    vni: 100\n    endpoints:\n${endpoints.join('\n')}\nvrnics:\n${vrnics.join('\n')}\n`;
}

const residentMegabytes = ({ daemon }: UrnicHost): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))![1]) / 1024;
const runningOn = async (host: UrnicHost): Promise<string[]> => (await ask(host.socket, { op: 'list' })) as string[];

interface Side {
  readonly context: Context;
  readonly mr: Mr;
  readonly qp: Qp;
  readonly gid: Uint8Array;
}

async function open(
  host: UrnicHost,
  side: SideName,
  i: number,
): Promise<Side & { next(): Promise<{ status: number }[]> }> {
  const context = await openDevice(new DaemonDevice(host.directoryOf(`v${i}`)));
  const pd = await context.allocPd();
  const cq = await context.createCq(16, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), Access.LOCAL_WRITE | Access.REMOTE_WRITE);
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
  return { context, mr, qp, gid: toGid(addressOf(side, i)), next: () => cq.next() };
}

async function connectTo(one: Side, other: Side): Promise<void> {
  await one.qp.toInit({ accessFlags: Access.LOCAL_WRITE | Access.REMOTE_WRITE });
  await one.qp.toRtr({ gid: other.gid, qpNum: other.qp.qpNum, psn: 7 }, { pathMtu: 5, sgidIndex: 1 });
  await one.qp.toRts(7);
}

/** A WRITE from `a` to `b` of octets that nobody else writes. True: they arrived. */
async function write(a: Awaited<ReturnType<typeof open>>, b: Side, value: number): Promise<boolean> {
  a.mr.bytes.fill(value);
  a.qp.postSend({
    opcode: WrOpcode.RDMA_WRITE,
    sendFlags: SendFlag.SIGNALED,
    remoteAddr: b.mr.addr,
    rKey: b.mr.rKey,
    sgList: [{ mr: a.mr, length: BYTES }],
  });
  const [completion] = await a.next();
  return completion!.status === WcStatus.SUCCESS && b.mr.bytes.every((octet) => octet === value);
}

t.test('a thousand vRNICs', { skip: lacks('root', 'gcc', 'ibv_devinfo'), timeout: 1_200_000 }, async (t) => {
  const [here, there] = await twoHosts(t);
  const counts = { a: DEFINED, b: PAIRS };
  const begin = performance.now();
  const a = await UrnicHost.start(t, here, 'eth0', configuration('a', counts));
  t.comment(
    `${DEFINED} defined in ${(performance.now() - begin).toFixed(0)} ms, with ${residentMegabytes(a).toFixed(0)} MiB`,
  );
  const b = await UrnicHost.start(t, there, 'eth0', configuration('b', counts));

  await t.test('those that are defined do not run', async (t) => {
    t.same(await runningOn(a), []);
    t.equal(((await ask(a.socket, { op: 'vrnics' })) as object[]).length, DEFINED);
    t.ok(existsSync(join(a.directoryOf(`v${DEFINED}`), 'uverbs')));
    t.match(await a.urnic('stat', 'v7', '--socket', a.socket), { code: 1, output: /does not run/ });
  });

  await t.test('a program makes one, which ends when it rests for long', async (t) => {
    const { code, output } = await a.urnic('run', '--vrnic', 'v1', '--socket', a.socket, '--', 'ibv_devinfo');
    t.equal(code, 0, output);
    t.match(output, /hca_id:\s+rxe0/);
    t.ok(await eventually(async () => (await runningOn(a)).length === 0), 'it rests');
    t.match(await a.urnic('run', '--directory', a.directoryOf('v1'), '--', 'ibv_devinfo'), { code: 0 });
  });

  await t.test(`${PAIRS} pairs at once: a WRITE each`, (t) => pairsWrite(t, a, b));

  await t.test('vRNICs are added and taken away by command', async (t) => {
    const command = (...args: string[]) => a.urnic(...args, '--socket', a.socket);
    t.match(await command('vrnic', 'add', 'late', '--netdev', 'eth0', '--start', 'use'), { code: 0 });
    t.match(await command('vrnic', 'add', 'late', '--netdev', 'eth0'), { code: 1, output: /named late already/ });
    t.match(await command('vrnic', 'list'), { code: 0, output: /late waits netdev eth0\n/ });
    t.match(await command('devinfo', 'late'), { code: 0, output: /192\.0\.2\.1/ });
    t.match(await command('vrnic', 'list'), { output: /late runs/ });
    t.match(await command('vrnic', 'delete', 'late'), { code: 0 });
    t.notOk(existsSync(a.directoryOf('late')));
    t.match(await command('vrnic', 'delete', 'v1'), { code: 1, output: /no vRNIC named "v1" was added/ });
    t.match(await command('vrnic', 'add', 'twin', '--netdev', 'eth0', '--tenant', 'blue', '--address', '10.1.0.1'), {
      code: 1,
      output: /has a vRNIC on this host already/,
    });
  });
});

async function pairsWrite(t: Test, a: UrnicHost, b: UrnicHost): Promise<void> {
  const before = residentMegabytes(a);
  const begin = performance.now();
  const pairs = [];
  for (const i of indexes(PAIRS)) {
    const pair = [await open(a, 'a', i), await open(b, 'b', i)] as const;
    for (const { context } of pair) t.teardown(() => context.close());
    pairs.push(pair);
  }
  const opened = performance.now();
  await Promise.all(pairs.map(([one, other]) => Promise.all([connectTo(one, other), connectTo(other, one)])));
  const connected = performance.now();
  const arrived = await Promise.all(pairs.map(([one, other], i) => write(one, other, i + 1)));
  const written = performance.now();
  t.same(
    arrived,
    arrived.map(() => true),
  );
  t.ok((await runningOn(a)).length >= PAIRS);
  const millis = /"vrnic":"v77","millis":([\d.]+)/.exec(a.daemon.output)?.[1];
  t.comment(`${2 * PAIRS} vRNICs made and opened in ${(opened - begin).toFixed(0)} ms (one starts in ${millis} ms)`);
  t.comment(`connected in ${(connected - opened).toFixed(0)} ms, written in ${(written - connected).toFixed(0)} ms`);
  t.comment(`${((residentMegabytes(a) - before) / PAIRS).toFixed(1)} MiB for each vRNIC in use`);
}
