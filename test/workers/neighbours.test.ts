import t from 'tap';
import { TransmitBurst } from '../../rnic/burst.ts';
import * as Arp from '../../wire/arp.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Nd from '../../wire/icmpv6-nd.ts';
import * as Ipv6 from '../../wire/ipv6.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { multicastMac, Neighbours, Resolution } from '../../workers/neighbours.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const PEER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
const OUR_IPV4 = toGid('10.1.0.1');
const OUR_IPV6 = toGid('fe80::1');

const table = (mac: Uint8Array, ...addresses: Uint8Array[]): Neighbours =>
  new Neighbours({ mac, addresses, answers: true });
const ours = (): Neighbours => table(MAC, OUR_IPV4, OUR_IPV6);

/** Hands every frame of one table to another; returns how many there were. */
function carry(from: Neighbours, to: Neighbours, now: number): number {
  const { burst } = from;
  const { count } = burst;
  for (let i = 0; i < count; i++) to.handleFrame(burst.view, burst.at[i]!, burst.at[i]! + burst.frameBytes[i]!, now);
  burst.reset();
  return count;
}

for (const [family, source, target] of [
  ['ARP', OUR_IPV4, toGid('10.1.0.2')],
  ['neighbour discovery', OUR_IPV6, toGid('fe80::2')],
] as const) {
  t.test(`neighbours: ${family} asks once, is answered, and remembers`, async (t) => {
    const [us, peer] = [ours(), table(PEER_MAC, target)];
    t.equal(us.resolve(target, source, 0), Resolution.PENDING);
    t.equal(us.resolve(target, source, 10), Resolution.PENDING, 'asking again asks nobody');
    t.equal(carry(us, peer, 20), 1);
    t.equal(carry(peer, us, 30), 1);
    t.equal(us.resolve(target, source, 40), Resolution.REACHABLE);
    t.same(us.macOf(target), PEER_MAC);
    t.same(peer.macOf(source), MAC, 'who is asked learns who asked');
    t.equal(us.pollTimeout(), Number.POSITIVE_INFINITY);
  });

  t.test(`neighbours: ${family} asks four times in two seconds, then gives up with words`, async (t) => {
    const us = ours();
    let asked = 0;
    us.resolve(target, source, 0);
    for (let now = 0; now <= 2_000_000; now += 100_000) {
      us.handleTimeout(now);
      asked += us.burst.count;
      us.burst.reset();
    }
    t.equal(asked, 4);
    t.equal(us.resolve(target, source, 2_000_000), Resolution.FAILED);
    t.match(us.failureText(target), /no answer from (10\.1\.0\.2|fe80::2): .* asked 4 times/);
    t.equal(us.resolve(target, source, 4_000_000), Resolution.PENDING, 'a failure is not for ever');
  });
}

t.test('neighbours: says nothing for addresses that are not its own, or when the kernel answers', async (t) => {
  const [us, stranger] = [ours(), table(PEER_MAC, toGid('10.1.0.9'))];
  stranger.resolve(toGid('10.1.0.7'), toGid('10.1.0.9'), 0);
  carry(stranger, us, 0);
  t.equal(us.burst.count, 0);
  const silent = new Neighbours({ mac: MAC, addresses: [OUR_IPV4], answers: false });
  stranger.resolve(OUR_IPV4, toGid('10.1.0.9'), 0);
  carry(stranger, silent, 0);
  t.equal(silent.burst.count, 0);
});

t.test('neighbours: an unasked answer teaches nothing; a new MAC of a known neighbour is told', async (t) => {
  const us = ours();
  const liar = table(PEER_MAC, toGid('10.1.0.2'));
  liar.resolve(toGid('10.1.0.77'), toGid('10.1.0.2'), 0);
  carry(liar, us, 0);
  t.equal(us.count, 0, 'a question for somebody else');
  us.resolve(toGid('10.1.0.2'), OUR_IPV4, 0);
  carry(us, liar, 0);
  carry(liar, us, 0);
  const moves: Uint8Array[] = [];
  us.onMove = (_gid, mac) => moves.push(mac.slice());
  const moved = table(Uint8Array.of(2, 0, 0, 0, 0, 3), toGid('10.1.0.2'));
  moved.resolve(OUR_IPV4, toGid('10.1.0.2'), 10);
  carry(moved, us, 10);
  t.same(moves, [Uint8Array.of(2, 0, 0, 0, 0, 3)]);
});

t.test('neighbours: passes over malformed messages', async (t) => {
  const frame = new TransmitBurst(4096, 4);
  const us = ours();
  const peer = table(PEER_MAC, toGid('fe80::2'));
  const fresh = (): DataView => {
    peer.resolve(OUR_IPV6, toGid('fe80::2'), 0);
    const copy = new DataView(peer.burst.bytes.slice(0, peer.burst.frameBytes[0]).buffer);
    peer.burst.reset();
    return copy;
  };
  const good = fresh();
  const bodyAt = Ethernet.BYTES + Ipv6.BYTES;
  const spoil: [string, (view: DataView) => void][] = [
    ['a hop limit below 255', (view) => view.setUint8(Ethernet.BYTES + 7, 254)],
    ['a wrong checksum', (view) => view.setUint16(bodyAt + 2, 1)],
    ['a code', (view) => view.setUint8(bodyAt + 1, 1)],
    ['a payload length past the frame', (view) => view.setUint16(Ethernet.BYTES + 4, 4000)],
  ];
  for (const [name, change] of spoil) {
    const view = new DataView(good.buffer.slice(0));
    change(view);
    us.handleFrame(view, 0, view.byteLength, 0);
    t.equal(us.burst.count, 0, name);
  }
  for (let end = 0; end < good.byteLength; end++) us.handleFrame(good, 0, end, 0);
  t.equal(us.burst.count, 0, 'cut short');
  Arp.write(frame.view, Ethernet.BYTES, Arp.REQUEST, 0x0100, 1, 0x0a010002, 0, 0, 0x0a010001);
  Ethernet.write(frame.view, 0, 0xffff, 0xffff_ffff, 0x0200, 2, Ethernet.ETHER_TYPE_ARP);
  us.handleFrame(frame.view, 0, 42, 0);
  t.equal(us.count, 0, 'a multicast MAC is nobody');
  us.handleFrame(good, 0, good.byteLength, 0);
  t.ok(us.burst.count > 0, 'the good one is answered');
});

t.test('neighbours: answers duplicate address detection to all nodes', async (t) => {
  const us = ours();
  const prober = table(PEER_MAC);
  prober.resolve(OUR_IPV6, new Uint8Array(16), 0);
  carry(prober, us, 0);
  t.equal(us.burst.count, 1);
  const { view } = us.burst;
  t.equal(Ethernet.destinationHi(view, 0), 0x3333);
  t.equal(Nd.flags(view, Ethernet.BYTES + Ipv6.BYTES), Nd.OVERRIDE, 'not as solicited');
  t.equal(Ipv6.destinationWord(view, Ethernet.BYTES, 0) >>> 0, 0xff02_0000);
});

t.test('neighbours: the table has an end, and forgets answered ones first', async (t) => {
  const us = ours();
  for (let i = 0; i < 5000; i++) us.resolve(toGid(`10.${2 + (i >> 8)}.${i & 0xff}.1`), OUR_IPV4, 0);
  t.equal(us.count, 4096);
  t.equal(us.resolve(toGid('10.1.0.2'), OUR_IPV4, 0), Resolution.FAILED, 'all of them are waited for');
});

t.test('neighbours: multicast addresses have their MAC by rule', async (t) => {
  t.same(multicastMac(toGid('224.129.2.3')), Uint8Array.of(1, 0, 0x5e, 1, 2, 3));
  t.same(multicastMac(toGid('ff02::1:ff00:1234')), Uint8Array.of(0x33, 0x33, 0xff, 0, 0x12, 0x34));
  t.equal(multicastMac(toGid('10.0.0.1')), undefined);
  t.equal(multicastMac(toGid('fe80::1')), undefined);
});
