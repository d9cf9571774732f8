/** Questions of another implementation's VTEP about a vRNIC: hex in, hex out. */
import t from 'tap';
import { type Endpoint, macOf, type Tenant } from '../../vswitch/model.ts';
import { AskedFor, NeighbourAnswerer } from '../../vswitch/neighbour-answerer.ts';
import { FLOOD_PER_SECOND, floodBurst } from '../../vswitch/stages/flood.ts';
import { toGid } from '../../workers/linux/netdev.ts';

const [HERE, THERE, AWAY] = [toGid('192.0.2.1'), toGid('192.0.2.2'), toGid('192.0.2.9')];
const VNI = 100;
const VXLAN = '0800000000006400';
const endpoint = (address: string, host: Uint8Array): Endpoint => ({
  address: toGid(address),
  mac: macOf(VNI, toGid(address)),
  host,
});
const OWN = endpoint('10.0.0.1', HERE);
const TENANT: Tenant = { name: 'blue', vni: VNI, endpoints: [OWN, endpoint('10.0.0.2', THERE)], rules: [] };
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
const ip4 = (text: string): string => hex(toGid(text).subarray(12));
const [ONE, TWO] = TENANT.endpoints.map(({ mac }) => hex(mac)) as [string, string];
const STRANGER = '020000000099';
const ALL = 'ffffffffffff';

/** who-has `target` tell `sender`. */
const arp = (from: string, sender: string, target: string, to = ALL, operation = '0001'): string =>
  `${to}${from}0806 0001 0800 0604 ${operation} ${from} ${ip4(sender)} 000000000000 ${ip4(target)}`;
const reply = (to: string, asker: string): string =>
  `${VXLAN}${to}${ONE}0806000108000604${'0002'}${ONE}${ip4('10.0.0.1')}${to}${ip4(asker)}`;

function viewOf(text: string): DataView {
  const octets = Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
  return new DataView(Uint8Array.from(octets).buffer);
}

function ask(answerer: NeighbourAnswerer, text: string, vtep = THERE, vxlan = VXLAN, now = 0): string {
  const view = viewOf(vxlan + text);
  const octets = answerer.answer(view, 0, view.byteLength, vtep, now);
  return hex(answerer.bytes.subarray(0, octets));
}

t.test('an endpoint and a stranger behind a host of the tenant are told, octet for octet', async (t) => {
  const answerer = new NeighbourAnswerer(TENANT, OWN);
  t.equal(ask(answerer, arp(TWO, '10.0.0.2', '10.0.0.1')), reply(TWO, '10.0.0.2'));
  t.equal(ask(answerer, arp(TWO, '10.0.0.2', '10.0.0.1', ONE)), reply(TWO, '10.0.0.2'), 'by the MAC that it knows');
  t.equal(ask(answerer, arp(STRANGER, '10.0.0.99', '10.0.0.1')), reply(STRANGER, '10.0.0.99'));
});

t.test('nobody else is', async (t) => {
  const answerer = new NeighbourAnswerer(TENANT, OWN);
  for (const [what, text, vtep, vxlan] of [
    ['another’s address', arp(TWO, '10.0.0.2', '10.0.0.2')],
    ['an answer', arp(TWO, '10.0.0.2', '10.0.0.1', ONE, '0002')],
    ['an endpoint from another host', arp(TWO, '10.0.0.2', '10.0.0.1'), HERE],
    ['an endpoint with another address', arp(TWO, '10.0.0.7', '10.0.0.1')],
    ['a stranger with an endpoint’s address', arp(STRANGER, '10.0.0.2', '10.0.0.1')],
    ['a stranger from a host that has no endpoint', arp(STRANGER, '10.0.0.99', '10.0.0.1'), AWAY],
    ['a group as the sender', arp('030000000099', '10.0.0.99', '10.0.0.1')],
    ['another VNI', arp(TWO, '10.0.0.2', '10.0.0.1'), THERE, '0800000000006500'],
    ['no VNI', arp(TWO, '10.0.0.2', '10.0.0.1'), THERE, '0000000000006400'],
    ['half a question', arp(TWO, '10.0.0.2', '10.0.0.1').slice(0, 60)],
    ['half an Ethernet header', 'ffff'],
    ['IPv4', `${ONE}${TWO}0800 4500001c 00000000 40010000 ${ip4('10.0.0.2')} ${ip4('10.0.0.1')} 0800 0000 0001 0001`],
  ] as const)
    t.equal(ask(answerer, text, vtep, vxlan), '', what);
});

t.test('more questions than a burst wait for their time', async (t) => {
  const answerer = new NeighbourAnswerer(TENANT, OWN);
  const question = arp(TWO, '10.0.0.2', '10.0.0.1');
  for (let i = 0; i < floodBurst(FLOOD_PER_SECOND); i++) ask(answerer, question);
  t.equal(ask(answerer, question), '');
  t.not(ask(answerer, question, THERE, VXLAN, 1e6), '', 'a second later');
});

t.test('a question is told from what else goes to everybody', async (t) => {
  const asked = new AskedFor();
  const isFor = (text: string): boolean => {
    const view = viewOf(text);
    return asked.isFor(view, 0, view.byteLength, [toGid('10.0.0.1'), toGid('fd00::1')]);
  };
  t.ok(isFor(arp(TWO, '10.0.0.2', '10.0.0.1')));
  t.notOk(isFor(arp(TWO, '10.0.0.2', '10.0.0.3')));
  const solicitation = (target: string): string =>
    `3333ff000001${TWO}86dd 60000000 0018 3aff ${hex(toGid('fd00::2'))} ${hex(toGid('ff02::1:ff00:1'))} 8700 0000 00000000 ${hex(toGid(target))}`;
  t.ok(isFor(solicitation('fd00::1')));
  t.notOk(isFor(solicitation('fd00::3')));
  t.notOk(isFor(solicitation('fd00::1').slice(0, -20)), 'cut off');
  t.notOk(isFor(`${ALL}${TWO}0800 4500001c 00000000 40010000 ${ip4('10.0.0.2')} ${ip4('10.0.0.1')}`));
});
