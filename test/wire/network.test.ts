/** Ethernet tags, checksums, addresses, neighbour discovery and the GRH of a UD receiver. */
import fc from 'fast-check';
import t from 'tap';
import * as Checksum from '../../wire/checksum.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Grh from '../../wire/grh.ts';
import * as Icmpv6Nd from '../../wire/icmpv6-nd.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import { hex64, ipv4, ipv6, mac } from '../../wire/text.ts';
import * as Udp from '../../wire/udp.ts';
import { CAPTURES } from './golden-captures.ts';

const viewOf = (hex: string): DataView => new DataView(Uint8Array.from(Buffer.from(hex, 'hex')).buffer);
const hexOf = (view: DataView): string => Buffer.from(view.buffer).toString('hex');

t.test('Ethernet: tags are looked through, two at most, and written back', (t) => {
  const macs = '020000000001' + '020000000002';
  const cases: [string, number, number, number][] = [
    [`${macs}0800`, 14, 0x0800, -1],
    [`${macs}8100efff86dd`, 18, 0x86dd, 0xfff],
    [`${macs}88a8012c81000064${'0806'}`, 22, 0x0806, 0x12c],
    [`${macs}8100000181000002810000030800`, 22, 0x8100, 1],
    [`${macs}8100`, 14, 0x8100, -1],
  ];
  for (const [hex, bytes, etherType, vlanId] of cases) {
    const view = viewOf(hex);
    t.equal(Ethernet.headerBytes(view, 0), bytes);
    t.equal(Ethernet.etherType(view, 0), etherType);
    t.equal(Ethernet.vlanId(view, 0), vlanId);
    const again = new DataView(new ArrayBuffer(bytes));
    t.equal(Ethernet.writeFields(again, 0, Ethernet.read(view, 0)), bytes);
    t.equal(hexOf(again), hex.slice(0, bytes * 2));
  }
  const [tag] = Ethernet.read(viewOf(`${macs}8100efff86dd`), 0).tags;
  t.same(tag, { protocol: 0x8100, priority: 7, dropEligible: false, vlanId: 0xfff });
  t.end();
});

t.test('Ethernet: a MAC is copied whole, and its first bit says multicast', (t) => {
  const from = viewOf('ff0102030405060708090a0b0c0d');
  const to = viewOf('00'.repeat(10));
  Ethernet.copyMac(from, 6, to, 2);
  t.equal(hexOf(to), '0000060708090a0b0000');
  t.ok(Ethernet.isMulticast(from, 0));
  t.notOk(Ethernet.isMulticast(from, 6));
  t.end();
});

t.test('checksum: an incremental update is the checksum of the changed words', (t) => {
  const words = fc.array(fc.nat(0xffff), { minLength: 3, maxLength: 20 });
  const agrees = fc.property(words, fc.nat(0xffff), (before, word) => {
    const view = new DataView(new ArrayBuffer(before.length * 2));
    for (const [i, value] of before.entries()) view.setUint16(i * 2, value);
    const checksum = Checksum.finish(Checksum.sum(view, 0, view.byteLength, 0));
    view.setUint16(2, word);
    const whole = Checksum.finish(Checksum.sum(view, 0, view.byteLength, 0));
    const updated = Checksum.update(checksum, before[1] as number, word);
    // All zero words have two spellings of their sum.
    return updated === whole || (updated === 0xffff && whole === 0) || (updated === 0 && whole === 0xffff);
  });
  t.doesNotThrow(() => fc.assert(agrees, { numRuns: 1000 }));
  t.end();
});

t.test('checksum: an odd last octet is the high half of a word', (t) => {
  t.equal(Checksum.finish(Checksum.sum(viewOf('000102'), 0, 3, 0)), ~0x0201 & 0xffff);
  t.equal(Checksum.fold(0x1_0000_0001), 2);
  t.end();
});

t.test('IPv4: renumbering keeps the checksum right', (t) => {
  const view = new DataView(new ArrayBuffer(20));
  const right = fc.property(fc.nat(0xffff), fc.nat(0xffff), (totalLength, identification) => {
    Ipv4.write(view, 0, 2, 1500, 7, 64, 17, 0xc0000201, 0xc0000202);
    Ipv4.renumber(view, 0, totalLength, identification);
    const numbers = [Ipv4.totalLength(view, 0), Ipv4.identification(view, 0)];
    return Ipv4.verifyChecksum(view, 0) && numbers[0] === totalLength && numbers[1] === identification;
  });
  t.doesNotThrow(() => fc.assert(right));
  t.equal(Ipv4.ecn(view, 0), 2);
  view.setUint8(12, 1);
  t.notOk(Ipv4.verifyChecksum(view, 0), 'a changed address is noticed');
  t.end();
});

t.test('IPv4: only a whole packet is no fragment', (t) => {
  const view = new DataView(new ArrayBuffer(20));
  const cases: [number, boolean][] = [
    [0, false],
    [0x4000, false],
    [0x2000, true],
    [1, true],
  ];
  for (const [fragment, expected] of cases) {
    view.setUint16(6, fragment);
    t.equal(Ipv4.isFragment(view, 0), expected);
    t.equal(Ipv4.fragment(view, 0), fragment);
  }
  t.end();
});

t.test('IPv6: addresses are read by word, compared and copied', (t) => {
  const view = viewOf(`${'00'.repeat(8)}fe800000000000000000000000000001fe800000000000000000000000000002`);
  t.equal(Ipv6.sourceWord(view, 0, 0), 0xfe800000);
  t.equal(Ipv6.destinationWord(view, 0, 3), 2);
  t.notOk(Ipv6.equalAddress(view, Ipv6.SOURCE_AT, view, Ipv6.DESTINATION_AT));
  Ipv6.copySource(view, 0, view, Ipv6.DESTINATION_AT);
  t.ok(Ipv6.equalAddress(view, Ipv6.SOURCE_AT, view, Ipv6.DESTINATION_AT));
  for (let at = 24; at < 40; at++) {
    const changed = viewOf(hexOf(view));
    changed.setUint8(at, 0x55);
    t.notOk(Ipv6.equalAddress(view, Ipv6.SOURCE_AT, changed, Ipv6.DESTINATION_AT), `octet ${at}`);
  }
  t.end();
});

t.test('UDP: the checksum over IPv4 is the one that scapy computes', (t) => {
  // The packet of icrc.test.ts, whose checksum scapy gives as 0xaca2.
  const packet = viewOf(
    '45010040047840004011b4d5c0a80007c0a80007c00012b7002caca22460ffff000000d300cf1710' +
      '4630818be28935d90e9a95505401be885e50000078f353f3',
  );
  t.equal(Udp.computeChecksumIpv4(packet, 0, 20), Udp.checksum(packet, 20));
  t.end();
});

/** Octets sum to all ones when the checksum among them is right. RFC 1071. */
function sumsToOnes(words: readonly number[]): boolean {
  const total = words.reduce((sum, word) => sum + word, 0);
  return Checksum.fold(total) === 0xffff;
}

t.test('UDP: with its checksum, pseudo header and datagram sum to ones over IPv6, and it is never zero', (t) => {
  const holds = fc.property(fc.uint8Array({ minLength: 40, maxLength: 80 }), (octets) => {
    const view = new DataView(new ArrayBuffer(40 + 8 + octets.length));
    for (const [i, octet] of octets.entries()) view.setUint8(i < 32 ? 8 + i : 16 + i, octet);
    const length = view.byteLength - 40 - 32;
    Udp.write(view, 40, 0xc000, 4791, length);
    const checksum = Udp.computeChecksumIpv6(view, 0, 40);
    view.setUint16(46, checksum);
    const words = [17, length];
    for (let at = 8; at < 40 + length; at += 2) {
      const isOdd = at + 1 === 40 + length;
      words.push(isOdd ? view.getUint8(at) << 8 : view.getUint16(at));
    }
    return checksum !== 0 && sumsToOnes(words);
  });
  t.doesNotThrow(() => fc.assert(holds));
  t.equal(Udp.computeChecksumIpv4(viewOf(`${'00'.repeat(20)}ffde000000080000`), 0, 20), 0xffff);
  t.end();
});

t.test('UDP: of the checksums in the captures those are right that tshark calls right', (t) => {
  // The outer datagrams of the VXLAN capture: where the inner packet was not TCP, checksumming was left to a device after the tap.
  let right = 0;
  let wrong = 0;
  for (const { frames } of CAPTURES)
    for (const octets of frames) {
      const view = new DataView(octets.buffer, octets.byteOffset, octets.length);
      const isUdp = Ethernet.etherType(view, 0) === Ethernet.ETHER_TYPE_IPV4 && Ipv4.protocol(view, 14) === 17;
      if (!isUdp || Udp.checksum(view, 34) === 0) continue;
      if (Udp.computeChecksumIpv4(view, 14, 34) === Udp.checksum(view, 34)) right++;
      else wrong++;
    }
  t.same({ right, wrong }, { right: 40, wrong: 33 });
  t.end();
});

const ADDRESSES = viewOf('fe800000000000000000000000000001ff0200000000000000000001ff000002');

function solicitation(type: number, flags: number): DataView {
  const view = new DataView(new ArrayBuffer(40 + Icmpv6Nd.BYTES + Icmpv6Nd.OPTION_BYTES));
  Ipv6.write(view, 0, 0, 0, 32, Ipv6.NEXT_HEADER_ICMPV6, 255, ADDRESSES, 0, 16);
  Icmpv6Nd.write(view, 0, 40, type, flags, ADDRESSES, 0, 0x0200, 0x00000001);
  return view;
}

t.test('ICMPv6 ND: what is written verifies, names its target and carries its MAC', (t) => {
  const asked = solicitation(Icmpv6Nd.NEIGHBOR_SOLICITATION, 0);
  t.ok(Icmpv6Nd.verifyChecksum(asked, 0, 40, asked.byteLength));
  const at = Icmpv6Nd.findMac(asked, 40, asked.byteLength, Icmpv6Nd.OPTION_SOURCE_MAC);
  t.equal(at, 40 + 26);
  t.equal(mac(asked.getUint16(at), asked.getUint32(at + 2)), '02:00:00:00:00:01');
  t.equal(Icmpv6Nd.findMac(asked, 40, asked.byteLength, Icmpv6Nd.OPTION_TARGET_MAC), -1);
  t.equal(Icmpv6Nd.targetWord(asked, 40, 3), 1);
  const told = solicitation(Icmpv6Nd.NEIGHBOR_ADVERTISEMENT, Icmpv6Nd.SOLICITED | Icmpv6Nd.OVERRIDE);
  t.equal(Icmpv6Nd.flags(told, 40), 0x60);
  t.equal(Icmpv6Nd.findMac(told, 40, told.byteLength, Icmpv6Nd.OPTION_TARGET_MAC), 40 + 26);
  told.setUint8(60, 1);
  t.notOk(Icmpv6Nd.verifyChecksum(told, 0, 40, told.byteLength), 'a changed target is noticed');
  t.end();
});

t.test('ICMPv6 ND: options that are malformed have no MAC', (t) => {
  const asked = solicitation(Icmpv6Nd.NEIGHBOR_SOLICITATION, 0);
  t.equal(Icmpv6Nd.findMac(asked, 40, asked.byteLength - 1, Icmpv6Nd.OPTION_SOURCE_MAC), -1, 'cut short');
  asked.setUint8(40 + 25, 0);
  t.equal(Icmpv6Nd.findMac(asked, 40, asked.byteLength, Icmpv6Nd.OPTION_SOURCE_MAC), -1, 'of no length');
  t.end();
});

t.test('GRH: a packet over IPv4 leaves 20 zero octets and its IP header', (t) => {
  const source = viewOf(`ffff${'45'.repeat(20)}`);
  const target = viewOf('ee'.repeat(44));
  Grh.writeFromIpv4(target, 2, source, 2);
  t.equal(hexOf(target), `eeee${'00'.repeat(20)}${'45'.repeat(20)}eeee`);
  t.end();
});

t.test('text: addresses and numbers as people write them', (t) => {
  t.equal(mac(0x0001, 0x02030405), '00:01:02:03:04:05');
  t.equal(ipv4(0xffffff00), '255.255.255.0');
  t.equal(ipv6([0xfe, 0x80, ...Array(13).fill(0), 0xff]), 'fe80::ff');
  t.equal(ipv6([...Array(10).fill(0), 0xff, 0xff, 192, 0, 2, 1]), '::ffff:192.0.2.1');
  t.equal(hex64(1, 0xffffffff), '0x00000001ffffffff');
  t.end();
});
