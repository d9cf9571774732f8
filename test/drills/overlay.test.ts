/** Drills: what a tenant's vRNIC takes from the overlay, frame by frame. SPEC-CHECKLIST §2.8. */
import t from 'tap';
import { Admission, Admitter } from '../../vswitch/admit.ts';
import { macOf } from '../../vswitch/model.ts';
import { TenantView } from '../../vswitch/tenant-view.ts';
import { toGid } from '../../workers/linux/netdev.ts';

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
