/** A port of a tenant's switch, stage by stage: frames in hex, decisions and answers in hex, the clock in our hands. Every reason to drop one. */
import t from 'tap';
import { vrnicFlood } from '../../vswitch/limit.ts';
import type { Endpoint, Rule, Tenant } from '../../vswitch/model.ts';
import type { PortCounterName } from '../../vswitch/port-counters.ts';
import { Outcome, PortPipeline } from '../../vswitch/port-pipeline.ts';
import { FLOOD_PER_SECOND, FloodBudget, floodBurst, UNBOUNDED } from '../../vswitch/stages/flood.ts';
import { AGE_MICROS, LEARNED_COUNT_MAX } from '../../vswitch/stages/learn.ts';
import { toGid } from '../../workers/linux/netdev.ts';

const [HERE, THERE, AWAY] = [toGid('192.0.2.1'), toGid('192.0.2.2'), toGid('192.0.2.3')];
const MTU = 1400;
const FLOOD_BURST = floodBurst(FLOOD_PER_SECOND);
const VXLAN = '08000000 00006400';
const [ONE, TWO, THREE, NOBODY] = ['020000000001', '020000000002', '020000000003', '0200000000ee'];
const macOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const endpoint = (last: number, host: Uint8Array, more: Partial<Endpoint> = {}): Endpoint => ({
  address: toGid(`10.0.0.${last}`),
  also: [toGid(`fd00::${last}`)],
  mac: macOf(`02000000000${last}`),
  host,
  ...more,
});
const tenantWith = (
  rules: Rule[] = [],
  endpoints = [endpoint(1, HERE), endpoint(2, THERE), endpoint(3, HERE)],
): Tenant => ({
  name: 'blue',
  vni: 100,
  endpoints,
  rules,
});
const INDEX = [HERE, THERE, AWAY];
const hostIndex = (host: Uint8Array): number => INDEX.findIndex((one) => one.every((octet, i) => octet === host[i]));

/** The port of endpoint 1. */
class Bench {
  now = 0;
  readonly pipeline: PortPipeline;

  constructor(tenant = tenantWith()) {
    this.pipeline = new PortPipeline({ tenant, address: toGid('10.0.0.1'), mtu: MTU, local: HERE, hostIndex });
  }

  /** What becomes of it: `peer 1`, `flood`, `answer <hex>`, or why it was dropped. */
  port(hex: string): string {
    const view = viewOf(hex);
    const before = this.pipeline.counters.toObject();
    const outcome = this.pipeline.fromPort(view, 0, view.byteLength, view.byteLength - 14, this.now);
    return this.#tell(outcome, before);
  }

  network(hex: string, from = THERE, vxlan = VXLAN): string {
    const view = viewOf(vxlan + hex);
    const before = this.pipeline.counters.toObject();
    return this.#tell(this.pipeline.fromNetwork(view, 0, view.byteLength, hostIndex(from), this.now), before);
  }

  #tell(outcome: Outcome, before: Record<PortCounterName, number>): string {
    const { pipeline } = this;
    if (outcome === Outcome.PEER) return `peer ${pipeline.destination}`;
    if (outcome === Outcome.FLOOD) return 'flood';
    if (outcome === Outcome.DELIVER) return 'deliver';
    if (outcome === Outcome.ANSWER)
      return Buffer.from(pipeline.answer.subarray(0, pipeline.answerBytes)).toString('hex');
    const after = pipeline.counters.toObject();
    return Object.keys(after)
      .filter((name) => name.startsWith('drop') && after[name as PortCounterName] > before[name as PortCounterName])
      .join(' ');
  }
}

/** Octets from the middle of a larger arena, as they lie in a burst. */
function viewOf(hex: string): DataView {
  const octets = Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');
  return new DataView(Uint8Array.from(octets).buffer);
}

const ip4 = (address: string): string => Buffer.from(address.split('.').map(Number)).toString('hex');
const ip6 = (address: string): string => Buffer.from(toGid(address)).toString('hex');
const ether = (to: string, from: string, type: string): string => to + from + type;
/** IPv4 with ICMP, no checksums: nobody here looks at them. */
const ping4 = (from: string, to: string, source = '10.0.0.1', destination = '10.0.0.2'): string =>
  `${ether(to, from, '0800')} 4500001c 00000000 40010000 ${ip4(source)} ${ip4(destination)} 0800 0000 0001 0001`;
const ping6 = (from: string, to: string, source = 'fd00::1', destination = 'fd00::2'): string =>
  `${ether(to, from, '86dd')} 60000000 0008 3a40 ${ip6(source)} ${ip6(destination)} 8000 0000 0001 0001`;
const udp4 = (from: string, to: string, source: string, destination: string, ports: string, body = ''): string =>
  `${ether(to, from, '0800')} 45000020 00000000 40110000 ${ip4(source)} ${ip4(destination)} ${ports} 000c0000 ${body || '00000000'}`;
const arp = (
  operation: string,
  from: string,
  sender: string,
  target: string,
  senderMac = from,
  to = 'ffffffffffff',
): string =>
  `${ether(to, from, '0806')} 0001 0800 0604 ${operation} ${senderMac} ${ip4(sender)} 000000000000 ${ip4(target)}`;
const ALL = 'ffffffffffff';

/** A neighbour solicitation with its right checksum, told from a capture's: RFC 1071 by hand. */
function solicitation(from: string, source: string, target: string, option = `0101${from}`): string {
  const body = `8700 0000 00000000 ${ip6(target)} ${option}`.replaceAll(' ', '');
  const group = `ff0200000000000000000001ff${ip6(target).slice(-6)}`;
  const length = (body.length / 2).toString(16).padStart(4, '0');
  const sum = checksum(`${ip6(source)}${group}0000${length}0000003a${body}`);
  return `${ether(`3333ff${ip6(target).slice(-6)}`, from, '86dd')}60000000${length}3aff${ip6(source)}${group}8700${sum}${body.slice(8)}`;
}

function checksum(hex: string): string {
  let sum = 0;
  for (let i = 0; i < hex.length; i += 4) sum += Number.parseInt(hex.slice(i, i + 4), 16);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return (~sum & 0xffff).toString(16).padStart(4, '0');
}

const ANY = { address: new Uint8Array(16), bits: 0 };
const deny = (more: Partial<Rule> = {}): Rule => ({
  id: 'wall',
  priority: 1,
  action: 'deny',
  source: ANY,
  destination: ANY,
  ...more,
});

t.test('a known MAC: to the host where its endpoint lives, this one too', async (t) => {
  const bench = new Bench();
  t.equal(bench.port(ping4(ONE, TWO)), 'peer 1');
  t.equal(bench.port(ping6(ONE, TWO)), 'peer 1');
  t.equal(bench.port(ping4(ONE, THREE, '10.0.0.1', '10.0.0.3')), 'peer 0');
  t.equal(bench.port(`${ether(TWO, ONE, '88b5')} 0000`), 'peer 1', 'what is no IP');
});

t.test('what a port may not send is dropped, each for its reason', async (t) => {
  const bench = new Bench();
  t.equal(bench.port('020000000002 0200'), 'drop_short');
  t.equal(bench.port(`${ether(TWO, ONE, '0800')} 4500`), 'drop_short', 'IPv4 cut off');
  t.equal(bench.port(`${ether(TWO, ONE, '86dd')} 6000`), 'drop_short', 'IPv6 cut off');
  t.equal(bench.port(`${ether(ALL, ONE, '0806')} 0001`), 'drop_short', 'ARP cut off');
  t.equal(bench.port(`${ether(TWO, ONE, '8100')} 0064 ${ping4(ONE, TWO).slice(24)}`), 'drop_tagged');
  t.equal(bench.port(ping4(ONE, TWO) + '00'.repeat(MTU)), 'drop_too_long');
  t.equal(bench.port(ping4(THREE, TWO)), 'drop_spoofed', 'another’s MAC');
  t.equal(bench.port(ping4(ONE, TWO, '10.0.0.3')), 'drop_spoofed', 'another’s IPv4 address');
  t.equal(bench.port(ping6(ONE, TWO, 'fd00::3')), 'drop_spoofed', 'another’s IPv6 address');
  t.equal(bench.port(ping6(ONE, TWO, 'fe80::3')), 'drop_spoofed', 'a link-local address that its MAC does not make');
  t.equal(bench.port(arp('0001', ONE, '10.0.0.3', '10.0.0.2')), 'drop_spoofed', 'ARP with another’s address');
  t.equal(bench.port(arp('0002', ONE, '10.0.0.1', '10.0.0.2', THREE)), 'drop_spoofed', 'ARP with another’s MAC');
  t.equal(bench.port(solicitation(ONE, 'fd00::3', 'fd00::2')), 'drop_spoofed', 'ND with another’s address');
  t.equal(bench.port(solicitation(ONE, 'fd00::1', 'fd00::2', `0101${THREE}`)), 'drop_spoofed', 'ND with another’s MAC');
  const advertisement = `${ether(TWO, ONE, '86dd')} 60000000 0018 3aff ${ip6('fd00::1')} ${ip6('fd00::2')} 8800 0000 60000000 ${ip6('fd00::3')}`;
  t.equal(bench.port(advertisement), 'drop_spoofed', 'advertises another’s address');
  t.equal(bench.port(ping4(ONE, TWO, '0.0.0.0')), 'drop_spoofed', 'no address, and no DHCP');
  t.equal(bench.port(ping4(ONE, ONE)), 'drop_hairpin');
});

t.test('who has no address yet may ask for one, or whether one is free', async (t) => {
  const bench = new Bench();
  t.equal(bench.port(udp4(ONE, ALL, '0.0.0.0', '255.255.255.255', '00440043')), 'flood', 'DHCP');
  t.equal(bench.port(udp4(ONE, ALL, '0.0.0.0', '255.255.255.255', '00440044')), 'drop_spoofed', 'anything else');
  t.equal(
    bench.port(arp('0001', ONE, '0.0.0.0', '10.0.0.1')),
    'flood',
    'a probe for its own address is nobody’s to answer',
  );
  t.equal(bench.port(solicitation(ONE, '::', 'fd00::1', '')), 'flood');
  t.equal(
    bench.port(ping6(ONE, '333300000002', 'fe80::ff:fe00:1', 'ff02::2')),
    'flood',
    'from the link-local address of its MAC',
  );
});

t.test('ARP is answered from the endpoint table, octet for octet', async (t) => {
  const bench = new Bench();
  t.equal(
    bench.port(arp('0001', ONE, '10.0.0.1', '10.0.0.2')),
    `${ether(ONE, TWO, '0806')}0001080006040002${TWO}${ip4('10.0.0.2')}${ONE}${ip4('10.0.0.1')}`,
  );
  t.equal(
    bench.port(arp('0001', ONE, '10.0.0.1', '10.0.0.77')),
    'flood',
    'nobody’s address: perhaps somebody out there knows',
  );
  t.equal(bench.port(arp('0002', ONE, '10.0.0.1', '10.0.0.2', ONE, TWO)), 'peer 1', 'a reply goes where it is sent');
  t.equal(bench.pipeline.counters.toObject().answered, 1);
});

t.test('neighbour discovery is answered from the endpoint table, octet for octet', async (t) => {
  const bench = new Bench();
  const advertised = (flags: string, to: string, target: string): string => {
    const body = `88000000${flags}000000${ip6(target)}0201${TWO}`;
    const sum = checksum(`${ip6(target)}${ip6(to)}000000200000003a${body}`);
    return `60000000 0020 3aff ${ip6(target)} ${ip6(to)} 8800 ${sum}${body.slice(8)}`.replaceAll(' ', '');
  };
  t.equal(
    bench.port(solicitation(ONE, 'fd00::1', 'fd00::2')),
    ether(ONE, TWO, '86dd') + advertised('60', 'fd00::1', 'fd00::2'),
  );
  const linkLocal = 'fe80::ff:fe00:2';
  t.equal(
    bench.port(solicitation(ONE, 'fd00::1', linkLocal)),
    ether(ONE, TWO, '86dd') + advertised('60', 'fd00::1', linkLocal),
    'a link-local address',
  );
  t.equal(
    bench.port(solicitation(ONE, '::', 'fd00::2', '')),
    ether('333300000001', TWO, '86dd') + advertised('20', 'ff02::1', 'fd00::2'),
    'a probe for another’s address: to all nodes',
  );
  t.equal(
    bench.port(solicitation(ONE, 'fd00::1', 'fd00::2').replace(/8700..../, '87001234')),
    'flood',
    'a wrong checksum is answered by nobody here',
  );
});

t.test('rules: what they deny is dropped, in the direction and of the transport that they say', async (t) => {
  const roce = udp4(ONE, TWO, '10.0.0.1', '10.0.0.2', 'c00012b7', '04000000000000110000000000000000');
  t.equal(new Bench(tenantWith([deny()])).port(ping4(ONE, TWO)), 'drop_rule');
  t.equal(new Bench(tenantWith([deny({ direction: 'in' })])).port(ping4(ONE, TWO)), 'peer 1');
  t.equal(
    new Bench(tenantWith([deny({ direction: 'in' })])).network(ping4(TWO, ONE, '10.0.0.2', '10.0.0.1')),
    'drop_rule',
  );
  t.equal(new Bench(tenantWith([deny({ transport: 'rc' })])).port(ping4(ONE, TWO)), 'peer 1');
  t.equal(new Bench(tenantWith([deny({ transport: 'rc' })])).port(roce), 'drop_rule', 'a guest’s own RoCE');
  const toTwo = deny({ destination: { address: toGid('10.0.0.2'), bits: 128 } });
  const bench = new Bench(tenantWith([toTwo]));
  t.equal(bench.port(ping4(ONE, TWO)), 'drop_rule');
  t.equal(bench.port(ping4(ONE, THREE, '10.0.0.1', '10.0.0.3')), 'peer 0');
  t.equal(bench.port(ping6(ONE, TWO)), 'peer 1', 'its other address is not named');
  t.equal(
    bench.port(ping6(ONE, TWO, 'fe80::ff:fe00:1', 'fe80::ff:fe00:2')),
    'drop_rule',
    'link-local addresses are no way around',
  );
  t.equal(bench.port(`${ether(TWO, ONE, '88b5')} 0000`), 'drop_rule', 'nor is what has no address');
  t.equal(bench.port(ping4(ONE, TWO, '10.0.0.1', '10.0.0.77')), 'drop_rule', 'nor is a strange address with its MAC');
});

t.test('whoever hears a flood or multicast is asked whether the sender may', async (t) => {
  const bench = new Bench(
    tenantWith([
      deny({
        source: { address: toGid('10.0.0.2'), bits: 128 },
        destination: { address: toGid('10.0.0.1'), bits: 128 },
      }),
    ]),
  );
  t.equal(bench.network(ping4(TWO, NOBODY, '10.0.0.2', '10.0.0.77')), 'drop_rule');
  t.equal(bench.network(ping4(TWO, '01005e000001', '10.0.0.2', '224.0.0.1')), 'drop_rule');
  t.equal(bench.network(ping4(THREE, '01005e000001', '10.0.0.3', '224.0.0.1'), HERE), 'deliver');
});

t.test('a rule counts from the moment that it is there, and no longer than it is', async (t) => {
  const bench = new Bench();
  for (const [rules, outcome] of [
    [[], 'peer 1'],
    [[deny()], 'drop_rule'],
    [[], 'peer 1'],
  ] as const) {
    bench.pipeline.update(tenantWith([...rules]));
    for (let i = 0; i < 3; i++) t.equal(bench.port(ping4(ONE, TWO)), outcome);
  }
});

t.test('groups keep to themselves', async (t) => {
  const grouped = (one?: string, two?: string): Tenant =>
    tenantWith([], [endpoint(1, HERE, one ? { group: one } : {}), endpoint(2, THERE, two ? { group: two } : {})]);
  for (const [one, two, isTogether] of [
    ['a', 'a', true],
    ['a', 'b', false],
    ['a', undefined, false],
    [undefined, 'b', false],
  ] as const) {
    const bench = new Bench(grouped(one, two));
    t.equal(bench.port(ping4(ONE, TWO)), isTogether ? 'peer 1' : 'drop_rule');
    t.equal(bench.network(ping4(TWO, ONE, '10.0.0.2', '10.0.0.1')), isTogether ? 'deliver' : 'drop_rule');
    t.equal(
      bench.network(ping4(TWO, '01005e000001', '10.0.0.2', '224.0.0.1')),
      isTogether ? 'deliver' : 'drop_rule',
      'multicast, too',
    );
  }
  t.equal(
    new Bench(grouped('a', 'a')).network(ping4(NOBODY, ONE, '10.0.0.77', '10.0.0.1')),
    'drop_rule',
    'a stranger is of no group',
  );
});

t.test(
  'from the network: what is for the port is delivered, everything else dropped, each for its reason',
  async (t) => {
    const bench = new Bench();
    const ping = ping4(TWO, ONE, '10.0.0.2', '10.0.0.1');
    t.equal(bench.network(ping), 'deliver');
    t.equal(bench.network(ping4(TWO, ALL, '10.0.0.2', '10.0.0.255')), 'deliver');
    t.equal(bench.network(ping.slice(0, 20)), 'drop_short');
    t.equal(bench.network(ping, THERE, '08000000 00006500'), 'drop_vni', 'another tenant');
    t.equal(bench.network(ping, THERE, '00000000 00006400'), 'drop_vni', 'no VNI at all');
    t.equal(bench.network(ping, AWAY), 'drop_vtep', 'a host of other tenants');
    t.equal(bench.network(ping, toGid('192.0.2.99')), 'drop_vtep', 'a host of none');
    t.equal(bench.network(ping, HERE), 'drop_spoofed', 'from a host where the endpoint does not live');
    t.equal(bench.network(ping4(TWO, ONE, '10.0.0.3', '10.0.0.1')), 'drop_spoofed', 'another’s address');
    t.equal(bench.network(ping4(ONE, ALL, '10.0.0.1', '10.0.0.255'), HERE), 'drop_spoofed', 'the port itself');
    t.equal(
      bench.network(ping4('010000000001', ONE, '10.0.0.77', '10.0.0.1')),
      'drop_spoofed',
      'a sender that is many',
    );
    t.equal(
      bench.network(ping4(NOBODY, ONE, '10.0.0.2', '10.0.0.1')),
      'drop_spoofed',
      'a stranger with an endpoint’s address',
    );
    t.equal(bench.network(ping4(TWO, THREE, '10.0.0.2', '10.0.0.3')), 'drop_inner_address');
    t.equal(bench.network(`${ether(ONE, TWO, '8100')} 0064 0800`), 'drop_tagged');
  },
);

t.test('a stranger is learned with its host, and forgotten when it is silent', async (t) => {
  const bench = new Bench();
  const [out, back] = [ping4(ONE, NOBODY, '10.0.0.1', '10.0.0.77'), ping4(NOBODY, ONE, '10.0.0.77', '10.0.0.1')];
  t.equal(bench.port(out), 'flood');
  t.equal(bench.network(back), 'deliver');
  t.equal(bench.port(out), 'peer 1');
  bench.now += AGE_MICROS - 1;
  t.equal(bench.port(out), 'peer 1');
  t.equal(bench.network(back), 'deliver');
  bench.now += AGE_MICROS - 1;
  t.equal(bench.port(out), 'peer 1', 'it has spoken meanwhile');
  bench.now += 1;
  t.equal(bench.port(out), 'flood');
  bench.network(back);
  bench.pipeline.update(tenantWith([], [endpoint(1, HERE)]));
  t.equal(bench.port(out), 'flood', 'its host is no more');
});

t.test('a flood of strangers fills the table, and no more than the table', async (t) => {
  const bench = new Bench();
  const stranger = (i: number): string => `02ff${i.toString(16).padStart(8, '0')}`;
  for (let i = 0; i < LEARNED_COUNT_MAX + 50; i++) bench.network(ping4(stranger(i), ONE, '10.0.0.77', '10.0.0.1'));
  t.equal(bench.pipeline.counters.toObject().learned, LEARNED_COUNT_MAX);
  t.equal(bench.port(ping4(ONE, stranger(0), '10.0.0.1', '10.0.0.77')), 'peer 1');
  t.equal(bench.port(ping4(ONE, stranger(LEARNED_COUNT_MAX), '10.0.0.1', '10.0.0.77')), 'flood');
  bench.now += AGE_MICROS;
  bench.network(ping4(stranger(LEARNED_COUNT_MAX), ONE, '10.0.0.77', '10.0.0.1'));
  t.equal(
    bench.port(ping4(ONE, stranger(LEARNED_COUNT_MAX), '10.0.0.1', '10.0.0.77')),
    'peer 1',
    'when the others are old, there is room',
  );
});

t.test('floods are bounded: a burst, then as many as time brings', async (t) => {
  const bench = new Bench();
  const flood = ping4(ONE, ALL, '10.0.0.1', '10.0.0.255');
  for (let i = 0; i < FLOOD_BURST; i++) if (bench.port(flood) !== 'flood') t.fail(`frame ${i}`);
  t.equal(bench.port(flood), 'drop_flood_limit');
  t.equal(bench.port(ping4(ONE, TWO)), 'peer 1', 'what has one destination is not bounded by it');
  bench.now += 1e6 / FLOOD_PER_SECOND;
  t.equal(bench.port(flood), 'flood');
  t.equal(bench.port(flood), 'drop_flood_limit');
  bench.now += 3600e6;
  for (let i = 0; i < FLOOD_BURST; i++) if (bench.port(flood) !== 'flood') t.fail(`frame ${i}`);
  t.equal(bench.port(flood), 'drop_flood_limit', 'an hour of silence is no more than a burst');
});

t.test('a tenant, or one of its endpoints, has another bound of floods, from the moment when it is set', async (t) => {
  const flood = ping4(ONE, ALL, '10.0.0.1', '10.0.0.255');
  const bench = new Bench({ ...tenantWith(), limit: { flood: 20 } });
  const taken = (): number => {
    for (let count = 0; ; count++) if (bench.port(flood) !== 'flood') return count;
  };
  t.equal(taken(), 2, 'a tenth of a second’s at once');
  bench.now += 50_000;
  t.equal(taken(), 1);
  const own = [endpoint(1, HERE, { limit: { flood: 200 } }), endpoint(2, THERE)];
  bench.pipeline.update({ ...tenantWith([], own), limit: { flood: 20 } });
  t.equal(taken(), 0, 'a higher one fills as time goes');
  bench.now += 50_000;
  t.equal(taken(), 10);
  bench.now += 1e6;
  bench.pipeline.update({ ...tenantWith(), limit: { flood: 0 } });
  t.equal(taken(), 0, 'none at all');
  bench.pipeline.update(tenantWith());
  bench.now += 1e6;
  t.equal(taken(), FLOOD_BURST, 'nobody says anything');
});

t.test('a vRNIC’s multicast is bounded by frames where no rate bounds it, or where somebody says so', async (t) => {
  t.equal(vrnicFlood(), UNBOUNDED);
  t.equal(vrnicFlood({ rate: 1e9 }, {}), UNBOUNDED);
  t.equal(vrnicFlood({ rate: 1e9 }, { flood: 5 }), 5);
  t.equal(vrnicFlood({ flood: 0 }, { flood: 5 }), 0);
  const budget = new FloodBudget(UNBOUNDED);
  for (let i = 0; i < 2 * FLOOD_BURST; i++) if (!budget.take(0)) t.fail(`frame ${i}`);
  budget.update(10);
  t.strictSame([budget.take(0), budget.take(0), budget.take(100_000)], [true, false, true]);
});

t.test('an endpoint that is elsewhere, or no more, neither sends nor hears', async (t) => {
  for (const endpoints of [[endpoint(1, THERE), endpoint(2, THERE)], [endpoint(2, THERE)]]) {
    const bench = new Bench();
    bench.pipeline.update(tenantWith([], endpoints));
    t.equal(bench.port(ping4(ONE, TWO)), 'drop_away');
    t.equal(bench.network(ping4(TWO, ONE, '10.0.0.2', '10.0.0.1')), 'drop_away');
  }
});

t.test('a tenant that wants no wire: its port talks to this host alone', async (t) => {
  const bench = new Bench();
  const stranger = 'dddddddddddd'.replace(/^dd/, '02');
  t.equal(bench.network(ping4(stranger, ONE, '10.9.0.1', '10.0.0.1')), 'deliver');
  t.equal(bench.port(ping4(ONE, stranger, '10.0.0.1', '10.9.0.1')), 'peer 1', 'learned');
  bench.pipeline.update({ ...tenantWith(), underlay: 'local' });
  t.equal(bench.port(ping4(ONE, TWO)), 'drop_underlay');
  t.equal(bench.port(ping4(ONE, THREE, '10.0.0.1', '10.0.0.3')), 'peer 0');
  t.equal(
    bench.port(ping4(ONE, stranger, '10.0.0.1', '10.9.0.1')),
    'flood',
    'whom it learned from the wire is forgotten',
  );
  t.equal(bench.network(ping4(TWO, ONE, '10.0.0.2', '10.0.0.1')), 'drop_vtep');
  t.equal(bench.network(ping4(THREE, ONE, '10.0.0.3', '10.0.0.1'), HERE), 'deliver');
});

t.test('an endpoint that moves is followed at once', async (t) => {
  const bench = new Bench();
  bench.pipeline.update(tenantWith([], [endpoint(1, HERE), endpoint(2, AWAY)]));
  t.equal(bench.port(ping4(ONE, TWO)), 'peer 2');
  t.equal(bench.network(ping4(TWO, ONE, '10.0.0.2', '10.0.0.1')), 'drop_vtep', 'and not heard from where it was');
  t.equal(bench.network(ping4(TWO, ONE, '10.0.0.2', '10.0.0.1'), AWAY), 'deliver');
});

t.test(
  'a small world, exhaustively: no frame crosses from one tenant, host, MAC or address to another’s',
  async (t) => {
    const bench = new Bench();
    let taken = 0;
    for (const vni of ['000063', '000064', '000065'])
      for (const to of [ONE, TWO, THREE])
        for (const from of [ONE, TWO, THREE])
          for (const source of ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.9'])
            for (const host of [HERE, THERE, AWAY])
              if (bench.network(ping4(from, to, source, '10.0.0.1'), host, `08000000 ${vni}00`) === 'deliver') taken++;
    t.equal(taken, 2, 'two from there, three from here');
  },
);
