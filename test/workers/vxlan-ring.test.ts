/** VXLAN by a ring and a socket at once: what is small comes without a system call, what is large in its place between them, and nothing twice. */
import t, { type Test } from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import type { Path } from '../../rnic/path.ts';
import { readNetdev, toGid } from '../../workers/linux/netdev.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { AfPacketPort } from '../../workers/ports/af-packet.ts';
import { UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { eventually } from '../support/eventually.ts';
import { FrameMaker } from './test-frames.ts';
import { makeVeth, type Veth, whyNoNamespaces, within } from './veth.ts';

const skip = whyNoNamespaces() || false;
const VNI = 77;
const STRANGE_VNI = 78;
const SENDER = 5;
const LOOKS = 64;
const SMALL = 64;
const LARGE = 4096;
/** Of an inner IPv4 packet in VXLAN, behind the outer UDP header: BTH's PSN. */
const PSN_AT = 8 + 14 + 20 + 8 + 8;

type Seen = readonly [psn: number, bytes: number, source: number];

class Pair {
  readonly receiver: UdpVxlanPort;
  readonly sender: UdpVxlanPort;
  readonly seen: Seen[] = [];
  readonly #maker = new FrameMaker();
  readonly #burst = new ReceiveBurst();
  readonly #port: UdpVxlanPort;

  constructor(t: Test, { left, right }: Veth, family: 'ipv4' | 'ipv6') {
    const [here, there] = [left[family], right[family]];
    this.receiver = within(left, () => {
      const interfaceIndex = readNetdev(left.netdev).index;
      return new UdpVxlanPort({ local: here, udpPort: 0, mtu: 8900, interfaceIndex });
    });
    this.sender = within(right, () => new UdpVxlanPort({ local: there, udpPort: 0, mtu: 8900 }));
    this.#port = this.sender;
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

  send(lay: (maker: FrameMaker) => void): void {
    this.#maker.burst.reset();
    lay(this.#maker);
    if (!this.sender.transmit(this.#maker.burst)) throw new Error('the socket is full');
  }

  /** Until so many have come, each piece of a super-frame for one. */
  async take(count: number): Promise<void> {
    await eventually(() => {
      // Some of the looks that find nothing are at the ring alone.
      for (let looks = 0; looks < LOOKS; looks++) if (this.receiver.receive(this.#burst) > 0) looks = this.#note();
      return this.seen.length >= count;
    });
  }

  #note(): number {
    const { view, at, frameBytes, segmentBytes, source, count } = this.#burst;
    for (let i = 0; i < count; i++) {
      const end = at[i]! + frameBytes[i]!;
      const step = segmentBytes[i]! || frameBytes[i]!;
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
  });

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
