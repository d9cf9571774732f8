/**
 * VXLAN by a ring and a socket at once: what is small comes without a system call, what is large in its place between them, and nothing twice; and small frames alone leave
 * without the kernel's IP, by the way that it showed.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import type { Path } from '../../rnic/path.ts';
import * as Checksum from '../../wire/checksum.ts';
import { readNetdev, toGid } from '../../workers/linux/netdev.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { AfPacketPort } from '../../workers/ports/af-packet.ts';
import { UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { eventually } from '../support/eventually.ts';
import { FrameMaker } from './test-frames.ts';
import { makeVeth, type Veth, type VethEnd, whyNoNamespaces, within } from './veth.ts';

const skip = whyNoNamespaces() || false;
const VNI = 77;
const STRANGE_VNI = 78;
const SENDER = 5;
const LOOKS = 64;
const SMALL = 64;
const LARGE = 4096;
const WIDE = 8192;
/** Of 4 KiB, in a super-frame. */
const PIECES = 15;
/** Of an inner IPv4 packet in VXLAN, behind the outer UDP header: BTH's PSN. */
const PSN_AT = 8 + 14 + 20 + 8 + 8;

const DSCP = 46;
const ECT_0 = 2;
/** A way is known for a tenth of a second. */
const LATER = 200_000;
/** By the kernel, before the next may go another way. */
const RUN = 8;

type Seen = readonly [psn: number, bytes: number, source: number];

class Pair {
  readonly receiver: UdpVxlanPort;
  readonly sender: UdpVxlanPort;
  readonly seen: Seen[] = [];
  /** Outer IP and UDP headers of what came by the ring, single. */
  readonly outer: DataView[] = [];
  readonly #ipBytes: number;
  readonly #maker = new FrameMaker();
  readonly #burst = new ReceiveBurst();
  readonly #leaving = new ReceiveBurst();
  readonly #port: UdpVxlanPort;
  /** What the receiver is told: a microsecond a look. */
  #now = 0;

  /** @param isVeth what the sender is told of its interface. */
  constructor(t: Test, { left, right }: Veth, family: 'ipv4' | 'ipv6', isVeth = false) {
    const [here, there] = [left[family], right[family]];
    this.receiver = within(left, () => {
      const interfaceIndex = readNetdev(left.netdev).index;
      return new UdpVxlanPort({ local: here, udpPort: 0, mtu: 8900, interfaceIndex });
    });
    this.sender = within(right, () => {
      const interfaceIndex = readNetdev(right.netdev).index;
      return new UdpVxlanPort({ local: there, udpPort: this.receiver.udpPort, mtu: 8900, interfaceIndex, isVeth });
    });
    this.sender.setVnis([VNI]);
    this.#port = this.sender;
    this.#ipBytes = family === 'ipv4' ? 20 : 40;
    this.receiver.setVtep(SENDER, there);
    this.sender.setVtep(1, here, this.receiver.udpPort);
    t.teardown(() => {
      this.receiver.close();
      this.sender.close();
    });
  }

  path(vni = VNI, trafficClass = 0): Path {
    const [sgid, dgid] = [toGid('10.0.0.2'), toGid('10.0.0.1')];
    const av = { dgid, sgidIndex: 0, hopLimit: 0, trafficClass, flowLabel: 0, portNum: 1 };
    const macs = { sourceMac: Uint8Array.of(2, 0, 0, 0, 0, 2), destinationMac: Uint8Array.of(2, 0, 0, 0, 0, 1) };
    const encapsulation = Uint8Array.of(8, 0, 0, 0, 0, 0, vni, 0);
    const qpns = { localQpn: 1, remoteQpn: 2 };
    return buildPath({ av, sgid, ...macs, ...qpns, portIndex: 0, port: this.#port, destination: 1, encapsulation });
  }

  /** @param now undefined: all by the kernel. */
  send(lay: (maker: FrameMaker) => void, now?: number): void {
    this.#maker.burst.reset();
    lay(this.#maker);
    if (!this.sender.transmit(this.#maker.burst, DSCP, now)) throw new Error('the socket is full');
    this.sender.receive(this.#leaving);
  }

  /** Until so many have come, each piece of a super-frame for one. */
  async take(count: number): Promise<void> {
    await this.takeUntil(() => this.seen.length >= count);
  }

  takeUntil(holds: () => boolean): Promise<boolean> {
    return eventually(() => {
      // Some of the looks that find nothing are at the ring alone.
      for (let looks = 0; looks < LOOKS; looks++)
        if (this.receiver.receive(this.#burst, this.#now++) > 0) looks = this.#note();
      return holds();
    });
  }

  #note(): number {
    const { view, at, frameBytes, segmentBytes, source, count } = this.#burst;
    for (let i = 0; i < count; i++) {
      const end = at[i]! + frameBytes[i]!;
      const step = segmentBytes[i]! || frameBytes[i]!;
      // The socket's begin where a slot of 64 KiB does.
      const outerAt = at[i]! - 8 - this.#ipBytes;
      if (outerAt >= 0 && segmentBytes[i] === 0 && frameBytes[i]! < 256)
        this.outer.push(new DataView(view.buffer.slice(outerAt, at[i]!)));
      for (let from = at[i]!; from < end; from += step)
        this.seen.push([view.getUint32(from + PSN_AT) & 0xff_ffff, Math.min(step, end - from), source[i]!]);
    }
    return 0;
  }
}

const inOrder = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

for (const family of ['ipv4', 'ipv6'] as const)
  t.test(`${family}: small and large datagrams come in the order in which they were sent`, { skip }, async (t) => {
    const veth = makeVeth(`ring-${family}`);
    t.teardown(() => veth.remove());
    const pair = new Pair(t, veth, family);
    pair.receiver.setVnis([VNI]);
    t.ok(pair.receiver.ringDescriptor >= 0);
    const path = pair.path();
    const sizes = Array.from({ length: 300 }, (_, i) => [SMALL, LARGE, LARGE, SMALL, SMALL, 200, 20, LARGE][i % 8]!);
    for (let i = 0; i < sizes.length; i += 10)
      pair.send((maker) => {
        for (let psn = i; psn < i + 10; psn++) maker.put(path, psn, sizes[psn]!);
      });
    await pair.take(sizes.length);
    t.same(
      pair.seen.map(([psn]) => psn),
      inOrder(sizes.length),
    );
    t.same(
      pair.seen.map(([, bytes]) => bytes),
      sizes.map((bytes) => bytes + PSN_AT + 8),
    );
    t.ok(pair.seen.every(([, , source]) => source === SENDER));
    const { rxCalls } = pair.receiver.counters;
    for (let psn = 0; psn < 100; psn++) pair.send((maker) => maker.put(path, psn, SMALL));
    pair.seen.length = 0;
    await pair.take(100);
    t.ok(pair.receiver.counters.rxCalls - rxCalls < 20, 'small ones cost no system call');
    t.equal(pair.receiver.counters.rxDropped, 0);
    await t.test('frames alone leave as the kernel would send them', (t) => passBy(t, pair, veth, family));
  });

/** A counter of UDP, for all sockets of this end: netstat(8). */
function udpCounter(end: VethEnd, name: string): number {
  const read = (file: string): string => within(end, () => readFileSync(`/proc/thread-self/net/${file}`, 'utf8'));
  const [names, values] = read('snmp')
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '));
  const [, six] = new RegExp(`^Udp6${name}\\s+(\\d+)`, 'm').exec(read('snmp6'))!;
  return Number(values![names!.indexOf(name)]) + Number(six);
}

const sentBySockets = (end: VethEnd): number => udpCounter(end, 'OutDatagrams');

async function passBy(t: Test, pair: Pair, { left, right }: Veth, family: 'ipv4' | 'ipv6'): Promise<void> {
  pair.seen.length = 0;
  pair.outer.length = 0;
  const path = pair.path(VNI, ECT_0);
  let psn = 0;
  /** How many of them the kernel's sockets sent. */
  const send = async (count: number, bytes: number, now: number): Promise<number> => {
    const before = sentBySockets(right);
    for (let i = 0; i < count; i++) pair.send((maker) => maker.put(path, psn++, bytes), now + i);
    await pair.take(psn);
    return sentBySockets(right) - before;
  };
  t.equal(await send(100, SMALL, LATER), RUN + 1, 'some to see that it goes on, one to be looked at');
  t.equal(await send(100, 200, LATER + 500), 0);
  t.equal(await send(1, LARGE, LATER + 900), 1);
  t.equal(await send(20, SMALL, LATER + 1000), RUN, 'large ones are not overtaken');
  const ip = (end: VethEnd, ...args: string[]): unknown => execFileSync('ip', ['-n', end.namespace, ...args]);
  ip(left, 'link', 'set', left.netdev, 'address', '02:00:00:00:99:99');
  ip(right, 'neigh', 'flush', 'dev', right.netdev);
  // The first waits in the kernel until its neighbour is found, and nobody sees it leave.
  t.equal(await send(1, SMALL, 2 * LATER), 1);
  t.equal(await send(20, SMALL, 3 * LATER), 1, 'the receiver’s new MAC');
  t.same(
    pair.seen.map(([psn]) => psn),
    inOrder(psn),
  );
  t.equal(pair.sender.counters.txErrors, 0);
  t.equal(pair.sender.counters.rxDropped, 0);
  const fromIp = family === 'ipv4' ? 28 : 48;
  for (const headers of pair.outer.filter(({ byteLength }) => byteLength === fromIp)) {
    const type = family === 'ipv4' ? headers.getUint8(1) : (headers.getUint16(0) >> 4) & 0xff;
    if (type !== (DSCP << 2) + ECT_0) t.fail(`traffic class ${type}`);
    if (family === 'ipv6' && headers.getUint16(fromIp - 2) !== pseudoSum(headers, fromIp - 8))
      t.fail('the sum for the interface to finish');
  }
}

for (const family of ['ipv4', 'ipv6'] as const)
  t.test(`${family}: super-frames leave over a veth pair as the kernel would send them`, { skip }, async (t) => {
    const veth = makeVeth(`ways-${family}`);
    t.teardown(() => veth.remove());
    const pair = new Pair(t, veth, family, true);
    pair.receiver.setVnis([VNI]);
    const path = pair.path(VNI, ECT_0);
    let psn = 0;
    let now = LATER;
    /** So many super-frames in one burst. How many of them the kernel's sockets sent. */
    const send = async (frames: number, bytes: number, pieces = PIECES): Promise<number> => {
      const before = sentBySockets(veth.right);
      pair.send((maker) => maker.putRun(path, psn, frames * pieces, bytes), now++);
      psn += frames * pieces;
      await pair.take(psn);
      return sentBySockets(veth.right) - before;
    };
    let byKernel = 0;
    for (let i = 0; i < 20; i++) byKernel += await send(1, LARGE);
    t.equal(byKernel, RUN + 1, 'some to see that it goes on, one to be looked at');
    t.equal(await send(3, LARGE), 0, 'several at once');
    t.equal(await send(1, SMALL, 1), 0, 'a small one alone');
    t.equal(await send(1, LARGE, 1), 0, 'a large one alone');
    t.equal(await send(1, WIDE, 7), 1, 'the kernel is asked about what is larger');
    t.equal(await send(1, WIDE, 7), 0);
    now += LATER;
    t.equal(await send(3, LARGE), 3, 'after a while it is asked again');
    t.equal(await send(3, LARGE), 0);
    const strange = pair.path(STRANGE_VNI);
    const sendBoth = async (): Promise<number> => {
      const before = sentBySockets(veth.right);
      pair.send((maker) => {
        maker.putRun(path, psn, PIECES, LARGE);
        maker.putRun(strange, psn + PIECES, PIECES, LARGE);
      }, now++);
      psn += 2 * PIECES;
      await pair.take(psn);
      return sentBySockets(veth.right) - before;
    };
    for (let i = 0; i < 20; i++) await sendBoth();
    now += LATER;
    t.same(
      [await sendBoth(), await sendBoth(), await sendBoth()],
      [2, 1, 0],
      'of two that leave together each is seen',
    );
    // From here on the sender's interface takes super-frames apart, and sums their pieces.
    const { netdev, path: namespace } = veth.right;
    execFileSync('nsenter', [`--net=${namespace}`, 'ethtool', '-K', netdev, 'gso', 'off', 'tx', 'off']);
    t.equal(await send(3, LARGE), 0);
    t.same(
      pair.seen.map(([seen]) => seen),
      inOrder(psn),
    );
    t.equal(pair.sender.counters.txFrames, psn);
    t.equal(pair.sender.counters.txErrors, 0);
    t.equal(pair.receiver.counters.rxDropped, 0);
  });

for (const family of ['ipv4', 'ipv6'] as const)
  t.test(
    `${family}: the outer headers that stand before the first frame are only used again for the same`,
    { skip },
    async (t) => {
      const veth = makeVeth(`heads-${family}`);
      t.teardown(() => veth.remove());
      const pair = new Pair(t, veth, family, true);
      pair.receiver.setVnis([VNI]);
      const other = within(veth.right, () => new AfPacketPort({ netdev: veth.right.netdev, addresses: [] }));
      t.teardown(() => other.close());
      const [plain, marked, strange] = [pair.path(), pair.path(VNI, ECT_0), pair.path(STRANGE_VNI, ECT_0)];
      let [psn, now] = [0, LATER];
      const send = async (path: Path): Promise<void> => {
        // A flow's socket is opened with its first frame.
        within(veth.right, () => pair.send((maker) => maker.put(path, psn++, SMALL), now++));
        await pair.take(psn);
      };
      for (let i = 0; i < 2 * RUN; i++) for (const path of [plain, strange]) await send(path);
      const before = sentBySockets(veth.right);
      pair.outer.length = 0;
      for (const path of [plain, plain, marked, strange, plain, strange, marked, marked, plain]) await send(path);
      pair.send((maker) => {
        maker.put(strange, 0, SMALL);
        t.ok(other.transmit(maker.burst), 'another port writes its own before the frame');
        maker.burst.reset();
        maker.put(plain, psn++, SMALL);
      }, now);
      await pair.take(psn);
      t.equal(sentBySockets(veth.right), before, 'all of them by the known ways');
      t.same(
        pair.seen.map(([seen]) => seen),
        inOrder(psn),
      );
      t.equal(pair.receiver.counters.rxDropped, 0);
      const ofIp = (headers: DataView): number =>
        family === 'ipv4' ? headers.getUint8(1) & 3 : (headers.getUint16(0) >> 4) & 3;
      t.strictSame(pair.outer.map(ofIp), [0, 0, ECT_0, 0, ECT_0, ECT_0, 0, 0], 'each its own mark');
      const ports = pair.outer.map((headers) => headers.getUint16(headers.byteLength - 8));
      t.equal(new Set(ports).size, 1, 'and its flow’s source port');
    },
  );

const SLOW = '8kbit';
/** Super-frames: more than the buffers of two sockets hold. */
const OFFERS_MAX = 5000;
/** tc-tbf(8). */
const shape = ({ namespace, netdev }: VethEnd, ...tokens: string[]): unknown =>
  execFileSync('tc', ['-n', namespace, 'qdisc', 'replace', 'dev', netdev, 'root', 'tbf', ...tokens]);

/** A pair whose way is known, and the next PSN. */
async function pairInTheKnow(t: Test, veth: Veth): Promise<readonly [Pair, number]> {
  t.teardown(() => veth.remove());
  const pair = new Pair(t, veth, 'ipv4', true);
  pair.receiver.setVnis([VNI]);
  const path = pair.path();
  for (let psn = 0; psn < 2 * RUN; psn++) pair.send((maker) => maker.putRun(path, psn, 1, LARGE), LATER);
  const before = sentBySockets(veth.right);
  pair.send((maker) => maker.putRun(path, 2 * RUN, PIECES, LARGE), LATER);
  t.equal(sentBySockets(veth.right), before, 'super-frames leave by the packet socket');
  await pair.take(2 * RUN + PIECES);
  return [pair, 2 * RUN + PIECES];
}

t.test('known way: of what a full queue refuses, none is lost that the kernel has not counted', { skip }, async (t) => {
  const veth = makeVeth('short');
  const [pair, first] = await pairInTheKnow(t, veth);
  const path = pair.path();
  shape(veth.right, 'rate', SLOW, 'burst', '10k', 'limit', '10k');
  const frames = 20;
  for (let i = 0; i < frames; i++) pair.send((maker) => maker.put(path, first + i, LARGE), LATER);
  const lost = udpCounter(veth.right, 'SndbufErrors');
  t.ok(lost > 0, 'the queue was full');
  shape(veth.right, 'rate', '1gbit', 'burst', '100k', 'limit', '1m');
  await pair.take(first + frames - lost);
  t.equal(pair.seen.length, first + frames - lost);
  t.ok(
    pair.seen.every(([psn], i) => i === 0 || psn > pair.seen[i - 1]![0]),
    'in order',
  );
  pair.send((maker) => maker.putRun(path, first + frames, PIECES, LARGE), 2 * LATER);
  await pair.take(first + frames - lost + PIECES);
  t.equal(pair.seen.at(-1)![0], first + frames + PIECES - 1, 'the next ones pass');
});

t.test('known way: frames for which no socket has room wait', { skip }, async (t) => {
  const veth = makeVeth('slow');
  const [pair, first] = await pairInTheKnow(t, veth);
  const path = pair.path();
  const maker = new FrameMaker();
  const { burst } = maker;
  const offer = (): boolean => pair.sender.transmit(burst, DSCP, LATER);
  shape(veth.right, 'rate', SLOW, 'burst', '100k', 'limit', '200m');
  const before = sentBySockets(veth.right);
  maker.putRun(path, first, PIECES, LARGE);
  let taken = 0;
  for (; taken < OFFERS_MAX && offer(); taken++) burst.sent = 0;
  const bySockets = sentBySockets(veth.right) - before;
  t.ok(0 < bySockets && bySockets < taken, 'when the packet socket is full, the UDP socket takes them');
  t.ok(taken < OFFERS_MAX, 'when both are, nobody');
  burst.reset();
  maker.putRun(path, first + PIECES, PIECES, LARGE);
  t.notOk(offer());
  t.match(pair.sender.counters, { txErrors: 0, txBusy: 2 });
  execFileSync('tc', ['-n', veth.right.namespace, 'qdisc', 'del', 'dev', veth.right.netdev, 'root']);
  t.ok(offer(), 'it was kept');
  const last = first + 2 * PIECES - 1;
  t.ok(await pair.takeUntil(() => pair.seen.at(-1)![0] === last));
});

/** Of an IPv6 packet with its UDP header at that place. RFC 8200 §8.1. */
const pseudoSum = (view: DataView, udpAt: number): number =>
  Checksum.fold(Checksum.sum(view, 8, 40, 17 + view.getUint16(udpAt + 4)));

t.test('ring: a super-frame of small segments is taken apart', { skip }, async (t) => {
  const veth = makeVeth('ring-super');
  t.teardown(() => veth.remove());
  const pair = new Pair(t, veth, 'ipv4');
  pair.receiver.setVnis([VNI]);
  const path = pair.path();
  pair.send((maker) => maker.putRun(path, 0, 2, SMALL));
  pair.send((maker) => maker.putRun(path, 2, 30, SMALL));
  pair.send((maker) => maker.putRun(path, 32, 8, LARGE));
  await pair.take(40);
  t.same(
    pair.seen.map(([psn]) => psn),
    inOrder(40),
  );
});

t.test(
  'ring: what is of no tenant here, or not small, is the socket’s; so is everything while there is none',
  { skip },
  async (t) => {
    const veth = makeVeth('ring-others');
    t.teardown(() => veth.remove());
    const pair = new Pair(t, veth, 'ipv4');
    const known = pair.path();
    const strange = pair.path(STRANGE_VNI);
    pair.send((maker) => maker.put(known, 0, SMALL));
    await pair.take(1);
    pair.receiver.setVnis([VNI]);
    for (let psn = 1; psn < 40; psn++) pair.send((maker) => maker.put(psn % 2 === 0 ? known : strange, psn, SMALL));
    await pair.take(40);
    t.same(
      pair.seen.map(([psn]) => psn).sort((a, b) => a - b),
      inOrder(40),
      'each once',
    );
    pair.receiver.setVnis([]);
    pair.send((maker) => maker.put(known, 40, SMALL));
    await pair.take(41);
    t.equal(pair.seen.length, 41);
  },
);

t.test('ring: a datagram whose checksum is wrong is dropped and counted, as the kernel would', { skip }, async (t) => {
  const veth = makeVeth('ring-sums');
  t.teardown(() => veth.remove());
  const pair = new Pair(t, veth, 'ipv4');
  pair.receiver.setVnis([VNI]);
  const wire = within(veth.right, () => new AfPacketPort({ netdev: veth.right.netdev, addresses: [] }));
  t.teardown(() => wire.close());
  const tap = within(veth.left, () => readNetdev(veth.left.netdev));
  const maker = new FrameMaker();
  for (const [psn, sum] of [0, 0x1234].entries()) {
    maker.burst.reset();
    maker.put(pair.path(), psn, SMALL);
    wrap(maker, { to: tap.mac, from: wire.netdev.mac, veth, udpPort: pair.receiver.udpPort, sum });
    t.ok(wire.transmit(maker.burst));
  }
  await pair.take(1);
  await eventually(() => pair.receiver.counters.rxDropped > 0 || pair.receiver.receive(new ReceiveBurst()) > 0);
  t.equal(pair.receiver.counters.rxDropped, 1);
  t.same(
    pair.seen.map(([psn]) => psn),
    [0],
    'no checksum is right for IPv4',
  );
});

interface Outer {
  readonly to: Uint8Array;
  readonly from: Uint8Array;
  readonly veth: Veth;
  readonly udpPort: number;
  readonly sum: number;
}

/** Puts outer headers before the VXLAN frame in a burst: what a packet socket sends, and nobody sums. */
function wrap({ burst }: FrameMaker, { to, from, veth, udpPort, sum }: Outer): void {
  const inner = burst.bytes.slice(burst.at[0]!, burst.at[0]! + burst.frameBytes[0]!);
  const at = 64;
  const frame = Buffer.alloc(42 + inner.length);
  frame.set(to, 0);
  frame.set(from, 6);
  frame.writeUInt16BE(0x0800, 12);
  frame.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0], 14);
  frame.writeUInt16BE(28 + inner.length, 16);
  frame.set(veth.right.ipv4.subarray(12), 26);
  frame.set(veth.left.ipv4.subarray(12), 30);
  let words = 0;
  for (let i = 14; i < 34; i += 2) words += frame.readUInt16BE(i);
  frame.writeUInt16BE(~((words & 0xffff) + (words >>> 16)) & 0xffff, 24);
  frame.writeUInt16BE(50_000, 34);
  frame.writeUInt16BE(udpPort, 36);
  frame.writeUInt16BE(8 + inner.length, 38);
  frame.writeUInt16BE(sum, 40);
  frame.set(inner, 42);
  burst.bytes.set(frame, at);
  burst.at[0] = at;
  burst.frameBytes[0] = frame.length;
  burst.segmentBytes[0] = 0;
  burst.headerBytes[0] = 0;
}
