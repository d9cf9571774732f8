/** The outer source port of VXLAN: one for a flow, others for others, and the flow arrives in order. RFC 7348 §5. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import { TransmitBurst } from '../../rnic/burst.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { buildPath } from '../../workers/path-builder.ts';
import { flowOf } from '../../workers/ports/flow-sockets.ts';
import { UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { eventually } from '../support/eventually.ts';
import { FrameMaker } from './test-frames.ts';

const FLOWS = 32;

for (const [family, here, there, inner] of [
  ['IPv4', '127.0.0.1', '127.0.0.2', ['10.0.0.1', '10.0.0.2']],
  ['IPv6', '::1', '::1', ['fd00::1', 'fd00::2']],
] as const)
  t.test(`${family}: flows leave by dynamic ports, each by its own or one that it shares`, async (t) => {
    const peer = createSocket(family === 'IPv4' ? 'udp4' : 'udp6');
    t.teardown(() => peer.close());
    peer.bind(0, there);
    await once(peer, 'listening');
    const port = new UdpVxlanPort({ local: toGid(here), udpPort: 0, mtu: 1450 });
    t.teardown(() => port.close());
    port.setVtep(1, toGid(there), peer.address().port);
    const seen: [vni: number, port: number][] = [];
    peer.on('message', (octets, { port: from }) => seen.push([octets.readUIntBE(4, 3), from]));
    const maker = new FrameMaker();
    const flows = new Map<number, number>();
    for (let i = 0; i < 2 * FLOWS; i++) {
      const vni = i % FLOWS;
      const [sgid, dgid] = inner.map(toGid) as [Uint8Array, Uint8Array];
      const path = buildPath({
        av: { dgid, sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 },
        sgid,
        sourceMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
        destinationMac: Uint8Array.of(2, 0, 0, 0, 0, 2),
        localQpn: 1,
        remoteQpn: 2 + vni,
        portIndex: 0,
        port,
        destination: 1,
        encapsulation: Uint8Array.of(8, 0, 0, 0, 0, 0, vni, 0),
      });
      maker.put(path, i, 64);
      const at = maker.burst.at[i]!;
      flows.set(vni, flowOf(maker.burst.view, at, at + maker.burst.frameBytes[i]!));
    }
    t.ok(port.transmit(maker.burst));
    await eventually(() => seen.length === 2 * FLOWS);
    const ports = new Map(seen);
    t.ok(
      seen.every(([vni, from]) => ports.get(vni) === from),
      'a flow has one port',
    );
    t.ok([...ports.values()].every((from) => from >= 49_152));
    t.equal(new Set(ports.values()).size, new Set(flows.values()).size, 'as many ports as there are kinds of flows');
    t.equal(new Set(ports.values()).size, FLOWS, 'tenants share none');
    t.match(port.counters, { txErrors: 0, txFrames: 2 * FLOWS });
  });

t.test('frames alone go where they are sent, whoever the flow’s socket is connected to', async (t) => {
  const peers = await Promise.all(
    ['127.0.0.2', '127.0.0.3'].map(async (address) => {
      const peer = createSocket('udp4');
      peer.bind(0, address);
      await once(peer, 'listening');
      const heard: number[] = [];
      peer.on('message', (octets) => heard.push(octets[octets.length - 1]!));
      return { peer, heard, gid: toGid(address), udpPort: peer.address().port };
    }),
  );
  const [first, second] = [peers[0]!, peers[1]!];
  const port = new UdpVxlanPort({ local: toGid('127.0.0.1'), udpPort: 0, mtu: 1450 });
  t.teardown(() => port.close());
  const burst = new TransmitBurst(4096);
  let tag = 0;
  const send = (vtep: number): number => {
    burst.reset();
    burst.bytes.fill(0, 0, 100);
    burst.bytes[99] = ++tag;
    burst.at[0] = 0;
    burst.frameBytes[0] = 100;
    burst.segmentBytes[0] = 0;
    burst.destination[0] = vtep;
    burst.count = 1;
    t.ok(port.transmit(burst));
    return tag;
  };
  const wanted: number[][] = [[], []];
  port.setVtep(0, first.gid, first.udpPort);
  port.setVtep(1, second.gid, second.udpPort);
  for (const vtep of [...Array<number>(20).fill(0), 1, 0, 1, ...Array<number>(20).fill(1), 0])
    wanted[vtep]!.push(send(vtep));
  // Number 1 is another host's from now on.
  port.setVtep(1, first.gid, first.udpPort);
  for (let i = 0; i < 20; i++) wanted[0]!.push(send(1));
  port.setVtep(1, second.gid, second.udpPort);
  wanted[1]!.push(send(1));
  await eventually(() => first.heard.length === wanted[0]!.length && second.heard.length === wanted[1]!.length);
  t.strictSame([first.heard, second.heard], wanted);
  const gone = once(first.peer, 'close');
  first.peer.close();
  await gone;
  for (let i = 0; i < 20; i++) send(0);
  t.match(port.counters, { txErrors: 0, txFrames: tag }, 'nobody there any more is no error of the port');
  second.peer.close();
});
