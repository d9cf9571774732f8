/** A vRNIC's place in a tenant when the tenant changes: paths that were given out, connections, and its own endpoint. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { TransmitBurst } from '../../rnic/burst.ts';
import { Errno } from '../../rnic/commands.ts';
import { Counter } from '../../rnic/counters.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import { type Endpoint, macOf, type Rule, type Tenant, type Underlay } from '../../vswitch/model.ts';
import { macNumber } from '../../vswitch/tenant-view.ts';
import { Transport } from '../../vswitch/transport.ts';
import { readCapture } from '../../wire/capture.ts';
import * as Vxlan from '../../wire/vxlan.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Neighbours } from '../../workers/neighbours.ts';
import { joinLocal } from '../../workers/overlay/local-hub.ts';
import { LOCAL_PORT, Overlay, type Way } from '../../workers/overlay/overlay.ts';
import { TRANSLATED_PORT } from '../../workers/overlay/translation.ts';
import { NOWHERE } from '../../workers/overlay/vtep-table.ts';
import { joinVtep, type VxlanMember } from '../../workers/overlay/vxlan-hub.ts';
import { PathResolver } from '../../workers/path-resolver.ts';
import { CapturePort } from '../../workers/ports/capture.ts';
import { CaptureFile } from '../../workers/ports/capture-file.ts';
import { EACH, Recorder, withoutVxlan } from '../../workers/ports/recorder.ts';

const VNI = 100;
const QPN = 17;
const [ONE, TWO] = [toGid('fd00::1'), toGid('fd00::2')];
const [HERE, THERE, ELSEWHERE] = [toGid('127.0.0.1'), toGid('127.0.0.2'), toGid('127.0.0.3')];
const MAC = macOf(VNI, ONE);
const LINK_LOCAL = toGid('fe80::1');
const ANY = { address: new Uint8Array(16), bits: 0 };
const DENY: Rule = { id: 'wall', priority: 100, action: 'deny', source: ANY, destination: ANY };
const isConnected = (): boolean => true;

const endpoint = (address: Uint8Array, host: Uint8Array): Endpoint => ({ address, mac: macOf(VNI, address), host });
const tenant = (more: Partial<Tenant> = {}): Tenant => ({
  name: 'blue',
  vni: VNI,
  endpoints: [endpoint(ONE, HERE), endpoint(TWO, THERE)],
  rules: [],
  ...more,
});

const VXLAN_PATH: Omit<Path, 'template'> = {
  sourcePort: 0xc123,
  ethernetAt: 8,
  ipAt: 22,
  udpAt: 62,
  isIpv6: true,
  port: 0,
  destination: NOWHERE,
  framing: Framing.HEADER_EACH,
  icrcElided: false,
};

function place(t: Test): { member: VxlanMember; overlay: Overlay; path: Path } {
  const member = joinVtep({ local: HERE, mtu: 1450, udpPort: 0 }, VNI, macNumber(MAC));
  t.teardown(() => member.close());
  const overlay = new Overlay(tenant(), member, MAC, [ONE]);
  const { destination } = overlay.wayTo(ONE, TWO, Transport.RC) as Way;
  const path: Path = { ...VXLAN_PATH, template: new Uint8Array(64), destination };
  overlay.follow(ONE, TWO, Transport.UD, path);
  overlay.opened(
    { qpn: QPN, destQpn: 3, transport: Transport.RC, local: ONE, remote: TWO, underlay: 'vxlan' },
    isConnected,
  );
  return { member, overlay, path };
}

t.test(
  'a path that an address handle keeps ends where a rule forbids it, and leads on when the rule goes',
  async (t) => {
    const { overlay, path } = place(t);
    const before = path.destination;
    t.strictSame(overlay.update(tenant({ rules: [DENY] }), isConnected), [QPN]);
    t.equal(path.destination, NOWHERE);
    overlay.update(tenant(), isConnected);
    t.equal(path.destination, before);
  },
);

t.test('rules of one transport: connections and paths of that one end, others stay', async (t) => {
  const { overlay, path } = place(t);
  const before = path.destination;
  overlay.opened(
    { qpn: QPN + 1, destQpn: 3, transport: Transport.UC, local: ONE, remote: TWO, underlay: 'vxlan' },
    isConnected,
  );
  t.strictSame(overlay.update(tenant({ rules: [{ ...DENY, transport: 'uc' }] }), isConnected), [QPN + 1]);
  t.equal(path.destination, before);
  const refused = { ok: false, errno: Errno.EACCES, reason: 'rule wall of tenant blue denies fd00::2' };
  t.match(overlay.wayTo(ONE, TWO, Transport.UC), refused);
  t.match(overlay.wayTo(ONE, TWO, Transport.RC), { destination: before });
  t.strictSame(overlay.update(tenant({ rules: [{ ...DENY, transport: 'ud' }] }), isConnected), []);
  t.equal(path.destination, NOWHERE);
  t.strictSame(overlay.update(tenant({ rules: [{ ...DENY, transport: 'cm' }] }), isConnected), []);
  t.match(overlay.wayTo(ONE, TWO, Transport.CM), refused);
});

t.test('a rule of one direction is kept at its side: datagrams leave where only the receiver minds', async (t) => {
  const { overlay, path } = place(t);
  const toUs: Rule = { ...DENY, direction: 'in', destination: { address: ONE, bits: 128 } };
  t.strictSame(overlay.update(tenant({ rules: [toUs] }), isConnected), [QPN], 'a connection goes both ways');
  t.not(path.destination, NOWHERE);
  const toThem: Rule = { ...DENY, direction: 'in', destination: { address: TWO, bits: 128 } };
  overlay.update(tenant({ rules: [toThem] }), isConnected);
  t.match(overlay.wayTo(ONE, TWO, Transport.RC), { mac: macOf(VNI, TWO) }, 'the other end refuses');
  overlay.update(tenant({ rules: [{ ...toThem, direction: 'out' }] }), isConnected);
  t.match(overlay.wayTo(ONE, TWO, Transport.RC), { errno: Errno.EACCES });
  t.equal(path.destination, NOWHERE);
});

t.test('groups keep apart what no rule may join, and a connection ends when its peer changes its group', async (t) => {
  const { overlay } = place(t);
  const [one, two] = tenant().endpoints as [Endpoint, Endpoint];
  const apart = (own?: string, other?: string): string | undefined => {
    const endpoints = [
      { ...one, ...(own && { group: own }) },
      { ...two, ...(other && { group: other }) },
    ];
    overlay.update(tenant({ endpoints, rules: [{ ...DENY, action: 'allow' }] }), isConnected);
    const way = overlay.wayTo(ONE, TWO, Transport.RC);
    return 'ok' in way ? way.reason : undefined;
  };
  t.equal(apart('a', 'a'), undefined);
  t.equal(overlay.connections(isConnected).length, 1);
  t.equal(apart('a', 'b'), 'groups of tenant blue keep us apart from fd00::2');
  t.equal(overlay.connections(isConnected).length, 0);
  t.match(apart('a', undefined), /apart/);
  t.match(apart(undefined, 'b'), /apart/);
});

t.test('a path follows its endpoint to another host, and ends with it', async (t) => {
  const { member, overlay, path } = place(t);
  overlay.update(tenant({ endpoints: [endpoint(ONE, HERE), endpoint(TWO, ELSEWHERE)] }), isConnected);
  t.strictSame(member.hub.vtep(path.destination), ELSEWHERE);
  overlay.update(tenant({ endpoints: [endpoint(ONE, HERE)] }), isConnected);
  t.equal(path.destination, NOWHERE);
});

t.test('a peer that has another MAC is another vRNIC: connections to it end, address handles lead to it', async (t) => {
  const { overlay, path } = place(t);
  const mac = Uint8Array.of(2, 0xaa, 0, 0, 0, 2);
  const endpoints = [endpoint(ONE, HERE), { ...endpoint(TWO, THERE), mac }];
  t.strictSame(overlay.update(tenant({ endpoints }), isConnected), [QPN]);
  t.strictSame(path.template.subarray(path.ethernetAt, path.ethernetAt + 6), mac);
  t.not(path.destination, NOWHERE);
});

/** A vRNIC whose peer lives at `host`, in a tenant that has memory, too. */
function placeBeside(t: Test, host: Uint8Array) {
  const endpoints = [endpoint(ONE, HERE), endpoint(TWO, host)];
  const member = joinVtep({ local: HERE, mtu: 1450, udpPort: 0 }, VNI, macNumber(MAC));
  const local = joinLocal(HERE, VNI, macNumber(MAC), 1450);
  t.teardown(() => {
    local.close();
    member.close();
  });
  const overlay = new Overlay(tenant({ endpoints }), member, MAC, [ONE], local);
  let qpn = QPN;
  const listed = (): (Underlay | undefined)[] => overlay.connections(isConnected).map(({ underlay }) => underlay);
  /** As whoever makes a connection does; `port` of a path that is translated. */
  const connect = (wanted?: Underlay, port?: number): { qpn: number; path: Path } => {
    const { destination, underlay } = overlay.wayTo(ONE, TWO, Transport.RC, wanted) as Way;
    const path = {
      ...VXLAN_PATH,
      template: new Uint8Array(64),
      port: port ?? (underlay === 'local' ? LOCAL_PORT : 0),
      destination,
    };
    overlay.follow(ONE, TWO, Transport.RC, path, 0, wanted);
    const connection = { qpn: qpn++, destQpn: 3, transport: Transport.RC, local: ONE, remote: TWO, underlay } as const;
    overlay.opened({ ...connection, ...(wanted && { wanted }) }, isConnected);
    return { qpn: connection.qpn, path };
  };
  const change = (more: Partial<Tenant>): number[] => overlay.update(tenant({ endpoints, ...more }), isConnected);
  return { member, overlay, connect, change, listed };
}

t.test(
  'a path goes on by the underlay that its program asked for when the tenant changes, others by the tenant’s',
  async (t) => {
    const { member, connect, change, listed } = placeBeside(t, HERE);
    const [wired, plain, near] = [connect('vxlan'), connect(), connect('local')];
    const ports = () => [wired, plain, near].map(({ path }) => path.port);
    t.strictSame(change({ rules: [{ ...DENY, transport: 'ud' }] }), []);
    t.strictSame(ports(), [0, LOCAL_PORT, LOCAL_PORT]);
    t.equal(wired.path.destination, member.hub.localIndex);
    t.strictSame(listed(), ['vxlan', 'local', 'local']);
    t.strictSame(change({ underlay: 'vxlan' }), []);
    t.strictSame(ports(), [0, 0, LOCAL_PORT]);
    t.strictSame(listed(), ['vxlan', 'vxlan', 'local'], 'the list says by which they go now');
    t.strictSame(change({ underlay: 'local' }), []);
    t.strictSame(ports(), [LOCAL_PORT, LOCAL_PORT, LOCAL_PORT], 'no wire, whatever programs say');
    t.strictSame(change({}), []);
    t.strictSame(listed(), ['vxlan', 'local', 'local']);
  },
);

t.test('a tenant that wants no wire any more ends connections to other hosts, whoever asked for them', async (t) => {
  const { connect, change, listed } = placeBeside(t, THERE);
  const all = [connect(), connect('vxlan'), connect('translate', TRANSLATED_PORT)];
  t.strictSame(change({ underlay: 'vxlan' }), []);
  t.strictSame(listed(), ['vxlan', 'vxlan', 'translate']);
  t.strictSame(
    change({ underlay: 'local' }),
    all.map(({ qpn }) => qpn),
  );
  t.strictSame(listed(), []);
  for (const { path } of all.slice(0, 2)) t.equal(path.destination, NOWHERE);
});

t.test('a translated connection ends where its tenant wants VXLAN, unless its program asked for it', async (t) => {
  const { connect, change, listed } = placeBeside(t, THERE);
  t.strictSame(change({ underlay: 'translate' }), []);
  const [given, asked] = [connect(undefined, TRANSLATED_PORT), connect('translate', TRANSLATED_PORT)];
  t.strictSame(change({}), [], 'a tenant that leaves it to the hosts minds neither');
  t.strictSame(change({ underlay: 'vxlan' }), [given.qpn]);
  t.strictSame(listed(), ['translate']);
  t.equal(asked.path.port, TRANSLATED_PORT);
});

t.test(
  'a tenant that wants no wire: datagrams to other hosts are refused, frames from there are dropped',
  async (t) => {
    const { member, overlay, change } = placeBeside(t, THERE);
    const other = joinVtep({ local: HERE, mtu: 1450, udpPort: 0 }, VNI + 1, 1);
    t.teardown(() => other.close());
    other.hub.nameHosts(other, [HERE, THERE]);
    const frame = new DataView(new ArrayBuffer(0));
    const admit = () => overlay.admit(frame, 0, 0, member.hub.vtepIndex(THERE));
    t.equal(admit(), Counter.drop_short);
    change({ underlay: 'local' });
    t.equal(admit(), Counter.drop_vtep, 'though another tenant hears that host');
    t.equal(overlay.admit(frame, 0, 0, member.hub.localIndex), Counter.drop_short, 'machines of this host are heard');
    for (const transport of [Transport.UD, Transport.CM])
      t.match(overlay.wayTo(ONE, TWO, transport), { errno: Errno.EHOSTUNREACH, reason: /not local/ });
    change({ underlay: 'local', endpoints: [endpoint(ONE, HERE), { ...endpoint(TWO, THERE), kind: 'tap' }] });
    t.match(overlay.wayTo(ONE, TWO, Transport.RC), { errno: Errno.EHOSTUNREACH, reason: /not local/ });
  },
);

t.test('what goes nowhere is dropped and counted, and does not hold up what follows', async (t) => {
  const { member } = place(t);
  const burst = new TransmitBurst(4096);
  burst.destination[0] = NOWHERE;
  burst.frameBytes[0] = 64;
  burst.count = 1;
  t.equal(member.transmit(burst), true);
  t.match(member.counters, { txErrors: 1, txFrames: 0 });
});

for (const [what, endpoints] of [
  ['deleted', [endpoint(TWO, THERE)]],
  ['moved to another host', [endpoint(ONE, ELSEWHERE), endpoint(TWO, THERE)]],
] as const) {
  t.test(`a vRNIC whose own endpoint was ${what} neither sends, nor takes, nor connects`, async (t) => {
    const { overlay, path } = place(t);
    t.strictSame(overlay.update(tenant({ endpoints }), isConnected), [QPN]);
    t.equal(path.destination, NOWHERE);
    t.match(overlay.wayTo(ONE, TWO, Transport.RC), {
      ok: false,
      errno: Errno.EHOSTUNREACH,
      reason: /fd00::1 on this host/,
    });
    t.equal(overlay.admit(new DataView(new ArrayBuffer(0)), 0, 0, 0), Counter.drop_inner_address);
  });
}

/** Of a vRNIC whose only endpoint address has GID 1. */
function resolverOf(member: VxlanMember, overlay: Overlay): PathResolver {
  const gids = [{ gid: LINK_LOCAL }, { gid: ONE }];
  const neighbours = new Neighbours({ mac: MAC, addresses: [ONE], answers: true });
  return new PathResolver({ mac: MAC, gids, ports: [member], neighbours, overlay });
}

t.test(
  'packets are awaited by VXLAN once a path leads by it, or comes to; the connection manager’s do not count',
  async (t) => {
    const said: (readonly number[])[] = [];
    const begin = (underlay: 'translate' | 'vxlan') => {
      const member = joinVtep({ local: HERE, mtu: 1450, udpPort: 0 }, VNI, macNumber(MAC));
      t.teardown(() => member.close());
      said.length = 0;
      member.hub.port.setVnis = (vnis) => void said.push(vnis);
      return { member, overlay: new Overlay(tenant({ underlay }), member, MAC, [ONE]) };
    };
    const { member, overlay } = begin('translate');
    const resolver = resolverOf(member, overlay);
    const av = { dgid: TWO, sgidIndex: 1, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
    t.match(resolver.resolve(av, Transport.CM, 1, 1, 0), { path: { port: 0 } });
    t.match(resolver.resolve(av, Transport.RC, 2, 3, 0), { ok: false, reason: /translate/ });
    t.strictSame(said, []);
    t.match(resolver.resolve(av, Transport.UD, 2, 3, 0), { path: { port: 0 } });
    t.strictSame(said, [[VNI]]);
    member.close();
    const connected = begin('vxlan');
    const made = resolverOf(connected.member, connected.overlay).resolve(av, Transport.RC, 2, 3, 0) as { path: Path };
    t.strictSame(said, [[VNI]]);
    connected.member.close();
    const { overlay: moved } = begin('vxlan');
    moved.follow(ONE, TWO, Transport.CM, { ...made.path });
    moved.update(tenant(), isConnected);
    t.strictSame(said, []);
    made.path.port = LOCAL_PORT;
    moved.follow(ONE, TWO, Transport.UD, made.path);
    t.strictSame(said, []);
    moved.update(tenant(), isConnected);
    t.strictSame(said, [[VNI]], 'a path that led elsewhere');
  },
);

t.test('a connection from a GID that is no endpoint is refused in words: the peer would drop all of it', async (t) => {
  const { member, overlay } = place(t);
  const resolver = resolverOf(member, overlay);
  const av = { dgid: TWO, hopLimit: 0, trafficClass: 0, flowLabel: 0, portNum: 1 };
  t.match(resolver.resolve({ ...av, sgidIndex: 0 }, Transport.RC, 2, 3, 0), {
    ok: false,
    errno: Errno.EADDRNOTAVAIL,
    reason: /fe80::1/,
  });
  const found = resolver.resolve({ ...av, sgidIndex: 1 }, Transport.RC, 2, 3, 0) as { path: Path };
  overlay.update(tenant({ rules: [DENY] }), isConnected);
  t.equal(found.path.destination, NOWHERE);
});

t.test('a capture of a tenant’s vRNIC shows frames as the tenant sees them, each segment by itself', async (t) => {
  const { member } = place(t);
  const file = join(t.testdir(), 'tenant.pcapng');
  const capture = new CaptureFile({ file }, member.name);
  const port = new CapturePort(member, new Recorder(capture, withoutVxlan, EACH));
  const burst = new TransmitBurst(4096);
  const inner = [
    Uint8Array.from([...MAC, ...new Uint8Array(50).fill(1)]),
    Uint8Array.from([...MAC, ...new Uint8Array(50).fill(2)]),
  ];
  for (const [i, octets] of inner.entries()) {
    Vxlan.write(burst.view, i * 64, VNI);
    burst.bytes.set(octets, i * 64 + Vxlan.BYTES);
  }
  burst.frameBytes[0] = 128;
  burst.segmentBytes[0] = 64;
  burst.destination[0] = member.hub.vtepIndex(THERE);
  burst.count = 1;
  port.transmit(burst);
  capture.close();
  t.strictSame(
    readCapture(readFileSync(file)).map(({ octets }) => Uint8Array.from(octets)),
    inner,
  );
});

t.test(
  'an endpoint of several addresses: a rule for one of them leaves the others alone, one that goes ends its connections',
  async (t) => {
    const { overlay } = place(t);
    const other = toGid('fd00::11');
    const self = { ...endpoint(ONE, HERE), also: [other] };
    const theirs = endpoint(TWO, THERE);
    const more = tenant({ endpoints: [self, theirs] });
    t.strictSame(overlay.update(more, isConnected), []);
    t.strictSame(overlay.addresses, [ONE, other]);
    t.ok('mac' in overlay.wayTo(other, TWO, Transport.RC));
    overlay.opened(
      { qpn: QPN + 1, destQpn: 3, transport: Transport.RC, local: other, remote: TWO, underlay: 'vxlan' },
      isConnected,
    );
    const wall: Rule = { ...DENY, source: { address: other, bits: 128 } };
    t.strictSame(overlay.update({ ...more, rules: [wall] }, isConnected), [QPN + 1]);
    t.match(overlay.wayTo(other, TWO, Transport.RC), { ok: false, errno: Errno.EACCES });
    t.ok('mac' in overlay.wayTo(ONE, TWO, Transport.RC));
    overlay.update(more, isConnected);
    overlay.opened(
      { qpn: QPN + 1, destQpn: 3, transport: Transport.RC, local: other, remote: TWO, underlay: 'vxlan' },
      isConnected,
    );
    t.strictSame(overlay.update(tenant(), isConnected), [QPN + 1]);
    t.notOk(overlay.isOwn(other));
  },
);

t.test(
  'a multicast frame counts for as many as it becomes: one for each other host, as they come and go',
  async (t) => {
    const { overlay } = place(t);
    const group = toGid('ff0e::1');
    const way = overlay.wayTo(ONE, group, Transport.UD) as Way;
    t.equal(way.copies, 1);
    const path: Path = {
      ...VXLAN_PATH,
      template: new Uint8Array(64),
      destination: way.destination,
      copies: way.copies!,
    };
    overlay.follow(ONE, group, Transport.UD, path);
    const [one, two] = tenant().endpoints as [Endpoint, Endpoint];
    const three = endpoint(toGid('fd00::3'), ELSEWHERE);
    const beside = endpoint(toGid('fd00::4'), ELSEWHERE);
    overlay.update(tenant({ endpoints: [one, two, three, beside] }), isConnected);
    t.equal(path.copies, 2);
    overlay.update(tenant({ endpoints: [one] }), isConnected);
    t.equal(path.copies, 1, 'it is made all the same');
  },
);
