/** Polled devices: vRNICs that live in the program's thread and move when it polls. */
import { openSync } from 'node:fs';
import t, { type Test } from 'tap';
import {
  Access,
  AsyncEvent,
  type Context,
  hostDevice,
  newMemoryPair,
  QpState,
  QpType,
  SendFlag,
  WorkCompletion,
  WrOpcode,
} from '../../verbs/index.ts';
import { enterNetworkNamespace } from '../../workers/linux/namespace.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';

const RIGHTS = Access.LOCAL_WRITE | Access.REMOTE_WRITE | Access.REMOTE_READ;
const BYTES = 100_000;
const PSN = 7;

async function openSide(context: Context, gid: Uint8Array) {
  const pd = await context.allocPd();
  const cq = await context.createCq(64, await context.createCompChannel());
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), RIGHTS);
  const qp = await pd.createQp({ type: QpType.RC, sendCq: cq, recvCq: cq });
  await qp.toInit({ accessFlags: RIGHTS });
  return { context, gid, cq, mr, qp };
}

type Side = Awaited<ReturnType<typeof openSide>>;

async function connect(side: Side, peer: Side): Promise<void> {
  await side.qp.toRtr({ gid: peer.gid, qpNum: peer.qp.qpNum, psn: PSN }, { pathMtu: 5 });
  await side.qp.toRts(PSN);
}

async function pair(test: Test, polled: readonly [boolean, boolean]): Promise<[Side, Side]> {
  const ends = newMemoryPair(`polled${process.pid}-${test.name.length}`);
  const gids = [toGid('10.0.0.1'), toGid('10.0.0.2')] as const;
  const sides: Side[] = [];
  for (const [i, end] of ends.entries()) {
    const device = await hostDevice({
      port: { kind: 'memory', end },
      mac: Uint8Array.of(2, 0, 0, 0, 0, i + 1),
      gids: [gids[i]!],
      spin: 20,
      polled: polled[i]!,
    });
    test.teardown(() => device.stop());
    sides.push(await openSide(await device.open(), gids[i]!));
  }
  const [a, b] = sides as [Side, Side];
  await Promise.all([connect(a, b), connect(b, a)]);
  return [a, b];
}

const write = (from: Side, to: Side) => ({
  opcode: WrOpcode.RDMA_WRITE,
  sendFlags: SendFlag.SIGNALED,
  remoteAddr: BigInt(to.mr.addr),
  rKey: to.mr.rKey,
  sgList: [{ mr: from.mr, length: BYTES }],
});

t.test('polled device: two of them in one thread move a message when both are polled', async (test) => {
  const [a, b] = await pair(test, [true, true]);
  a.mr.bytes.fill(0x5a);
  a.qp.postSend(write(a, b));
  const completion = new WorkCompletion();
  let polls = 0;
  while (!a.cq.pollOne(completion) && polls++ < 100_000) b.context.progress();
  test.ok(completion.isSuccess);
  test.ok(b.mr.bytes.every((octet) => octet === 0x5a));
});

for (const [what, end] of [
  ['destroys the QP', (side: Side) => side.qp.destroy()],
  ['resets the QP', (side: Side) => side.qp.modifyQp({ qpState: QpState.RESET })],
  [
    'puts the QP into ERR and destroys it',
    async (side: Side) => {
      await side.qp.modifyQp({ qpState: QpState.ERR });
      await side.qp.destroy();
    },
  ],
  ['closes the device', (side: Side) => side.context.close()],
] as const) {
  t.test(`polled device: who takes a completion and ${what} at once has acknowledged the message`, async (test) => {
    const [a, b] = await pair(test, [true, true]);
    const completion = new WorkCompletion();
    a.qp.postRecv({ sgList: [{ mr: a.mr, length: BYTES }] });
    b.qp.postSend({ opcode: WrOpcode.SEND, sendFlags: SendFlag.SIGNALED, sgList: [{ mr: b.mr, length: 1000 }] });
    while (!a.cq.pollOne(completion)) b.context.progress();
    await end(a);
    while (!b.cq.pollOne(completion)) a.context.progress();
    test.equal(completion.statusName, 'SUCCESS');
  });
}

t.test('polled device: a program that waits for a completion sleeps until the peer answers', async (test) => {
  const [a, b] = await pair(test, [true, false]);
  b.mr.bytes.fill(0x77);
  a.qp.postSend({ ...write(a, b), opcode: WrOpcode.RDMA_READ });
  const [completion] = await a.cq.next();
  test.ok(completion!.isSuccess);
  test.ok(a.mr.bytes.every((octet) => octet === 0x77));
});

t.test('polled device: answers a peer while its program waits for something else', async (test) => {
  const [a, b] = await pair(test, [false, true]);
  a.qp.postSend(write(a, b));
  const [completion] = await a.cq.next();
  test.ok(completion!.isSuccess);
});

t.test('polled device: cannot be shared with another thread, nor enter a network namespace', async (test) => {
  const [end, other] = newMemoryPair(`polled${process.pid}-shared`);
  const options = { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), gids: [toGid('10.0.0.1')], polled: true };
  const device = await hostDevice({ ...options, port: { kind: 'memory', end } });
  test.teardown(() => device.stop());
  await test.rejects(device.share(), /cannot be shared/);
  await test.rejects(
    hostDevice({ ...options, port: { kind: 'memory', end: other }, namespace: '/var/run/netns/none' }),
    /namespace of its own thread/,
  );
});

t.test(
  'hosted and polled device: when its interface is made anew its links end, and who opens it has the new one',
  { skip: lacks('root', 'ip') },
  async (test) => {
    const host = await Namespace.create(test, 'anew');
    const plug = async (address: string): Promise<void> => {
      await host.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other');
      await host.ip('link', 'set', 'other', 'up');
      await host.ip('link', 'set', 'eth0', 'up');
      await host.ip('addr', 'add', `${address}/24`, 'dev', 'eth0');
    };
    await plug('192.0.2.1');
    const home = openSync('/proc/thread-self/ns/net', 'r');
    enterNetworkNamespace(`/var/run/netns/${host.name}`);
    test.teardown(() => enterNetworkNamespace(`/proc/self/fd/${home}`));
    const devices = await Promise.all([false, true].map((polled) => hostDevice({ netdev: 'eth0', polled })));
    for (const device of devices) test.teardown(() => device.stop());
    const contexts = await Promise.all(devices.map((device) => device.open()));
    await host.ip('link', 'del', 'eth0');
    await plug('192.0.2.7');
    for (const context of contexts) {
      let event = await context.getAsyncEvent();
      while (event.code !== AsyncEvent.DEVICE_FATAL) event = await context.getAsyncEvent();
    }
    for (const device of devices) {
      const context = await device.open();
      test.same(Buffer.from(await context.queryGid(1)), Buffer.from(toGid('192.0.2.7')));
      test.equal((await context.queryPort()).state, 4, 'PORT_ACTIVE');
      await device.stop();
      await test.rejects(device.open());
    }
  },
);

t.test('polled device: ends its links when it stops', async (test) => {
  const [a] = await pair(test, [true, true]);
  await a.context.close();
  await test.rejects(a.context.queryDevice(), { code: 'EIO' });
});
