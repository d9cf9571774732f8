import t from 'tap';
import type { Path } from '../../rnic/path.ts';
import { Transport } from '../../vswitch/transport.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Neighbours } from '../../workers/neighbours.ts';
import { PathResolver } from '../../workers/path-resolver.ts';
import { MemoryPort, newLoopback } from '../../workers/ports/memory.ts';

const OURS = toGid('192.0.2.1');
const PEER = toGid('192.0.2.2');
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const AV = { dgid: PEER, sgidIndex: 0, hopLimit: 64, trafficClass: 0, flowLabel: 0, portNum: 1 };

/** The peer answers with this MAC, asked or not. */
function hear(neighbours: Neighbours, mac: Uint8Array): void {
  const peer = new Neighbours({ mac, addresses: [PEER], answers: true });
  peer.resolve(OURS, PEER, 0);
  neighbours.handleFrame(peer.burst.view, peer.burst.at[0]!, peer.burst.at[0]! + peer.burst.frameBytes[0]!, 0);
}

t.test(
  'paths: connections to one peer share their headers, differ in the source port, and follow the peer together',
  async (t) => {
    const neighbours = new Neighbours({ mac: MAC, addresses: [OURS], answers: false });
    const ports = [new MemoryPort(newLoopback(4500))];
    const resolver = new PathResolver({ mac: MAC, gids: [{ gid: OURS }], ports, neighbours });
    const pathOf = (trafficClass: number, remoteQpn: number): Path => {
      const found = resolver.resolve({ ...AV, trafficClass }, Transport.RC, 0x1234, remoteQpn, 0);
      if (found === null || 'ok' in found) throw new Error('no path');
      return found.path;
    };
    hear(neighbours, Uint8Array.of(2, 0, 0, 0, 0, 2));
    const [first, second, urgent] = [pathOf(0, 0x5678), pathOf(0, 0x9abc), pathOf(0xb8, 0x5678)];
    t.equal(first.template, second.template);
    t.not(first.sourcePort, second.sourcePort);
    t.not(first.template, urgent.template, 'another traffic class');
    const moved = Uint8Array.of(2, 0, 0, 0, 0, 3);
    hear(neighbours, moved);
    for (const path of [first, second, urgent]) t.same(path.template.slice(0, 6), moved);
    t.equal(pathOf(0, 0xdef0).template, first.template, 'and so do those that come later');
  },
);
