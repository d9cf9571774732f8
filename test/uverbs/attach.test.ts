/** TypeScript programs on a daemon's vRNIC, beside unmodified ones: they share it, talk through it, and are held to the same limits. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AsyncEvent, getDeviceList, openDevice, QpType, WcStatus, WrOpcode } from '../../verbs/index.ts';
import { CALLS_MAX } from '../../verbs/uverbs/link-session.ts';
import { encodeRequest, RequestOp, Role } from '../../verbs/uverbs/protocol.ts';
import { must, type Teardown, twoHosts } from '../support/netns.ts';
import { ROOT } from '../support/root.ts';
import { lacks } from '../support/skip.ts';
import { CLI, runPair, UrnicHost } from './lab.ts';

const SERVER = '192.0.2.1';
const skip = lacks('root', 'gcc', 'ibv_rc_pingpong', 'rping');
const EMPTY = { v: { contexts: [], programs: [] } };

async function oneHost(t: Teardown): Promise<UrnicHost> {
  const [here] = await twoHosts(t);
  return UrnicHost.start(t, here);
}

async function hosts(t: Teardown): Promise<[UrnicHost, UrnicHost]> {
  const [here, there] = await twoHosts(t);
  return [await UrnicHost.start(t, here), await UrnicHost.start(t, there)];
}

async function resources(host: UrnicHost): Promise<unknown> {
  return JSON.parse((await host.urnic('res', '--json', '--socket', host.socket)).output);
}

/** What the daemon holds, once it holds nothing; else what it still held at the end of our patience. */
async function untilEmpty(host: UrnicHost): Promise<unknown> {
  for (let tries = 0; ; tries++) {
    const found = await resources(host);
    if (JSON.stringify(found) === JSON.stringify(EMPTY) || tries === 100) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const C = (type: string, more = ''): string[] => `ibv_${type}_pingpong -d rxe0 -g 1 -n 200${more}`.split(' ');
const typescript = (host: UrnicHost, type: string, more = ''): string[] => [
  ...[process.execPath, CLI, 'pingpong', '--device', host.directory],
  ...`-T ${type} -g 1 -n 200${more}`.split(' '),
];

t.test(
  'a C program and a TypeScript program talk, over the wire and through one vRNIC',
  { skip, timeout: 900_000 },
  async (t) => {
    const [a, b] = await hosts(t);
    const check = async (what: string, other: UrnicHost, server: string[], client: string[]): Promise<void> => {
      const [served, asked] = await runPair(t, a, other, { server, client: [...client, SERVER] });
      t.strictSame([served.code, asked.code], [0, 0], `${what}\n${served.output}${asked.output}`);
    };
    await check('rc over the wire, TypeScript asks', b, C('rc', ' -c'), typescript(b, 'rc', ' -c'));
    await check('rc over the wire, C asks', b, typescript(a, 'rc', ' -c'), C('rc', ' -c'));
    await check('ud over the wire', b, C('ud', ' -s 1024'), typescript(b, 'ud', ' -s 1024'));
    await check('srq over the wire, TypeScript asks', b, C('srq', ' -q 5 -c'), typescript(b, 'srq', ' -q 5 -c'));
    await check('rc through one vRNIC, TypeScript asks', a, C('rc', ' -c'), typescript(a, 'rc', ' -c'));
    await check('uc through one vRNIC, C asks', a, typescript(a, 'uc', ' -c'), C('uc', ' -c'));
    await check('rc through one vRNIC, by events', a, C('rc', ' -e'), typescript(a, 'rc', ' -e'));
    t.strictSame(await untilEmpty(a), EMPTY);
    t.strictSame(await untilEmpty(b), EMPTY);
  },
);

t.test('both at once on one vRNIC, each with a peer of its own', { skip, timeout: 900_000 }, async (t) => {
  const [a, b] = await hosts(t);
  const long = ' -e -n 500';
  const pairs = await Promise.all([
    runPair(t, a, b, { server: C('rc', `${long} -p 18600`), client: [...C('rc', `${long} -p 18600`), SERVER] }),
    runPair(t, a, b, {
      server: typescript(a, 'rc', `${long} -p 18601`),
      client: [...typescript(b, 'rc', `${long} -p 18601`), SERVER],
    }),
  ]);
  for (const [served, asked] of pairs) t.strictSame([served.code, asked.code], [0, 0], served.output + asked.output);
});

t.test(
  'a thread that waits for an rdma_cm event gets it, though another closes the channel',
  { skip, timeout: 300_000 },
  async (t) => {
    const [host] = await hosts(t);
    const folder = mkdtempSync(join(tmpdir(), 'urnic-closed-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const program = join(folder, 'closed-channel');
    const source = join(ROOT, 'test/uverbs/closed-channel.c');
    await must('gcc', '-O1', '-o', program, source, '-lrdmacm', '-lpthread');
    const { code, output } = await host.run([program, SERVER], { timeoutMillis: 200_000 });
    t.equal(code, 0, output);
  },
);

t.test('by address: rping and urnic rping, either side', { skip, timeout: 900_000 }, async (t) => {
  const [a, b] = await hosts(t);
  const unmodified = `-a ${SERVER} -C 10 -V`.split(' ');
  const ours = (host: UrnicHost) => [process.execPath, CLI, 'rping', '--device', host.directory, ...unmodified];
  const first = await runPair(t, a, b, { server: ['rping', '-s', ...unmodified], client: [...ours(b), '-c'] });
  t.strictSame(
    first.map(({ code }) => code),
    [0, 0],
    first[0].output + first[1].output,
  );
  const second = await runPair(t, a, b, { server: [...ours(a), '-s'], client: ['rping', '-c', ...unmodified] });
  t.strictSame(
    second.map(({ code }) => code),
    [0, 0],
    second[0].output + second[1].output,
  );
});

t.test(
  'a daemon’s vRNIC is listed, opened, described, and gone with its daemon',
  { skip, timeout: 900_000 },
  async (t) => {
    const a = await oneHost(t);
    const [device] = getDeviceList(a.folder);
    t.match(device, { name: 'v', directory: a.directory });
    t.strictSame(getDeviceList(join(a.folder, 'nothing')), []);
    const context = await openDevice(device!);
    t.teardown(() => context.close());
    t.equal((await context.queryPort()).state, 4);
    const shown = await a.urnic('devinfo', '--device', a.directory);
    t.match(shown, { code: 0, output: /hca_id:\s+v[\s\S]*PORT_ACTIVE[\s\S]*192\.0\.2\.1/ });
    t.match(await a.urnic('devinfo', '--device', 'v', '--socket', a.socket), { code: 0 });
    t.match(await a.urnic('devinfo', '--device', 'w', '--socket', a.socket), { code: 1, output: /no vRNIC at/ });
    const { v } = (await resources(a)) as { v: { programs: { processes: unknown[] }[] } };
    t.match(v.programs, [{ processes: [{ pid: process.pid }] }]);
    // More commands at once than the daemon takes: they wait their turn.
    const pds = await Promise.all(Array.from({ length: 4 * CALLS_MAX }, () => context.allocPd()));
    t.equal(new Set(pds.map(({ handle }) => handle)).size, 4 * CALLS_MAX);
    const waiting = context.getAsyncEvent();
    await a.daemon.stop('SIGKILL');
    t.match(await waiting, { code: AsyncEvent.DEVICE_FATAL });
    await t.rejects(context.queryPort(), { code: 'EIO' });
    await a.restart();
    const again = await openDevice(device!);
    t.equal((await again.queryPort()).state, 4);
    await again.close();
    t.strictSame(await untilEmpty(a), EMPTY);
  },
);

t.test(
  'a program’s memory is its own: what it has freed, and what is not mapped',
  { skip, timeout: 900_000 },
  async (t) => {
    const a = await oneHost(t);
    const context = await openDevice(getDeviceList(a.folder)[0]!);
    t.teardown(() => context.close());
    const command = {
      op: 'regMr',
      pd: (await context.allocPd()).handle,
      start: 0,
      length: 4096,
      iova: 0n,
      access: 1,
    } as const;
    const sab = new SharedArrayBuffer(4096);
    t.match(await context.link.call({ ...command, memory: { sab, byteOffset: 2 ** 40 } }), { ok: false, errno: 14 });
    t.match(await context.link.call({ ...command, memory: { sab, byteOffset: 2 ** 48 } }), { ok: false, errno: 14 });
    t.match(await context.link.call({ ...command, memory: { sab, byteOffset: 0 } }), { ok: true });
  },
);

/** A connection that says hello as a TypeScript program and then whatever it likes. */
async function stranger(t: Teardown, host: UrnicHost) {
  const socket = connect(join(host.directory, 'uverbs'));
  t.teardown(() => socket.destroy());
  const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
  await once(socket, 'connect');
  socket.write(encodeRequest(RequestOp.HELLO, BigInt(Role.LINK)));
  await once(socket, 'data');
  const say = (op: number, payload: string, id = 1n) => socket.write(encodeRequest(op, id, Buffer.from(payload)));
  const answer = async (): Promise<string> => ((await once(socket, 'data')) as [Buffer])[0].toString('latin1');
  return { closed, say, answer };
}

const PATH =
  '{"template":{"$octets":"AAAA"},"ethernetAt":0,"ipAt":0,"udpAt":0,"isIpv6":false,"port":0,"destination":0,"framing":0,"icrcElided":true}';
const MALFORMED: readonly (readonly [what: string, text: string])[] = [
  ['no JSON', '{'],
  ['nothing', 'null'],
  ['no command', '{"op":"constructor"}'],
  ['an op of no text', '{"op":{"$int":"1"}}'],
  ['a number that is none', '{"op":"deallocPd","pd":"1"}'],
  ['a fraction', '{"op":"deallocPd","pd":1.5}'],
  ['a negative one', '{"op":"deallocPd","pd":-1}'],
  ['a bigint of letters', '{"op":"regMr","iova":{"$int":"x"}}'],
  ['a path of its own', `{"op":"modifyQp","qp":1,"mask":1,"attributes":{},"path":${PATH}}`],
  [
    'another process’s memory',
    '{"op":"regMr","pd":1,"memory":{"pid":1,"address":4096},"start":0,"length":1,"iova":{"$int":"0"},"access":1}',
  ],
  [
    'a buffer of the daemon',
    '{"op":"regMr","pd":1,"memory":{"sab":{},"byteOffset":0},"start":0,"length":1,"iova":{"$int":"0"},"access":1}',
  ],
  ['a short GID', '{"op":"attachMcast","qp":1,"gid":{"$octets":"AAAA"}}'],
];

t.test('a hostile program is refused, and nobody else notices', { skip, timeout: 900_000 }, async (t) => {
  const a = await oneHost(t);
  const context = await openDevice(getDeviceList(a.folder)[0]!);
  t.teardown(() => context.close());
  const pd = await context.allocPd();
  const { closed, say, answer } = await stranger(t, a);
  for (const [what, text] of MALFORMED) {
    say(RequestOp.CALL, text);
    t.match(await answer(), /"ok":false,"errno":22,"reason":"malformed/, what);
  }
  say(RequestOp.CALL, `{"op":"deallocPd","pd":${pd.handle}}`);
  t.match(await answer(), /"ok":false/, 'the other program’s PD');
  say(RequestOp.WRITE, 'x');
  t.match(await answer(), /no such request/);
  for (let i = 0; i < 10 * CALLS_MAX; i++) say(RequestOp.CALL, '{"op":"queryDevice"}');
  await closed;
  t.pass('one that asks faster than it listens is cut off');
  await pd.dealloc();
  t.equal((await context.queryPort()).state, 4);
});

/** Attaches, holds a connected pair of QPs that write into its own memory for ever, and is killed. */
const BUSY = `
  const { openDevice, getDeviceList, Access, QpType, WrOpcode } = await import(process.argv[1]);
  const context = await openDevice(getDeviceList(process.argv[2])[0]);
  const pd = await context.allocPd();
  const cq = await context.createCq(256);
  const mr = await pd.regMr(new SharedArrayBuffer(1 << 20), Access.LOCAL_WRITE | Access.REMOTE_WRITE);
  const gid = await context.queryGid(1);
  const qps = [];
  for (let i = 0; i < 2; i++) qps.push(await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq }));
  for (const [i, qp] of qps.entries()) {
    await qp.toInit({ accessFlags: Access.REMOTE_WRITE });
    await qp.toRtr({ gid, qpNum: qps[1 - i].qpNum, psn: 0 }, { sgidIndex: 1, pathMtu: 5 });
    await qp.toRts(0);
  }
  console.log('busy');
  for (;;) {
    qps[0].postSend({ opcode: WrOpcode.RDMA_WRITE, sendFlags: 2, remoteAddr: mr.addr, rKey: mr.rKey, sgList: [{ mr, length: 1 << 20 }] });
    while (!cq.pollOne({ load() {} })) await new Promise(setImmediate);
  }`;

t.test('a TypeScript program that is killed leaves nothing', { skip, timeout: 900_000 }, async (t) => {
  const a = await oneHost(t);
  const verbs = join(import.meta.dirname, '../../verbs/index.js');
  for (let round = 0; round < 5; round++) {
    const args = ['--input-type=module', '-e', BUSY, verbs, a.folder];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  t.strictSame(await untilEmpty(a), EMPTY);
  const context = await openDevice(getDeviceList(a.folder)[0]!);
  const pd = await context.allocPd();
  const cq = await context.createCq(16, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(64), 1);
  const qp = await pd.createQp({ type: QpType.UD, sendCq: cq, recvCq: cq });
  await qp.toInit({ qKey: 5 });
  await qp.toRtr();
  await qp.toRts(0);
  const ah = await pd.createAh({ dgid: await context.queryGid(1), sgidIndex: 1 });
  qp.postRecv({ wrId: 1n, sgList: [{ mr, length: 64 }] });
  qp.postSend({ wrId: 2n, opcode: WrOpcode.SEND, sgList: [{ mr, length: 8 }], ah, remoteQpn: qp.qpNum, remoteQKey: 5 });
  t.match(await cq.next(), [{ wrId: 1n, status: WcStatus.SUCCESS }], 'and the next one works');
  await context.close();
});
