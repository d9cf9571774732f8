import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WcStatus } from '../../rnic/constants.ts';
import { connect } from '../../workers/client.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { newMemoryPair } from '../../workers/ports/memory.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import type { PortConfig, VrnicConfig } from '../../workers/vrnic-config.ts';
import { LossyWire } from '../support/lossy-wire.ts';
import { Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { RcApp } from './rc-app.ts';
import { makeVeth, whyNoNamespaces } from './veth.ts';

const BYTES = 1 << 20;

async function openApp(supervisor: Supervisor, name: string): Promise<RcApp> {
  return RcApp.open(await connect(await supervisor.endpoint(name)), BYTES);
}

async function completion(app: RcApp): Promise<number> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(1)) {
    const status = app.pollCq();
    if (status >= 0) return status;
  }
  throw new Error('no completion in ten seconds');
}

const fill = (memory: Uint8Array, seed: number): void => {
  for (let i = 0; i < memory.length; i++) memory[i] = (i * 31 + (i >> 8) + seed) & 0xff;
};

/** WRITE one way, READ back from the other, both compared octet by octet. */
async function writeAndRead(t: Test, left: RcApp, right: RcApp, sizes: readonly number[]): Promise<void> {
  for (const size of sizes) {
    fill(left.memory, size);
    right.memory.fill(0);
    left.write(0, size, right.rKey, 0);
    t.equal(await completion(left), WcStatus.SUCCESS, `WRITE of ${size} octets`);
    t.equal(Buffer.compare(right.memory.subarray(0, size), left.memory.subarray(0, size)), 0, 'arrives whole');
    left.memory.fill(0);
    left.read(0, size, right.rKey, 0);
    t.equal(await completion(left), WcStatus.SUCCESS, `READ of ${size} octets`);
    t.equal(Buffer.compare(right.memory.subarray(0, size), left.memory.subarray(0, size)), 0, 'arrives whole');
  }
}

const SIZES = [1, 64, 1000, 4096, 65_536, BYTES];

async function connectApps(
  left: RcApp,
  right: RcApp,
  ipv: Record<'left' | 'right', Uint8Array>,
  index: number,
): Promise<void> {
  const [there, back] = await Promise.all([
    left.connect(ipv.right, index, right.qpNum),
    right.connect(ipv.left, index, left.qpNum),
  ]);
  if (!there.ok) throw new Error(there.reason);
  if (!back.ok) throw new Error(back.reason);
}

const skip = whyNoNamespaces();
for (const [how, faults] of [
  ['', undefined],
  [' with loss, duplication and reordering', { seed: 5, loss: 0.01, duplication: 0.01, reordering: 0.01 }],
] as const) {
  t.test(
    `two vRNICs over af_packet${how}: WRITE and READ between namespaces, IPv4 and IPv6`,
    skip ? { skip } : {},
    async (t) => {
      const veth = makeVeth('pair');
      const supervisor = new Supervisor({ workers: 2, spin: 20 });
      t.teardown(async () => {
        await supervisor.stop();
        veth.remove();
      });
      for (const { netdev, path } of [veth.left, veth.right]) {
        const port: PortConfig = { kind: 'af_packet', netdev, ...(faults && { faults }) };
        await supervisor.startVrnic({ name: netdev, port, namespace: path });
      }
      let retransmitted = 0;
      for (const [family, index] of [
        ['ipv4', 1],
        ['ipv6', 2],
      ] as const) {
        const [left, right] = [await openApp(supervisor, 'v1'), await openApp(supervisor, 'v2')];
        await connectApps(left, right, { left: veth.left[family], right: veth.right[family] }, index);
        await writeAndRead(t, left, right, SIZES);
        await left.link.close();
        await right.link.close();
        const { counters } = await supervisor.statistics('v1');
        if (faults) t.ok(counters.retransmitted_pkts! > retransmitted, `${family}: something was lost and sent again`);
        retransmitted = counters.retransmitted_pkts!;
      }
      const { counters, ports } = await supervisor.statistics('v1');
      t.ok(counters.sent_pkts! > 100 && counters.rcvd_pkts! > 100, 'counters counted');
      t.ok(Object.keys(ports).some((name) => name.includes('af_packet:v1')));
    },
  );
}

t.test(
  'two vRNICs over a wire that loses 5 % of the frames in its middle, and ports that repeat and reorder them',
  { skip: lacks('root', 'nft', 'ethtool') },
  async (t) => {
    const supervisor = new Supervisor({ workers: 2, spin: 20 });
    const wire = await LossyWire.create(t);
    const faults = { seed: 5, duplication: 0.01, reordering: 0.01 };
    for (const [end, address] of [
      ['left', '192.0.2.1'],
      ['right', '192.0.2.2'],
    ] as const) {
      const host = await Namespace.create(t, end);
      await host.plugInto(wire.namespace, end, `port-${end}`, `${address}/24`, 9000);
      const namespace = `/var/run/netns/${host.name}`;
      await supervisor.startVrnic({ name: end, port: { kind: 'af_packet', netdev: 'eth0', faults }, namespace });
    }
    t.teardown(() => supervisor.stop());
    const [left, right] = [await openApp(supervisor, 'left'), await openApp(supervisor, 'right')];
    await connectApps(left, right, { left: toGid('192.0.2.1'), right: toGid('192.0.2.2') }, 1);
    await wire.lose(0.05);
    await writeAndRead(t, left, right, [...SIZES, BYTES]);
    const { carried, lost } = await wire.counts();
    t.ok(carried > 1000, `2 MiB there and back in so many frames: ${carried}`);
    t.ok(lost > carried * 0.02 && lost < carried * 0.1, `${lost} of them lost`);
    t.ok((await supervisor.statistics('left')).counters.retransmitted_pkts! > 0, 'sent again');
    for (const name of ['left', 'right'])
      t.equal((await supervisor.statistics(name)).counters.rx_icrc_encapsulated, 0, 'what came was whole');
  },
);

t.test(
  'two vRNICs: a neighbour that does not answer is a refusal in words, and others go on meanwhile',
  skip ? { skip } : {},
  async (t) => {
    const veth = makeVeth('silent');
    const supervisor = new Supervisor();
    t.teardown(async () => {
      await supervisor.stop();
      veth.remove();
    });
    await supervisor.startVrnic({ name: 'v1', port: { kind: 'af_packet', netdev: 'v1' }, namespace: veth.left.path });
    const app = await openApp(supervisor, 'v1');
    const lost = app.connect(toGid('10.99.0.55'), 1, 17);
    t.match(await app.link.call({ op: 'queryDevice' }), { ok: true });
    t.match(await lost, { ok: false, errno: 113, reason: /no answer from 10\.99\.0\.55/ });
    const [away, family, index] = await Promise.all([
      (await openApp(supervisor, 'v1')).connect(toGid('192.0.2.9'), 1, 17),
      (await openApp(supervisor, 'v1')).connect(toGid('fd99::2'), 1, 17),
      (await openApp(supervisor, 'v1')).connect(toGid('10.99.0.2'), 9, 17),
    ]);
    t.match(away, { ok: false, errno: 101, reason: /no route to 192\.0\.2\.9/ });
    t.match(family, { ok: false, reason: /IPv4.*IPv6/ });
    t.match(index, { ok: false, reason: /sgid_index 9/ });
  },
);

for (const kind of ['cap', 'raw_socket'] as const) {
  t.test(`bridge: a vRNIC on ${kind} of the process itself`, skip ? { skip } : {}, async (t) => {
    const supervisor = new Supervisor({ workers: 1 });
    t.teardown(() => supervisor.stop());
    await t.rejects(
      supervisor.startVrnic({ name: 'v', port: { kind, netdev: 'lo' }, namespace: '/proc/self/ns/net' }),
      {
        message: /network namespace of the process/,
      },
    );
  });
}

t.test('loopback: two QPs of one vRNIC talk without a wire; memory ports join two vRNICs in two threads', async (t) => {
  const [one, two] = newMemoryPair('link');
  const supervisor = new Supervisor({ workers: 2 });
  t.teardown(() => supervisor.stop());
  const gids = [toGid('fe80::1'), toGid('10.7.0.1'), toGid('fe80::2'), toGid('10.7.0.2')];
  const config = (name: string, end: typeof one, last: number): VrnicConfig => ({
    name,
    port: { kind: 'memory', end },
    mac: Uint8Array.of(2, 0, 0, 0, 0, last),
    gids: gids.slice(2 * last - 2, 2 * last),
  });
  await supervisor.startVrnic(config('one', one, 1));
  await supervisor.startVrnic(config('two', two, 2));
  const [a, b] = [await openApp(supervisor, 'one'), await openApp(supervisor, 'one')];
  await connectApps(a, b, { left: gids[1]!, right: gids[1]! }, 1);
  await writeAndRead(t, a, b, SIZES);
  const [c, d] = [await openApp(supervisor, 'one'), await openApp(supervisor, 'two')];
  await connectApps(c, d, { left: gids[1]!, right: gids[3]! }, 1);
  await writeAndRead(t, c, d, SIZES);
});
