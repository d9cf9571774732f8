/** What a tenant’s vRNIC takes from the overlay: frames in, verdicts out. SPEC-CHECKLIST R-183 … R-185, T-01; RFC 7348 §5. */
import t from 'tap';
import { Admission, Admitter } from '../../vswitch/admit.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import { TenantView } from '../../vswitch/tenant-view.ts';
import { toGid } from '../../workers/linux/netdev.ts';

const HOST_A = toGid('192.0.2.1');
const HOST_B = toGid('192.0.2.2');
const [ONE, TWO, SIX] = [toGid('10.0.0.1'), toGid('10.0.0.2'), toGid('fd00::2')];
const MAC_ONE = macOf(100, ONE);
const MAC_TWO = macOf(100, TWO);
const MAC_SIX = macOf(100, SIX);

const tenant = (rules: Tenant['rules'] = []): Tenant => ({
  name: 'blue',
  vni: 100,
  endpoints: [
    { address: ONE, mac: MAC_ONE, host: HOST_A },
    { address: TWO, mac: MAC_TWO, host: HOST_B },
    { address: SIX, mac: MAC_SIX, host: HOST_B },
  ],
  rules,
});

interface Frame {
  readonly flags?: number;
  readonly vni?: number;
  readonly to?: Uint8Array;
  readonly from?: Uint8Array;
  readonly source?: Uint8Array;
  readonly type?: number;
  readonly length?: number;
}

/** VXLAN, Ethernet, and as much of an IP header as is looked at. */
function frame({
  flags = 8,
  vni = 100,
  to = MAC_ONE,
  from = MAC_TWO,
  source = TWO,
  type,
  length = 90,
}: Frame): DataView {
  const bytes = new Uint8Array(90);
  const isIpv6 = source[10] !== 0xff;
  bytes.set([flags, 0, 0, 0, vni >> 16, vni >> 8, vni, 0]);
  bytes.set(to, 8);
  bytes.set(from, 14);
  new DataView(bytes.buffer).setUint16(20, type ?? (isIpv6 ? 0x86dd : 0x0800));
  if (isIpv6) bytes.set(source, 22 + 8);
  else bytes.set(source.subarray(12), 22 + 12);
  return new DataView(bytes.buffer, 0, length);
}

const admit = (of: Frame, vtep = HOST_B, rules: Tenant['rules'] = []): Admission => {
  const view = frame(of);
  return new Admitter([new TenantView(tenant(rules), ONE)], MAC_ONE).admit(view, 0, view.byteLength, vtep);
};

t.test('a frame of the tenant, from an endpoint, from its host, is taken', async (t) => {
  t.equal(admit({}), Admission.ACCEPT);
  t.equal(admit({ from: MAC_SIX, source: SIX }), Admission.ACCEPT);
});

t.test('everything else is dropped, each for its reason', async (t) => {
  t.equal(admit({ vni: 101 }), Admission.VNI, 'another tenant');
  t.equal(admit({ flags: 0 }), Admission.VNI, 'no VNI at all');
  t.equal(admit({ to: MAC_TWO }), Admission.NOT_OURS);
  t.equal(admit({ from: macOf(100, toGid('10.0.0.9')) }), Admission.SPOOFED, 'a MAC that nobody has');
  t.equal(admit({ source: toGid('10.0.0.3') }), Admission.SPOOFED, 'an address that is not the endpoint’s');
  t.equal(admit({ source: SIX }), Admission.SPOOFED, 'another endpoint’s address');
  t.equal(admit({ type: 0x0806 }), Admission.SPOOFED, 'no IP at all');
  t.equal(admit({}, HOST_A), Admission.SPOOFED, 'from a host where the endpoint does not live');
  for (const length of [0, 7, 8, 21, 41]) t.equal(admit({ length }), Admission.SHORT, `${length} octets`);
});

t.test(
  'a small world, exhaustively: of all VNIs, MACs, addresses and hosts one combination passes for each peer',
  async (t) => {
    let taken = 0;
    // One that remembers what it took last says what one that is new says.
    const remembering = new Admitter([new TenantView(tenant(), ONE)], MAC_ONE);
    const again = (of: Frame, vtep: Uint8Array): Admission => {
      const view = frame(of);
      return remembering.admit(view, 0, view.byteLength, vtep);
    };
    const macs = [MAC_ONE, MAC_TWO, MAC_SIX, macOf(101, TWO)];
    for (const vni of [99, 100, 101])
      for (const to of macs)
        for (const from of macs)
          for (const source of [ONE, TWO, SIX, toGid('10.0.0.3')])
            for (const vtep of [HOST_A, HOST_B, toGid('192.0.2.3')]) {
              const verdict = admit({ vni, to, from, source }, vtep);
              if (verdict === Admission.ACCEPT) taken++;
              for (const before of [{}, { from: MAC_SIX, source: SIX }]) {
                again(before, HOST_B);
                if (again({ vni, to, from, source }, vtep) !== verdict) t.fail('remembered');
              }
            }
    t.equal(taken, 3, 'oneself, two, six');
  },
);

t.test('a rule that denies what comes in', async (t) => {
  const any = { address: new Uint8Array(16), bits: 0 };
  const deny = {
    id: 'no',
    priority: 1,
    action: 'deny',
    source: { address: TWO, bits: 128 },
    destination: any,
  } as const;
  t.equal(admit({}, HOST_B, [deny]), Admission.DENIED);
  t.equal(admit({ from: MAC_SIX, source: SIX }, HOST_B, [deny]), Admission.ACCEPT);
});

t.test('an endpoint of several addresses may use each of them, and rules see which', async (t) => {
  const more = toGid('10.0.0.22');
  const own = toGid('10.0.0.11');
  const rules: Tenant['rules'] = [
    {
      id: 'wall',
      priority: 1,
      action: 'deny',
      source: { address: more, bits: 128 },
      destination: { address: own, bits: 128 },
    },
  ];
  const [self, theirs] = tenant().endpoints;
  const network = {
    ...tenant(rules),
    endpoints: [
      { ...self!, also: [own] },
      { ...theirs!, also: [more] },
    ],
  };
  const admitter = new Admitter(
    [ONE, own].map((address) => new TenantView(network, address)),
    MAC_ONE,
  );
  const admitTo = (source: Uint8Array, destination: Uint8Array): Admission => {
    const view = frame({ source });
    for (let i = 0; i < 4; i++) view.setUint8(22 + 16 + i, destination[12 + i]!);
    return admitter.admit(view, 0, view.byteLength, HOST_B);
  };
  t.equal(admitTo(TWO, ONE), Admission.ACCEPT);
  t.equal(admitTo(more, ONE), Admission.ACCEPT);
  t.equal(admitTo(TWO, own), Admission.ACCEPT);
  t.equal(admitTo(more, own), Admission.DENIED);
  t.equal(admitTo(toGid('10.0.0.23'), ONE), Admission.SPOOFED);
});
