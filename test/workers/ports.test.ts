import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import { readNetdev } from '../../workers/linux/netdev.ts';
import { buildPath, type PathRequest } from '../../workers/path-builder.ts';
import type { Port } from '../../workers/port.ts';
import { AfPacketPort } from '../../workers/ports/af-packet.ts';
import { openCapPort } from '../../workers/ports/cap.ts';
import { FaultyPort } from '../../workers/ports/faulty.ts';
import { MemoryPort, newMemoryPair } from '../../workers/ports/memory.ts';
import { openRawSocketPort } from '../../workers/ports/raw-socket.ts';
import { STRANGER, UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { type PortPair, portConformance } from './port-conformance.ts';
import { FrameMaker } from './test-frames.ts';
import { makeVeth, type Veth, type VethEnd, whyNoNamespaces, within } from './veth.ts';

const LEFT_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const RIGHT_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
const gid = (last: number): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 99, 0, last);

interface Side {
  readonly mac: Uint8Array;
  readonly address: Uint8Array;
}

function pathOf(port: Port, from: Side, to: Side, more: Partial<PathRequest> = {}): Path {
  const av = { dgid: to.address, sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
  return buildPath({
    av,
    sgid: from.address,
    sourceMac: from.mac,
    destinationMac: to.mac,
    localQpn: 17,
    remoteQpn: 18,
    portIndex: 0,
    port,
    ...more,
  });
}

const pairOf = (a: Port, b: Port, left: Side, right: Side): PortPair => ({
  a,
  b,
  there: pathOf(a, left, right),
  back: pathOf(b, right, left),
});

function memoryPair(): PortPair {
  const [left, right] = newMemoryPair('test', { ringBytes: 1 << 17 });
  const sides = [
    { mac: LEFT_MAC, address: gid(1) },
    { mac: RIGHT_MAC, address: gid(2) },
  ] as const;
  return pairOf(new MemoryPort(left), new MemoryPort(right), ...sides);
}

portConformance(t, { name: 'memory', open: memoryPair });
portConformance(t, {
  name: 'faulty without faults',
  open: () => {
    const pair = memoryPair();
    return { ...pair, a: new FaultyPort(pair.a, { seed: 1 }), b: new FaultyPort(pair.b, { seed: 2 }) };
  },
});

const vtep = (last: number): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last);
const ipv6Loopback = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

/** Two VTEPs on this host's loopback, each the other's VTEP 3. */
function vxlanPair(left: Uint8Array, right: Uint8Array): PortPair {
  const [a, b] = [left, right].map((local) => new UdpVxlanPort({ local, udpPort: 0, mtu: 9000 })) as [
    UdpVxlanPort,
    UdpVxlanPort,
  ];
  a.setVtep(3, right, b.udpPort);
  b.setVtep(3, left, a.udpPort);
  const sides = [
    { mac: LEFT_MAC, address: gid(1) },
    { mac: RIGHT_MAC, address: gid(2) },
  ] as const;
  const encapsulation = Uint8Array.of(8, 0, 0, 0, 0, 0, 42, 0);
  return {
    a,
    b,
    there: pathOf(a, sides[0], sides[1], { encapsulation, destination: 3 }),
    back: pathOf(b, sides[1], sides[0], { encapsulation, destination: 3 }),
  };
}

portConformance(t, { name: 'udp_vxlan', open: () => vxlanPair(vtep(1), vtep(2)) });
portConformance(t, { name: 'udp_vxlan over IPv6', open: () => vxlanPair(ipv6Loopback, ipv6Loopback) });

t.test('udp_vxlan: who is in no table comes as a stranger, nobody is spoken to', async (t) => {
  const { a, b, there, back } = vxlanPair(vtep(1), vtep(2));
  const [maker, burst] = [new FrameMaker(), new ReceiveBurst()];
  (b as UdpVxlanPort).setVtep(3, undefined);
  maker.put(there, 1, 64);
  t.equal(a.transmit(maker.burst), true);
  t.equal(b.receive(burst), 1);
  t.equal(burst.source[0], STRANGER);
  maker.burst.reset();
  maker.put(back, 1, 64);
  t.equal(b.transmit(maker.burst), true);
  t.equal(b.counters.txErrors, 1);
  a.close();
  b.close();
});

type Open = (end: VethEnd, addresses: Uint8Array[]) => Port;

function vethConformance(name: string, open: Open, family: 'ipv4' | 'ipv6' = 'ipv4'): void {
  const skip = whyNoNamespaces();
  t.test(`${name} over a veth pair`, skip ? { skip } : {}, async (t) => {
    const veth = makeVeth(name.replace(/\W/g, '').slice(0, 12));
    t.teardown(() => veth.remove());
    const side = (end: VethEnd): Side => ({ mac: within(end, () => readNetdev(end.netdev).mac), address: end[family] });
    const ends = ({ left, right }: Veth): [VethEnd, VethEnd] => [left, right];
    portConformance(t, {
      name,
      open: () => {
        const [a, b] = ends(veth).map((end) => within(end, () => open(end, [end[family]])));
        return pairOf(a!, b!, side(veth.left), side(veth.right));
      },
    });
  });
}

vethConformance('af_packet', ({ netdev }, addresses) => new AfPacketPort({ netdev, addresses }));
vethConformance('af_packet with IPv6', ({ netdev }, addresses) => new AfPacketPort({ netdev, addresses }), 'ipv6');
vethConformance('af_packet without super-frames', ({ netdev }, addresses) => {
  const port = new AfPacketPort({ netdev, addresses, superFrames: false });
  if (port.framing !== Framing.SINGLE) throw new Error('it would send super-frames');
  return port;
});
vethConformance('cap', ({ netdev }, addresses) => openCapPort(netdev, { addresses }));
vethConformance('raw_socket', ({ netdev }, addresses) => openRawSocketPort(netdev, { addresses }));
