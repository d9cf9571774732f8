import t from 'tap';
import { Framing } from '../../rnic/path.ts';
import { readNetdev } from '../../workers/linux/netdev.ts';
import { buildPath } from '../../workers/path-builder.ts';
import type { Port } from '../../workers/port.ts';
import { AfPacketPort } from '../../workers/ports/af-packet.ts';
import { openCapPort } from '../../workers/ports/cap.ts';
import { FaultyPort } from '../../workers/ports/faulty.ts';
import { MemoryPort, newMemoryPair } from '../../workers/ports/memory.ts';
import { openRawSocketPort } from '../../workers/ports/raw-socket.ts';
import { type PortPair, portConformance } from './port-conformance.ts';
import { makeVeth, type Veth, type VethEnd, whyNoNamespaces, within } from './veth.ts';

const LEFT_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const RIGHT_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
const gid = (last: number): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 99, 0, last);

interface Side {
  readonly mac: Uint8Array;
  readonly address: Uint8Array;
}

function pathOf(port: Port, from: Side, to: Side): ReturnType<typeof buildPath> {
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
