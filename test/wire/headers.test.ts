/** Every header: round trips, maxima beside zeros, and `write` leaving no octet of a reused slot. */
import t from 'tap';
import * as Aeth from '../../wire/aeth.ts';
import * as Arp from '../../wire/arp.ts';
import * as AtomicAckEth from '../../wire/atomic-ack-eth.ts';
import * as AtomicEth from '../../wire/atomic-eth.ts';
import * as Bth from '../../wire/bth.ts';
import * as Cnp from '../../wire/cnp.ts';
import * as Deth from '../../wire/deth.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Feth from '../../wire/feth.ts';
import * as Grh from '../../wire/grh.ts';
import * as Icmpv6Nd from '../../wire/icmpv6-nd.ts';
import * as Ieth from '../../wire/ieth.ts';
import * as ImmDt from '../../wire/imm-dt.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import * as Reth from '../../wire/reth.ts';
import { type OpCode, opCode, pKey, psn, qKey, qpn, rKey } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import * as XrcEth from '../../wire/xrceth.ts';
import { holdsHeader } from './header-property.ts';

holdsHeader(t, 'BTH', Bth);
holdsHeader(t, 'RETH', Reth);
holdsHeader(t, 'AETH', Aeth);
holdsHeader(t, 'AtomicETH', AtomicEth);
holdsHeader(t, 'AtomicAckETH', AtomicAckEth);
holdsHeader(t, 'DETH', Deth);
holdsHeader(t, 'XRCETH', XrcEth);
holdsHeader(t, 'ImmDt', ImmDt);
holdsHeader(t, 'IETH', Ieth);
holdsHeader(t, 'FETH', Feth);
holdsHeader(t, 'GRH', Grh);
holdsHeader(t, 'IPv6', Ipv6);
holdsHeader(t, 'UDP', Udp);
holdsHeader(t, 'VXLAN', Vxlan);
holdsHeader(t, 'ICMPv6 ND', Icmpv6Nd);
holdsHeader(t, 'IPv4', Ipv4);
const setOctets =
  (at: number, ...values: number[]) =>
  (octets: Uint8Array): void =>
    octets.set(values, at);
holdsHeader(t, 'Ethernet', Ethernet, setOctets(12, 0x08, 0x00));
holdsHeader(t, 'ARP', Arp, setOctets(0, 0, 1, 8, 0, 6, 4));

const AT = 3;
/** What `write` leaves of a slot full of ones. */
function written(bytes: number, write: (view: DataView) => void): string {
  const octets = new Uint8Array(AT + bytes + 4).fill(0xff);
  write(new DataView(octets.buffer));
  t.same(octets.subarray(AT + bytes), new Uint8Array(4).fill(0xff), 'writes no octet beyond its header');
  return Buffer.from(octets.subarray(AT, AT + bytes)).toString('hex');
}

t.test('BTH: write lays out the octets of the spec', (t) => {
  const bits = Bth.SOLICITED | Bth.MIG_REQ | Bth.padBits(3);
  const full = written(12, (view) =>
    Bth.write(view, AT, opCode(0x0a), bits, pKey(0xffff), qpn(0x123456), true, psn(0xabcdef)),
  );
  t.equal(full, '0af0ffff00123456' + '80abcdef');
  const empty = written(12, (view) => Bth.write(view, AT, 0 as OpCode, 0, pKey(0), qpn(0), false, psn(0)));
  t.equal(empty, '00'.repeat(12));
  t.end();
});

t.test('extension headers: write lays out the octets of the spec', (t) => {
  const reth = written(16, (view) => Reth.write(view, AT, 0x8000_0001, 0xffff_fff0, rKey(0xdeadbeef), 0xffff_ffff));
  t.equal(reth, '80000001fffffff0deadbeefffffffff');
  const atomic = written(28, (view) => AtomicEth.write(view, AT, 1, 2, rKey(3), 4, 5, 6, 7));
  t.equal(atomic, '00000001000000020000000300000004000000050000000600000007');
  t.equal(
    written(8, (view) => AtomicAckEth.write(view, AT, 1, 0xffff_ffff)),
    '00000001ffffffff',
  );
  t.equal(
    written(8, (view) => Deth.write(view, AT, qKey(0x80010000), qpn(0x10203))),
    '8001000000010203',
  );
  t.equal(
    written(4, (view) => Aeth.write(view, AT, Aeth.NAK_REMOTE_ACCESS_ERROR, 0x123456)),
    '62123456',
  );
  t.equal(
    written(4, (view) => ImmDt.write(view, AT, 0xfedcba98)),
    'fedcba98',
  );
  t.equal(
    written(4, (view) => Ieth.write(view, AT, rKey(0xfedcba98))),
    'fedcba98',
  );
  t.equal(
    written(4, (view) => XrcEth.write(view, AT, 0x123456)),
    '00123456',
  );
  t.equal(
    written(4, (view) => Feth.write(view, AT, Feth.PERSISTENCE, Feth.MEMORY_REGION)),
    '00000012',
  );
  t.equal(
    written(28, (view) => Cnp.write(view, AT, pKey(0xffff), qpn(0x118))),
    `8100ffff4000011800000000${'00'.repeat(16)}`,
  );
  t.end();
});

t.test('network headers: write lays out the octets of their RFCs', (t) => {
  t.equal(
    written(8, (view) => Udp.write(view, AT, 49152, 4791, 44)),
    'c00012b7002c0000',
  );
  t.equal(
    written(8, (view) => Vxlan.write(view, AT, 0xffffff)),
    '08000000ffffff00',
  );
  t.equal(
    written(14, (view) => Ethernet.write(view, AT, 0x0200, 1, 0x0200, 0xffff_ffff, 0x86dd)),
    '0200000000010200ffffffff86dd',
  );
  t.equal(
    written(28, (view) => Arp.write(view, AT, 1, 0x0200, 1, 0xc0000201, 0, 0, 0xc0000202)),
    '0001080006040001020000000001c0000201000000000000c0000202',
  );
  // The IPv4 header of the scapy packet in icrc.test.ts, whose checksum scapy gives as 0xb4d5 with a type of service of 1.
  t.equal(
    written(20, (view) => Ipv4.write(view, AT, 1, 64, 1144, 64, 17, 0xc0a80007, 0xc0a80007)),
    '45010040047840004011b4d5c0a80007c0a80007',
  );
  const addresses = new DataView(Uint8Array.from({ length: 32 }, (_, i) => i).buffer);
  t.equal(
    written(40, (view) => Ipv6.write(view, AT, 0xff, 0xfffff, 0xffff, 17, 64, addresses, 0, 16)),
    `6fffffffffff1140${Buffer.from(addresses.buffer).toString('hex')}`,
  );
  t.end();
});

t.test('BTH: a pad count completes four octets', (t) => {
  for (let bytes = 0; bytes < 9; bytes++) t.equal((bytes + Bth.padCountFor(bytes)) % 4, 0);
  t.equal(Bth.padCountFor(5), 3);
  t.end();
});

t.test('AETH: every syndrome belongs to at most one class', (t) => {
  for (let syndrome = 0; syndrome < 256; syndrome++) {
    const classes = [Aeth.isAck, Aeth.isRnrNak, Aeth.isNak].filter((is) => is(syndrome)).length;
    t.equal(classes, [0, 1, 3].includes(syndrome >> 5) ? 1 : 0, `syndrome ${syndrome}`);
  }
  t.ok(Aeth.isAck(Aeth.ackSyndrome(31)));
  t.ok(Aeth.isRnrNak(Aeth.rnrNakSyndrome(12)));
  t.equal(Aeth.code(Aeth.rnrNakSyndrome(12)), 12);
  t.end();
});

t.test('AETH: credit codes grant what their table says, and the code for a count never grants more', (t) => {
  t.equal(Aeth.credits(0), 0);
  t.equal(Aeth.credits(15), 192);
  t.equal(Aeth.credits(30), 32768);
  t.equal(Aeth.credits(Aeth.UNLIMITED_CREDITS), Infinity);
  for (const messages of [0, 1, 5, 6, 7, 191, 192, 193, 32767, 32768, 1e6]) {
    const code = Aeth.creditCodeFor(messages);
    t.ok(Aeth.credits(code) <= messages && (code === 30 || Aeth.credits(code + 1) > messages), `${messages}`);
  }
  t.end();
});

t.test('AETH: RNR timer codes are the times of the spec, 0 the longest', (t) => {
  t.equal(Aeth.rnrMicros(0), 655_360);
  t.equal(Aeth.rnrMicros(1), 10);
  t.equal(Aeth.rnrMicros(25), 61_440);
  t.equal(Aeth.rnrMicros(31), 491_520);
  t.end();
});
