/** One VTEP's socket and those who share it: who gets which frame, who is heard, and what goes to all hosts of a tenant. */
import t, { type Test } from 'tap';
import { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Udp from '../../wire/udp.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { KeptFrames } from '../../workers/overlay/kept-frames.ts';
import { NOWHERE } from '../../workers/overlay/vtep-table.ts';
import { joinVtep, type VxlanMember } from '../../workers/overlay/vxlan-hub.ts';
import { STRANGER, UdpVxlanPort } from '../../workers/ports/udp-vxlan.ts';
import { eventually } from '../support/eventually.ts';

const [HERE, THERE, ELSEWHERE] = [toGid('127.0.0.1'), toGid('127.0.0.2'), toGid('127.0.0.3')];
const [BLUE, RED] = [100, 200];
const mac = (last: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 0, last);
const BROADCAST = new Uint8Array(6).fill(0xff);
const GROUP = Uint8Array.of(1, 0, 0x5e, 1, 2, 3);
const FRAME_BYTES = 100;
const TAG_AT = FRAME_BYTES - 1;

interface Frame {
  readonly vni?: number;
  readonly to: Uint8Array;
  readonly from?: Uint8Array;
  readonly type?: number;
  readonly udpPort?: number;
  readonly tag: number;
}

/** VXLAN, Ethernet, IPv4, UDP; the last octet tells frames apart. */
function put(burst: TransmitBurst, destination: number, frame: Frame): void {
  const { vni = BLUE, to, from = mac(9), type = Ethernet.ETHER_TYPE_IPV4, udpPort = Udp.PORT_ROCE, tag } = frame;
  const at = burst.end;
  Vxlan.write(burst.view, at, vni);
  const ethernetAt = at + Vxlan.BYTES;
  burst.bytes.set(to, ethernetAt);
  burst.bytes.set(from, ethernetAt + 6);
  burst.view.setUint16(ethernetAt + 12, type);
  const ipAt = ethernetAt + Ethernet.BYTES;
  Ipv4.write(burst.view, ipAt, 0, FRAME_BYTES - Vxlan.BYTES - Ethernet.BYTES, 0, 64, Ipv4.PROTOCOL_UDP, 1, 2);
  Udp.write(burst.view, ipAt + Ipv4.BYTES, 1, udpPort, 30);
  burst.view.setUint8(at + TAG_AT, tag);
  const i = burst.count++;
  burst.at[i] = at;
  burst.frameBytes[i] = FRAME_BYTES;
  burst.segmentBytes[i] = 0;
  burst.headerBytes[i] = 0;
  burst.destination[i] = destination;
  burst.end = at + FRAME_BYTES;
}

interface Got {
  readonly tag: number;
  readonly source: number;
}

function read(port: { receive(burst: ReceiveBurst): number }, burst: ReceiveBurst): Got[] {
  port.receive(burst);
  const got: Got[] = [];
  for (let i = 0; i < burst.count; i++) {
    const end = burst.at[i]! + burst.frameBytes[i]!;
    for (let at = burst.at[i]!; at < end; at += FRAME_BYTES)
      got.push({ tag: burst.bytes[at + TAG_AT]!, source: burst.source[i]! });
  }
  return got;
}

class Lab {
  readonly members: VxlanMember[] = [];
  readonly #inbox = new Map<VxlanMember, Got[]>();
  readonly #receive = new ReceiveBurst();
  readonly #t: Test;

  constructor(t: Test) {
    this.#t = t;
  }

  join(vni: number, last: number, isSwitch = false): VxlanMember {
    const member = joinVtep({ local: HERE, mtu: 1450, udpPort: 0 }, vni, macNumber(mac(last)), isSwitch);
    this.#t.teardown(() => member.close());
    member.hub.nameHosts(member, [HERE, THERE]);
    this.members.push(member);
    this.#inbox.set(member, []);
    return member;
  }

  /** A host whose VTEP has the hub's UDP port. */
  host(address: Uint8Array): UdpVxlanPort {
    const { udpPort } = this.members[0]!.hub.port;
    const host = new UdpVxlanPort({ local: address, mtu: 1450, udpPort });
    this.#t.teardown(() => host.close());
    host.setVtep(0, HERE, udpPort);
    return host;
  }

  send(host: UdpVxlanPort, ...frames: Frame[]): void {
    const burst = new TransmitBurst(4096);
    for (const frame of frames) put(burst, 0, frame);
    host.transmit(burst);
  }

  /** Polls all members until one has been given the tag: what was sent before it has come as well. */
  async tagsUntil(last: number): Promise<number[][]> {
    await eventually(() => {
      for (const member of this.members) this.#inbox.get(member)!.push(...read(member, this.#receive));
      return this.members.some((member) => this.#inbox.get(member)!.some(({ tag }) => tag === last));
    });
    for (const member of this.members) this.#inbox.get(member)!.push(...read(member, this.#receive));
    return this.members.map((member) =>
      this.#inbox
        .get(member)!
        .splice(0)
        .map(({ tag }) => tag),
    );
  }

  async gotUntil(member: VxlanMember, last: number): Promise<Got[]> {
    const got = this.#inbox.get(member)!;
    await eventually(() => {
      got.push(...read(member, this.#receive));
      return got.some(({ tag }) => tag === last);
    });
    return got.splice(0);
  }
}

t.test('who has a sink is handed its frames where they lie, in the time of who read them', async (t) => {
  const lab = new Lab(t);
  const [reader, other] = [lab.join(BLUE, 1), lab.join(RED, 1)];
  const handed: [number, number][] = [];
  other.sink = ({ bytes, at }, i, now) => handed.push([bytes[at[i]! + TAG_AT]!, now]);
  reader.hub.now = 5;
  const host = lab.host(THERE);
  lab.send(host, { vni: RED, to: mac(1), tag: 1 });
  lab.send(host, { to: mac(1), tag: 2 });
  const burst = new ReceiveBurst();
  const own: Got[] = [];
  await eventually(() => {
    own.push(...read(reader, burst));
    return own.length > 0;
  });
  t.match(own, [{ tag: 2 }]);
  t.strictSame(handed, [[1, 5]]);
  t.match(other.counters, { rxFrames: 1, rxBytes: FRAME_BYTES });
  t.ok(reader.errandMicros > 0, 'an errand');
  t.equal(other.errandMicros, 0);
});

t.test('once the socket was empty, only who found it so asks again, until he leaves', async (t) => {
  const lab = new Lab(t);
  const [first, second] = [lab.join(BLUE, 1), lab.join(RED, 1)];
  const burst = new ReceiveBurst();
  const calls = (): number => first.hub.port.counters.rxCalls;
  first.receive(burst);
  const before = calls();
  second.receive(burst);
  t.equal(calls(), before);
  first.receive(burst);
  t.equal(calls(), before + 1);
  t.ok(first.isAsked);
  t.notOk(second.isAsked, 'the first reads for it');
  let isStirred = false;
  second.stir = () => {
    isStirred = true;
  };
  first.close();
  t.ok(isStirred && second.isAsked, 'somebody else has to read now');
  second.receive(burst);
  t.equal(calls(), before + 2);
  isStirred = false;
  second.keep(new Uint8Array(FRAME_BYTES), 0, FRAME_BYTES, 0);
  t.ok(isStirred, 'a frame waits for it');
});

t.test('each member gets what is for its VNI and MAC; what nobody has goes to one who drops it by name', async (t) => {
  const lab = new Lab(t);
  lab.join(BLUE, 1);
  lab.join(BLUE, 2);
  lab.join(RED, 1);
  const there = lab.host(THERE);
  lab.send(
    there,
    { to: mac(1), tag: 1 },
    { to: mac(2), tag: 2 },
    { vni: RED, to: mac(1), tag: 3 },
    { vni: RED, to: mac(2), tag: 4 },
    { vni: 300, to: mac(1), tag: 5 },
    { to: mac(2), tag: 6 },
  );
  t.strictSame(await lab.tagsUntil(6), [
    [1, 5],
    [2, 6],
    [3, 4],
  ]);
});

t.test(
  'multicast of RoCE goes to all members of its VNI but the sender, other multicast to switch ports only',
  async (t) => {
    const lab = new Lab(t);
    lab.join(BLUE, 1);
    lab.join(BLUE, 2, true);
    lab.join(RED, 3, true);
    const there = lab.host(THERE);
    lab.send(
      there,
      { to: GROUP, tag: 1 },
      { to: BROADCAST, type: Ethernet.ETHER_TYPE_ARP, tag: 2 },
      { to: GROUP, udpPort: 5353, tag: 3 },
      { to: mac(7), tag: 4 },
      { to: mac(1), tag: 5 },
    );
    t.strictSame(await lab.tagsUntil(5), [[1, 5], [1, 2, 3, 4], []]);
  },
);

t.test('who names a host hears it; who is named no more is a stranger, and nothing goes there', async (t) => {
  const lab = new Lab(t);
  const member = lab.join(BLUE, 1);
  const [there, elsewhere] = [lab.host(THERE), lab.host(ELSEWHERE)];
  const index = member.hub.vtepIndex(THERE);
  t.equal(member.hub.vtepIndex(ELSEWHERE), NOWHERE);
  lab.send(elsewhere, { to: mac(1), tag: 1 });
  lab.send(there, { to: mac(1), tag: 2 });
  t.strictSame(await lab.gotUntil(member, 2), [
    { tag: 1, source: STRANGER },
    { tag: 2, source: index },
  ]);
  member.hub.nameHosts(member, [HERE, ELSEWHERE]);
  t.equal(member.hub.vtepIndex(THERE), NOWHERE);
  t.equal(member.hub.vtep(index), undefined);
  t.not(member.hub.vtepIndex(ELSEWHERE), index, 'the number of a host that went is not another’s at once');
  lab.send(there, { to: mac(1), tag: 3 });
  t.strictSame(await lab.gotUntil(member, 3), [{ tag: 3, source: STRANGER }]);
  const burst = new TransmitBurst(4096);
  put(burst, index, { to: mac(5), tag: 4 });
  t.equal(member.transmit(burst), true);
  t.match(member.counters, { txErrors: 1, txFrames: 0 });
});

t.test('a host that two tenants have is known until both have it no more', async (t) => {
  const lab = new Lab(t);
  const [blue, red] = [lab.join(BLUE, 1), lab.join(RED, 1)];
  blue.hub.nameHosts(blue, [HERE]);
  t.not(blue.hub.vtepIndex(THERE), NOWHERE);
  red.close();
  t.equal(blue.hub.vtepIndex(THERE), NOWHERE);
});

t.test(
  'what goes to a group reaches each other host of the tenant once, and the members here, but not the sender',
  async (t) => {
    const lab = new Lab(t);
    const [one] = [lab.join(BLUE, 1), lab.join(BLUE, 2), lab.join(RED, 3)];
    const hosts = [lab.host(THERE), lab.host(ELSEWHERE)];
    for (const host of hosts) host.setVtep(0, HERE, host.udpPort);
    for (const member of lab.members.slice(0, 2)) member.hub.nameHosts(member, [HERE, THERE, ELSEWHERE]);
    const burst = new TransmitBurst(1 << 16);
    for (let tag = 1; tag <= 100; tag++) put(burst, one.group, { to: GROUP, from: mac(1), tag });
    put(burst, one.hub.vtepIndex(THERE), { to: mac(9), from: mac(1), tag: 101 });
    put(burst, one.hub.vtepIndex(ELSEWHERE), { to: mac(9), from: mac(1), tag: 102 });
    t.equal(one.transmit(burst), true);
    const all = Array.from({ length: 100 }, (_, i) => i + 1);
    const receive = new ReceiveBurst();
    for (const [i, host] of hosts.entries()) {
      const got: number[] = [];
      await eventually(() => {
        got.push(...read(host, receive).map(({ tag }) => tag));
        return got.includes(101 + i);
      });
      t.strictSame(got, [...all, 101 + i]);
    }
    t.strictSame(await lab.tagsUntil(100), [[], all, []]);
    t.match(one.counters, { txErrors: 0, txFrames: 202 }, 'copies are counted one by one');
  },
);

t.test('a group of nobody but the sender takes frames and loses none by error', async (t) => {
  const lab = new Lab(t);
  const one = lab.join(BLUE, 1);
  one.hub.nameHosts(one, [HERE]);
  const burst = new TransmitBurst(4096);
  put(burst, one.group, { to: GROUP, from: mac(1), tag: 1 });
  t.equal(one.transmit(burst), true);
  t.match(one.counters, { txErrors: 0 });
});

t.test('frames that wait come in order, whole, and none when there is no room', async (t) => {
  const kept = new KeptFrames();
  const burst = new ReceiveBurst(1 << 20, 64);
  let [put, taken, refused] = [0, 0, 0];
  let state = 1;
  const random = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % limit;
  };
  const waiting: number[] = [];
  const source = new Uint8Array(9100);
  for (let round = 0; round < 20_000; round++) {
    const octets = 8 + random(9000);
    new DataView(source.buffer).setUint32(0, put);
    new DataView(source.buffer).setUint32(octets - 4, put);
    if (kept.put(source, 0, octets, put & 0xff)) waiting.push(put++);
    else refused++;
    if (random(130) !== 0) continue;
    const count = kept.take(burst);
    for (let i = 0; i < count; i++) {
      const expected = waiting.shift();
      const [at, end] = [burst.at[i]!, burst.at[i]! + burst.frameBytes[i]!];
      if (burst.view.getUint32(at) !== expected || burst.view.getUint32(end - 4) !== expected)
        t.fail(`frame ${expected}`);
      taken++;
    }
  }
  t.ok(taken > 1000 && refused > 100, `${taken} taken, ${refused} refused`);
});
