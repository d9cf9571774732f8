/** Drills: what a tenant's vRNIC takes from the overlay, frame by frame. SPEC-CHECKLIST §2.8. */
import t from 'tap';
import { mtuOf } from '../../daemon/tenants.ts';
import { Admission, Admitter } from '../../vswitch/admit.ts';
import { macOf } from '../../vswitch/model.ts';
import { Outcome, PortPipeline } from '../../vswitch/port-pipeline.ts';
import { TenantView } from '../../vswitch/tenant-view.ts';
import { CE, ecnOf, innerClass, outerClass, outerClassOf, setCongested } from '../../vswitch/traffic-class.ts';
import { underlayOf } from '../../vswitch/underlay.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import { readNetdev, toGid } from '../../workers/linux/netdev.ts';
import { flowOf } from '../../workers/ports/flow-sockets.ts';
import { OURS, THEIRS } from '../support/engine.ts';
import { drill, IP_AT } from './language/drill.ts';
import { frameOf as roceFrame } from './language/packet.ts';

const VNI = 5001;
const [US, PEER, VTEP] = [toGid('10.0.0.1'), toGid('10.0.0.2'), toGid('192.0.2.2')];
const [OUR_MAC, PEER_MAC] = [macOf(VNI, US), macOf(VNI, PEER)];
const IPV4 = 0x0800;

/** VXLAN, Ethernet, and an IPv4 header from the peer to us. */
function frameOf(
  more: { flags?: number; reserved?: number; vni?: number; from?: Uint8Array; type?: number } = {},
): DataView {
  const { flags = 0x08, reserved = 0, vni = VNI, from = PEER_MAC, type = IPV4 } = more;
  const view = new DataView(new ArrayBuffer(100));
  const bytes = new Uint8Array(view.buffer);
  view.setUint32(0, ((flags << 24) | reserved) >>> 0);
  view.setUint32(4, ((vni << 8) | (reserved & 0xff)) >>> 0);
  bytes.set(OUR_MAC, 8);
  bytes.set(from, 14);
  view.setUint16(20, type);
  view.setUint8(22, 0x45);
  view.setUint8(31, 17);
  bytes.set(PEER.subarray(12), 34);
  bytes.set(US.subarray(12), 38);
  return view;
}

const endpoints = [
  { address: US, mac: OUR_MAC, host: VTEP },
  { address: PEER, mac: PEER_MAC, host: VTEP },
];
const admitter = new Admitter([new TenantView({ name: 'blue', vni: VNI, endpoints, rules: [] }, US)], OUR_MAC);
const admit = (frame: DataView, end = frame.byteLength): Admission => admitter.admit(frame, 0, end, VTEP);

t.test('R-183: a frame needs the I flag; its reserved bits mean nothing (RFC 7348)', async (t) => {
  t.equal(admit(frameOf()), Admission.ACCEPT);
  t.equal(admit(frameOf({ flags: 0 })), Admission.VNI);
  t.equal(admit(frameOf({ flags: 0xf7 })), Admission.VNI);
  t.equal(admit(frameOf({ flags: 0xff, reserved: 0xff_ffff })), Admission.ACCEPT);
});

t.test('R-184: of all VNIs one is ours', async (t) => {
  for (let bit = 0; bit < 24; bit++) t.equal(admit(frameOf({ vni: VNI ^ (1 << bit) })), Admission.VNI);
  for (const vni of [0, 1, VNI - 1, VNI + 1, 0xff_ffff]) t.equal(admit(frameOf({ vni })), Admission.VNI);
});

t.test('R-185: inside is Ethernet and IP, whole, and not from our own MAC', async (t) => {
  for (let end = 0; end < 42; end++) t.equal(admit(frameOf(), end), Admission.SHORT);
  for (const type of [0x0806, 0x8100, 0x88cc, 0]) t.equal(admit(frameOf({ type })), Admission.SPOOFED);
  t.equal(admit(frameOf({ from: OUR_MAC })), Admission.SPOOFED);
});

const DEFAULTS = { transport: 'UD', dest: 1, from: THEIRS, to: OURS, va: 0, rKey: 0, qKey: 1, isIpv6: false };

t.test(
  'R-013: the one thing that a hop of ours changes, a congestion mark, leaves ICRC and checksum right',
  async (t) => {
    const octets = roceFrame({ opcode: 'SEND_ONLY', payload: 64, trafficClass: 0x6a }, DEFAULTS);
    const view = new DataView(octets.buffer);
    view.setUint16(IP_AT + 10, 0);
    const icrc = Icrc.read(view, octets.length - 4);
    t.ok(setCongested(view, 0));
    t.equal(Ipv4.typeOfService(view, IP_AT), 0x6b);
    t.equal(Icrc.compute(view, octets, IP_AT, octets.length - 4), icrc);
    octets[50]! ^= 1;
    t.not(Icrc.compute(view, octets, IP_AT, octets.length - 4), icrc, 'what is broken is not healed');
  },
);

t.test('R-186: a flow has one outer source port, flows and tenants have different ones', async (t) => {
  const kindOf = (vni: number, sourcePort: number): number => {
    const view = new DataView(new ArrayBuffer(128));
    new Uint8Array(view.buffer).set(new Uint8Array(frameOf({ vni }).buffer));
    view.setUint16(42, sourcePort);
    view.setUint16(44, 4791);
    return flowOf(view, 0, view.byteLength);
  };
  t.equal(kindOf(VNI, 0xc001), kindOf(VNI, 0xc001));
  const ports = Array.from({ length: 32 }, (_, i) => kindOf(VNI, 0xc000 + i));
  t.ok(new Set(ports).size > 1, 'flows of one tenant are spread');
  const others = Array.from({ length: 32 }, (_, i) => kindOf(VNI + 1, 0xc000 + i));
  t.notOk(
    others.some((kind) => ports.includes(kind)),
    'tenants share none',
  );
});

t.test('R-186: a tenant’s packets fit into its link with the tunnel’s headers; more is refused', async (t) => {
  const tenant = { name: 'blue', vni: VNI, endpoints: [], rules: [] };
  const { mtu } = readNetdev('lo');
  t.equal(mtuOf(tenant, VTEP, 'lo'), mtu - 50);
  t.equal(mtuOf(tenant, toGid('fd00::1'), 'lo'), mtu - 70);
  t.equal(mtuOf({ ...tenant, mtu: 1400 }, VTEP, 'lo'), 1400);
  t.throws(() => mtuOf({ ...tenant, mtu: mtu - 49 }, VTEP, 'lo'), /MTU/);
});

/** RFC 6040, §4.2: what comes out, by inner and outer ECN; null: dropped. */
const DECAPSULATED = [
  [0, 0, 0, null],
  [1, 1, 1, 3],
  [2, 2, 2, 3],
  [3, 3, 3, 3],
] as const;

t.test('R-187: ECN goes out with the packet, and comes back where a hop was congested', async (t) => {
  for (const inner of [0, 1, 2, 3]) {
    t.equal(outerClassOf(0, inner), inner, 'encapsulated');
    for (const outer of [0, 1, 2, 3]) {
      const view = new DataView(roceFrame({ opcode: 'SEND_ONLY', trafficClass: 0x28 | inner }, DEFAULTS).buffer);
      const isKept = outer !== CE || setCongested(view, 0);
      t.equal(isKept ? ecnOf(view, 0) : null, DECAPSULATED[inner]![outer], `inner ${inner}, outer ${outer}`);
      t.equal(Ipv4.typeOfService(view, IP_AT) >> 2, 0x28 >> 2, 'DSCP');
    }
  }
});

t.test('R-188: a network sees the DSCP of the tenant, never that of a program', async (t) => {
  for (const asked of [0, 0x28, 0xb8, 0xff]) {
    t.equal(outerClass({}, asked) >> 2, 0);
    t.equal(outerClass({ dscp: 10 }, asked) >> 2, 10);
    t.equal(innerClass({ dscp: 10 }, asked) >> 2, 10);
    t.equal(innerClass({}, asked), asked);
  }
});

t.test('R-189: connections are translated where both hosts offer it, datagrams never', async (t) => {
  const away = toGid('192.0.2.9');
  const [here, there] = [
    { address: US, mac: OUR_MAC, host: VTEP, translates: true },
    { address: PEER, mac: PEER_MAC, host: away, translates: true },
  ];
  t.equal(underlayOf({}, here, there, true), 'translate');
  t.equal(underlayOf({}, here, there, false), 'vxlan');
  t.equal(underlayOf({}, here, { ...there, translates: false }, true), 'vxlan');
  t.equal(underlayOf({}, here, { ...there, host: VTEP }, true), 'local');
});

drill('R-189: a connection has one way: what comes by another is dropped, and datagrams on a translated one', (d) => {
  d.qp('rc');
  d.injectTranslated({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true });
  d.qp('ud');
  d.post.recv();
  d.injectTranslated({ opcode: 'SEND_ONLY', payload: 8 }, { opcode: 'SEND_ONLY', dest: 1 });
  d.injectTranslated({ opcode: 'SEND_ONLY', dest: 0xff_ffff, to: 0xe000_0005, payload: 8 });
  d.expect.nothing();
  d.expect.counter('drop_underlay', 4);
});

drill('R-189: a connection that the rules forbid from now on is in ERR at once, and its application hears it', (d) => {
  const { qpn } = d.qp('rc');
  d.post.write();
  d.post.recv();
  d.sent();
  d.engine.rnic.revoke(qpn);
  d.expect.completion({ wrId: 1, status: 'FATAL_ERR' }, { wrId: 2, status: 'WR_FLUSH_ERR' });
  d.expect.event('QP_FATAL');
  d.expect.state('ERR');
  d.inject({ opcode: 'RDMA_WRITE_ONLY', psn: 0, payload: 8, ackReq: true });
  d.expect.counter('drop_qp_state', 1);
});

t.test('R-190: a frame for one endpoint goes one way, and the same way each time', async (t) => {
  const away = toGid('192.0.2.9');
  const network = { name: 'blue', vni: VNI, endpoints: [endpoints[0]!, { ...endpoints[1]!, host: away }], rules: [] };
  const hostIndex = (host: Uint8Array): number => (host[15] === 9 ? 4 : 1);
  const pipeline = new PortPipeline({ tenant: network, address: US, mtu: 1500, local: VTEP, hostIndex });
  for (let i = 0; i < 5; i++) {
    const frame = unicast();
    t.equal(pipeline.fromPort(frame, 0, frame.byteLength, frame.byteLength - 14, i), Outcome.PEER);
    t.equal(pipeline.destination, 4);
  }
});

/** From us to the peer: Ethernet, IPv4, UDP. */
function unicast(): DataView {
  const view = new DataView(new ArrayBuffer(60));
  const bytes = new Uint8Array(view.buffer);
  bytes.set(PEER_MAC, 0);
  bytes.set(OUR_MAC, 6);
  view.setUint16(12, IPV4);
  Ipv4.write(view, 14, 0, 46, 0, 64, 17, 0x0a00_0001, 0x0a00_0002);
  view.setUint16(38, 26);
  return view;
}
