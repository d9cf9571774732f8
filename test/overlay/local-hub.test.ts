/** vRNICs of one worker hand each other frames; address handles change between memory and wire when their endpoint moves. */
import t, { type Test } from 'tap';
import { TransmitBurst } from '../../rnic/burst.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import { Transport } from '../../vswitch/transport.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Neighbours } from '../../workers/neighbours.ts';
import { joinLocal, type LocalMember } from '../../workers/overlay/local-hub.ts';
import { LOCAL_PORT, Overlay } from '../../workers/overlay/overlay.ts';
import { joinVtep } from '../../workers/overlay/vxlan-hub.ts';
import { PathResolver, WIRE_PORT } from '../../workers/path-resolver.ts';

const [VNI, OTHER_VNI] = [100, 200];
const [ONE, TWO] = [toGid('10.0.0.1'), toGid('10.0.0.2')];
const [HERE, THERE] = [toGid('127.0.0.1'), toGid('127.0.0.2')];
const mac = (address: Uint8Array): number => macNumber(macOf(VNI, address));

function join(t: Test, vni: number, address: Uint8Array): LocalMember {
  const member = joinLocal(HERE, vni, mac(address), 1450);
  t.teardown(() => member.close());
  return member;
}

const frameTo = (destination: number, octet: number): TransmitBurst => {
  const burst = new TransmitBurst(1024);
  burst.bytes.fill(octet, 0, 64);
  burst.frameBytes[0] = 64;
  burst.destination[0] = destination;
  burst.count = 1;
  return burst;
};

t.test(
  'a frame comes to the vRNIC that it names, in the sender’s memory and time, and to no other tenant’s',
  async (t) => {
    const sender = join(t, VNI, ONE);
    const [peer, stranger] = [join(t, VNI, TWO), join(t, OTHER_VNI, TWO)];
    const taken: [number, number][] = [];
    peer.sink = (burst, i, now) => taken.push([burst.bytes[burst.at[i]!]!, now]);
    stranger.sink = () => t.fail('not for this tenant');
    sender.now = 7;
    t.ok(sender.transmit(frameTo(sender.destinationOf(mac(TWO)), 0xab)));
    t.strictSame(taken, [[0xab, 7]]);
    t.match(sender.counters, { txFrames: 1, txBytes: 64, txErrors: 0 });
    t.match(peer.counters, { rxFrames: 1, rxBytes: 64 });
  },
);

t.test('what is for nobody is dropped and counted, until there is somebody, and again when he has gone', async (t) => {
  const sender = join(t, VNI, ONE);
  const destination = sender.destinationOf(mac(TWO));
  sender.transmit(frameTo(destination, 1));
  t.match(sender.counters, { txFrames: 0, txErrors: 1 });
  const peer = join(t, VNI, TWO);
  peer.sink = () => {};
  sender.transmit(frameTo(destination, 1));
  t.match(sender.counters, { txFrames: 1, txErrors: 1 });
  peer.close();
  sender.transmit(frameTo(destination, 1));
  t.match(sender.counters, { txFrames: 1, txErrors: 2 });
});

t.test('an address handle goes by memory or by the wire, as its endpoint moves to this host and away', async (t) => {
  const endpoint = (address: Uint8Array, host: Uint8Array) => ({ address, mac: macOf(VNI, address), host });
  const tenant = (host: Uint8Array): Tenant => ({
    name: 'blue',
    vni: VNI,
    endpoints: [endpoint(ONE, HERE), endpoint(TWO, host)],
    rules: [],
  });
  const socket = joinVtep({ local: HERE, mtu: 1450, udpPort: 0 }, VNI, mac(ONE));
  t.teardown(() => socket.close());
  const local = join(t, VNI, ONE);
  const overlay = new Overlay(tenant(HERE), socket, macOf(VNI, ONE), [ONE], local);
  const neighbours = new Neighbours({ mac: macOf(VNI, ONE), addresses: [ONE], answers: true });
  const options = { mac: macOf(VNI, ONE), gids: [{ gid: ONE }], neighbours, overlay };
  const resolver = new PathResolver({ ...options, ports: [socket, socket, local] });
  const av = { dgid: TWO, sgidIndex: 0, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
  const { path } = resolver.resolve(av, Transport.UD, 0, 0, 0) as { path: Path };
  const byMemory = { port: LOCAL_PORT, framing: Framing.HEADER_ONCE, icrcElided: true };
  t.match(path, { ...byMemory, destination: local.destinationOf(mac(TWO)) });
  overlay.update(tenant(THERE), () => true);
  const byWire = { port: WIRE_PORT, framing: Framing.HEADER_EACH, icrcElided: false };
  t.match(path, { ...byWire, destination: socket.hub.vtepIndex(THERE) });
  overlay.update(tenant(HERE), () => true);
  t.match(path, byMemory);
});
