import fc from 'fast-check';
import t from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Udp from '../../wire/udp.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { buildPath, familyMismatch, flowLabelOf, returnAddress, sourcePortOf } from '../../workers/path-builder.ts';

const AV = { dgid: toGid('10.0.0.2'), sgidIndex: 1, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
const REQUEST = {
  av: AV,
  sgid: toGid('10.0.0.1'),
  sourceMac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  destinationMac: Uint8Array.of(2, 0, 0, 0, 0, 2),
  localQpn: 0x11,
  remoteQpn: 0x12,
  portIndex: 0,
  port: { link: 'ethernet', framing: Framing.HEADER_ONCE },
} as const;

t.test(
  'R-015: the source port is that of the kernel for every pair of QPNs and flow label, and symmetric',
  async (t) => {
    const model = (label: number, local: number, remote: number): number => {
      let v = BigInt(local) * BigInt(remote);
      v ^= v >> 20n;
      v ^= v >> 40n;
      const fl = label === 0 ? Number(v & 0xf_ffffn) : label;
      return 0xc000 | ((fl & 0x3fff) ^ ((fl & 0xfc000) >> 14));
    };
    const qpn = fc.integer({ min: 0, max: 0xff_ffff });
    const property = fc.property(fc.integer({ min: 0, max: 0xf_ffff }), qpn, qpn, (label, local, remote) => {
      const port = sourcePortOf(flowLabelOf(label, local, remote));
      return (
        port === model(label, local, remote) &&
        port === sourcePortOf(flowLabelOf(label, remote, local)) &&
        port >= 0xc000
      );
    });
    t.doesNotThrow(() => fc.assert(property));
  },
);

t.test('path: IPv4 template has DF, the traffic class, a hop limit that leaves the host (R-017, R-018)', async (t) => {
  const path = buildPath({ ...REQUEST, av: { ...AV, trafficClass: 0x6a } });
  const view = new DataView(path.template.buffer);
  t.match(path, { ethernetAt: 0, ipAt: 14, udpAt: 34, isIpv6: false, framing: Framing.HEADER_ONCE, icrcElided: false });
  t.equal(path.template.length, 42);
  t.equal(Ethernet.etherType(view, 0), Ethernet.ETHER_TYPE_IPV4);
  t.match(Ipv4.read(view, 14), { typeOfService: 0x6a, fragment: Ipv4.DONT_FRAGMENT, timeToLive: 64, protocol: 17 });
  t.match(Ipv4.read(view, 14), { source: 0x0a00_0001, destination: 0x0a00_0002, headerBytes: 20 });
  t.equal(Udp.destinationPort(view, 34), 4791);
  t.equal(Udp.checksum(view, 34), 0, 'R-014');
});

t.test('path: IPv6 template has flow label, traffic class and the hop limit asked for', async (t) => {
  const av = { ...AV, dgid: toGid('fe80::2'), flowLabel: 0x12345, trafficClass: 3, hopLimit: 7 };
  const path = buildPath({ ...REQUEST, sgid: toGid('fe80::1'), av });
  const view = new DataView(path.template.buffer);
  t.match(path, { ipAt: 14, udpAt: 54, isIpv6: true });
  t.match(Ipv6.read(view, 14), { flowLabel: 0x12345, trafficClass: 3, hopLimit: 7, nextHeader: 17 });
  t.same(Ipv6.read(view, 14).destination, [...toGid('fe80::2')]);
  t.equal(path.sourcePort, sourcePortOf(0x12345));
});

t.test('path: a port without link headers, and one with an encapsulation', async (t) => {
  const bare = buildPath({ ...REQUEST, port: { link: 'ip', framing: Framing.SINGLE } });
  t.match(bare, { ethernetAt: 0, ipAt: 0, udpAt: 20 });
  const encapsulation = Uint8Array.of(8, 0, 0, 0, 0, 0, 42, 0);
  const inside = buildPath({ ...REQUEST, encapsulation, destination: 5 });
  t.match(inside, { ethernetAt: 8, ipAt: 22, udpAt: 42, destination: 5 });
  t.same(inside.template.slice(0, 8), encapsulation);
});

t.test('path: GIDs of two families are refused in words', async (t) => {
  t.equal(familyMismatch(toGid('10.0.0.1'), toGid('10.0.0.2')), undefined);
  t.match(familyMismatch(toGid('fe80::1'), toGid('10.0.0.2')), /source GID is IPv6, destination GID is IPv4/);
});

t.test('path: the return address of a packet is where it came from', async (t) => {
  const { bytes, view } = new ReceiveBurst(4096, 1);
  bytes.set(buildPath({ ...REQUEST, av: { ...AV, trafficClass: 8 } }).template);
  const packet = { bytes, view, ethernetAt: 0, ipAt: 14, udpAt: 34, bthAt: 42, end: 60, isIpv6: false };
  const back = returnAddress({ ...packet, ipId: 0, isFollowed: false, port: 0, source: 0, icrcElided: false });
  t.same(back.gid, toGid('10.0.0.1'));
  t.same(back.destination, toGid('10.0.0.2'));
  t.same(back.mac, REQUEST.sourceMac);
  t.equal(back.trafficClass, 8);
});
