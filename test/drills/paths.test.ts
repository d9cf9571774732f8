/** Drills: the headers that a connection's packets begin with. SPEC-CHECKLIST R-014 … R-018. */
import t from 'tap';
import { Framing, type Path } from '../../rnic/path.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { buildPath, flowLabelOf, sourcePortOf } from '../../workers/path-builder.ts';

const AV = { dgid: toGid('10.0.0.2'), sgidIndex: 1, hopLimit: 0, trafficClass: 0x6a, flowLabel: 0, portNum: 1 };

const pathOf = (more: Partial<typeof AV>, ours = '10.0.0.1'): Path =>
  buildPath({
    av: { ...AV, ...more },
    sgid: toGid(ours),
    sourceMac: new Uint8Array(6),
    destinationMac: new Uint8Array(6),
    localQpn: 0x11,
    remoteQpn: 0x12,
    portIndex: 0,
    port: { link: 'ethernet', framing: Framing.SINGLE },
  });
const octet = ({ template }: Path, at: number): number => template[at]!;
const word = (path: Path, at: number): number => octet(path, at) * 256 + octet(path, at + 1);

t.test('R-014: packets go to UDP port 4791, without a checksum', async (t) => {
  const path = pathOf({});
  t.equal(word(path, path.udpAt + 2), 4791);
  t.equal(word(path, path.udpAt + 6), 0);
});

t.test('R-015: the source port comes of the flow label or the two QPNs, and is the same both ways', async (t) => {
  t.equal(sourcePortOf(flowLabelOf(0, 0x11, 0x12)), sourcePortOf(flowLabelOf(0, 0x12, 0x11)));
  t.equal(sourcePortOf(flowLabelOf(0x1_2345, 1, 2)), 0xc000 | (0x2345 ^ (0x1_2345 >> 14)));
  const path = pathOf({ flowLabel: 0x1_2345 });
  t.equal(path.sourcePort, sourcePortOf(0x1_2345));
});

t.test('R-017: IPv4 packets forbid fragments and have no options', async (t) => {
  const path = pathOf({});
  t.equal(octet(path, path.ipAt), 0x45);
  t.equal(word(path, path.ipAt + 6), 0x4000);
});

t.test('R-018: traffic class and hop limit are those of the address vector; a hop limit of 0 is 64', async (t) => {
  const [asked, none] = [pathOf({ hopLimit: 7 }), pathOf({ hopLimit: 0 })];
  t.same([octet(asked, asked.ipAt + 1), octet(asked, asked.ipAt + 8)], [0x6a, 7]);
  t.equal(octet(none, none.ipAt + 8), 64);
  const wide = pathOf({ dgid: toGid('fd00::2'), hopLimit: 9 }, 'fd00::1');
  t.equal(octet(wide, wide.ipAt + 7), 9);
  t.equal((word(wide, wide.ipAt) >> 4) & 0xff, 0x6a);
});
