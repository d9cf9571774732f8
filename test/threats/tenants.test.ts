/** Threats between tenants and from the underlay: SPEC-CHECKLIST §4.1, T-01 … T-04 and T-12. */
import t from 'tap';
import { WrOpcode } from '../../rnic/constants.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Opcode from '../../wire/opcode.ts';
import type { OpCode } from '../../wire/types.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { type Defaults, frameOf, type Packet } from '../drills/language/packet.ts';
import { OURS, THEIRS } from '../support/engine.ts';
import { Random } from '../support/sim/random.ts';
import { IOVA, MACS, STRANGER, TenantHost, tenantOf, VTEPS } from './tenant-host.ts';

const BLUE = 100;
const RED = 200;
const BTH_AT = 42;
/** The PSN that a new QP of a `TestEngine` expects. */
const PSN = 5;

const TRANSPORTS = { rc: 'RC', uc: 'UC', ud: 'UD' } as const;
const defaultsFor = (victim: TenantHost, kind: keyof typeof TRANSPORTS): Defaults => ({
  transport: TRANSPORTS[kind],
  dest: victim.qps[kind].qpn,
  from: THEIRS,
  to: OURS,
  va: IOVA,
  rKey: victim.memory.key,
  qKey: 0x1111,
  isIpv6: false,
});
const KNOWN = Array.from({ length: 256 }, (_, i) => i as OpCode).filter((opcode) => Opcode.flags(opcode) !== 0);
const WRITE: Packet = { opcode: 'RDMA_WRITE_ONLY', psn: PSN, payload: 'stolen?!', ackReq: true };

/** Every opcode to every QP of the victim and some QPNs beside, with a good key, the PSN that it expects and the Q_Key that it has. */
function* attacks(victim: TenantHost): Generator<Uint8Array<ArrayBuffer>> {
  for (const kind of ['rc', 'uc', 'ud'] as const) {
    const defaults = defaultsFor(victim, kind);
    for (const opcode of KNOWN) {
      const payload = (Opcode.flags(opcode) & Opcode.HAS_PAYLOAD) !== 0 ? 8 : 0;
      yield frameOf({ opcode: Opcode.name(opcode), psn: PSN, payload, ackReq: true, swapOrAdd: 1n }, defaults);
    }
    for (const dest of [0, 1, 2, victim.qps.ud.qpn + 1, 0xff_ffff])
      yield frameOf({ ...WRITE, dest }, defaultsFor(victim, 'rc'));
  }
  const plain = frameOf(WRITE, defaultsFor(victim, 'rc'));
  for (let opcode = 0; opcode < 256; opcode++) {
    if (Opcode.flags(opcode as OpCode) !== 0) continue;
    const frame = plain.slice();
    const view = new DataView(frame.buffer);
    view.setUint8(BTH_AT, opcode);
    Icrc.write(view, frame.length - Icrc.BYTES, Icrc.compute(view, frame, 14, frame.length - Icrc.BYTES));
    yield frame;
  }
}

t.test('T-03: the right packet in the right VXLAN does arrive: the attacks below would be good packets', (t) => {
  const victim = new TenantHost(t, tenantOf('red', RED));
  victim.receive(frameOf(WRITE, defaultsFor(victim, 'rc')), RED, VTEPS[1]);
  t.equal(Buffer.from(victim.memory.bytes.subarray(0, 8)).toString(), 'stolen?!');
  t.equal(victim.sent.length, 1);
  t.equal(victim.counters().rx_write_requests, 1);
  t.end();
});

t.test(
  'T-03: with the key, PSN and Q_Key of a victim, and every opcode, another tenant moves nothing but a drop counter',
  (t) => {
    const victim = new TenantHost(t, tenantOf('red', RED));
    const before = victim.snapshot();
    let sent = 0;
    for (const frame of attacks(victim)) {
      for (const vni of [BLUE, 0, RED - 1, RED + 1, 0xff_ffff, RED << 8, RED >> 8]) {
        for (const vtep of [...VTEPS, STRANGER]) {
          victim.receive(frame, vni & 0xff_ffff, vtep);
          sent++;
        }
      }
      victim.receive(frame, RED, VTEPS[1], 0); // its VNI, but no flag that says so
      sent++;
    }
    t.ok(sent > 2000);
    t.comment(`${sent} frames`);
    t.strictSame(victim.snapshot(), before);
    t.strictSame(victim.sent, []);
    t.strictSame(victim.engine.events(), []);
    const { drop_vni, drop_vtep, ...others } = victim.counters();
    t.strictSame([drop_vni! + drop_vtep!, others], [sent, {}]);
    t.end();
  },
);

t.test('T-01: with everything right but the host that it comes from, a frame moves nothing but a drop counter', (t) => {
  const victim = new TenantHost(t, tenantOf('red', RED));
  const before = victim.snapshot();
  let sent = 0;
  for (const frame of attacks(victim)) {
    for (const vtep of [STRANGER, VTEPS[0]]) {
      victim.receive(frame, RED, vtep);
      sent++;
    }
  }
  t.strictSame([victim.snapshot(), victim.sent], [before, []]);
  t.strictSame(victim.counters(), { drop_spoofed: sent / 2, drop_vtep: sent / 2 });
  t.end();
});

t.test('T-02: an endpoint that gives itself another address or MAC moves nothing but a drop counter', (t) => {
  const third = { address: toGid('10.0.0.3'), mac: Uint8Array.of(2, 0, 0, 0, 0, 3), host: STRANGER };
  const network = tenantOf('red', RED);
  const victim = new TenantHost(t, { ...network, endpoints: [...network.endpoints, third] });
  const before = victim.snapshot();
  const withMac = (mac: Uint8Array, packet: Packet): Uint8Array => {
    const frame = frameOf(packet, defaultsFor(victim, 'rc'));
    frame.set(mac, 6);
    return frame;
  };
  // The third endpoint's own host, as the second endpoint: by MAC, by address, by both.
  victim.receive(withMac(third.mac, WRITE), RED, STRANGER);
  victim.receive(withMac(MACS[1]!, { ...WRITE, from: 0x0a00_0003 }), RED, STRANGER);
  victim.receive(withMac(MACS[1]!, WRITE), RED, STRANGER);
  // As the victim itself, as nobody, as everybody.
  victim.receive(withMac(MACS[0]!, { ...WRITE, from: OURS }), RED, VTEPS[1]);
  victim.receive(withMac(Uint8Array.of(2, 9, 9, 9, 9, 9), WRITE), RED, VTEPS[1]);
  victim.receive(withMac(new Uint8Array(6).fill(0xff), WRITE), RED, VTEPS[1]);
  for (const from of [0, 0xffff_ffff, 0x7f00_0001, 0xe000_0001])
    victim.receive(withMac(MACS[1]!, { ...WRITE, from }), RED, VTEPS[1]);
  t.strictSame(victim.counters(), { drop_spoofed: 10 });
  // As itself: the network takes it, the connection does not.
  victim.receive(withMac(third.mac, { ...WRITE, from: 0x0a00_0003 }), RED, STRANGER);
  t.strictSame(victim.counters(), { drop_spoofed: 10, drop_address: 1 });
  t.strictSame([victim.snapshot(), victim.sent], [before, []]);
  t.end();
});

t.test(
  'T-04: two tenants of one address, MAC, QPN, key and PSN: everybody hears every frame, and each takes its own alone',
  (t) => {
    const [blue, red] = [new TenantHost(t, tenantOf('blue', BLUE)), new TenantHost(t, tenantOf('red', RED))];
    t.strictSame([blue.qps.rc.qpn, blue.memory.key], [red.qps.rc.qpn, red.memory.key], 'they cannot be told apart');
    const everybody = (frame: Uint8Array, vni: number): void => {
      for (const host of [blue, red]) host.receive(frame, vni, VTEPS[1]);
    };
    const rounds = 100;
    for (let i = 0; i < rounds; i++) {
      for (const [host, vni, letter] of [
        [blue, BLUE, 'b'],
        [red, RED, 'r'],
      ] as const) {
        const [va, payload] = [IOVA + 8 * i, letter.repeat(8)];
        everybody(frameOf({ ...WRITE, psn: PSN + i, va, payload }, defaultsFor(host, 'rc')), vni);
        everybody(
          frameOf({ opcode: 'FETCH_ADD', psn: PSN + i, va: IOVA + 8192, swapOrAdd: 1n }, defaultsFor(host, 'rc')),
          0xbad,
        );
      }
    }
    for (const [host, letter] of [
      [blue, 'b'],
      [red, 'r'],
    ] as const) {
      t.equal(Buffer.from(host.memory.bytes.subarray(0, 8 * rounds)).toString(), letter.repeat(8 * rounds));
      t.strictSame(host.memory.bytes.subarray(8192, 8200), new Uint8Array(8));
      const { rx_write_requests, drop_vni, rx_atomic_requests } = host.counters();
      t.strictSame([rx_write_requests, drop_vni, rx_atomic_requests], [rounds, 3 * rounds, undefined]);
      t.equal(host.sent.length, rounds, 'an acknowledgement for each');
    }
    t.end();
  },
);

t.test('T-04: what one of two equal tenants sends is no answer to the other', (t) => {
  const [blue, red] = [new TenantHost(t, tenantOf('blue', BLUE)), new TenantHost(t, tenantOf('red', RED))];
  for (const { engine, qps, memory } of [blue, red]) {
    engine.postSend(qps.rc, {
      wrId: 7,
      opcode: WrOpcode.RDMA_WRITE,
      flags: 2,
      sges: [{ address: IOVA, length: 8, lKey: memory.key }],
      rKey: 1,
    });
    engine.turn();
  }
  const answer = frameOf({ opcode: 'ACKNOWLEDGE', syndrome: 'ACK', psn: 9, msn: 1 }, defaultsFor(red, 'rc'));
  red.receive(answer, BLUE, VTEPS[1]);
  t.strictSame(red.counters().drop_vni, 1);
  t.ok(red.engine.rnic.pollTimeout() < Number.POSITIVE_INFINITY, 'it waits on');
  red.receive(answer, RED, VTEPS[1]);
  t.equal(red.counters().drop_vni, 1);
  t.equal(red.counters().rcvd_pkts, 1);
  t.end();
});

t.test(
  'T-12: from a host of the tenant: cut, nested, fragmented, oversized and random VXLAN is dropped by name and answered with nothing',
  (t) => {
    const victim = new TenantHost(t, tenantOf('red', RED));
    const before = victim.snapshot();
    const good = frameOf(WRITE, defaultsFor(victim, 'rc'));
    const headed = (body: Uint8Array): Uint8Array => Uint8Array.from([8, 0, 0, 0, 0, 0, RED, 0, ...body]);
    let frames = 0;
    const receive = (octets: Uint8Array): void => {
      victim.receiveOctets(octets, VTEPS[1]);
      frames++;
    };
    for (let cut = 0; cut < good.length; cut++) receive(headed(good.subarray(0, cut)));
    const fragment = good.slice();
    fragment[14 + 6] = 0x20;
    const options = good.slice();
    options[14] = 0x46;
    const nested = good.slice();
    new DataView(nested.buffer).setUint16(36, 4789);
    const long = good.slice();
    new DataView(long.buffer).setUint16(16, 60_000);
    for (const frame of [fragment, options, nested, long]) receive(headed(frame));
    // From the BTH on, but for its octet of reserved bits that hops may change, the ICRC covers every bit.
    const random = new Random(12);
    const from = 8 + BTH_AT;
    for (let i = 0; i < 20_000; i++) {
      const octets = headed(good);
      const at = from + random.below(octets.length - from);
      if (at === from + 4) continue;
      octets[at]! ^= 1 + random.below(255);
      receive(octets);
    }
    t.strictSame(victim.snapshot(), before, 'nothing has changed');
    t.strictSame(victim.sent, [], 'nobody was answered');
    const dropped = Object.entries(victim.counters()).filter(
      ([name]) => name.startsWith('drop_') || name === 'rx_icrc_encapsulated',
    );
    const sum = dropped.reduce((total, [, count]) => total + count, 0);
    // One is not counted: nested VXLAN is no RoCE, and so for nobody.
    t.equal(sum, frames - 1, JSON.stringify(victim.counters()));
    t.end();
  },
);

t.test('T-12: a flood of broadcast and multicast from a host of the tenant is answered with nothing', (t) => {
  const victim = new TenantHost(t, tenantOf('red', RED));
  for (const mac of [
    new Uint8Array(6).fill(0xff),
    Uint8Array.of(1, 0, 0x5e, 0, 0, 1),
    Uint8Array.of(0x33, 0x33, 0, 0, 0, 1),
  ]) {
    const frame = frameOf(WRITE, defaultsFor(victim, 'rc'));
    frame.set(mac, 0);
    for (let i = 0; i < 1000; i++) victim.receive(frame, RED, VTEPS[1]);
  }
  t.strictSame(victim.sent, []);
  t.strictSame(victim.counters(), { drop_inner_address: 3000 });
  t.end();
});
