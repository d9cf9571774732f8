/** A capture of a tenant's vRNIC: whichever way its packets go, they are seen between the tenant's addresses, as they would be on a wire of its own, at both ends. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { QpnRanges } from '../../daemon/qpn-ranges.ts';
import type { Underlay } from '../../rnic/path.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import { readCapture } from '../../wire/capture.ts';
import { decode } from '../../wire/decode.ts';
import { type Description, describe } from '../../wire/describe.ts';
import { gidText, toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { hostsOnSwitch, type Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { type RcApp, writeAll } from '../workers/rc-app.ts';
import { startEndpoint } from './rc-endpoint.ts';

const BYTES = 200_000;
const PATH_MTU = 5;
const PATH_MTU_BYTES = 4096;
const GID_INDEX = 1;
const INNER = { ipv4: ['10.0.0.1', '10.0.0.2', '10.0.0.3'], ipv6: ['fd00::1', 'fd00::2', 'fd00::3'] };
type Family = keyof typeof INNER;
const VTEPS = { ipv4: ['192.0.2.1', '192.0.2.2'], ipv6: ['fd99::1', 'fd99::2'] };
/** Which host each endpoint lives on. */
const HOMES = [0, 0, 1];

function tenantOf(vni: number, inner: Family, outer: Family, underlay: Underlay): Tenant {
  const endpoints = INNER[inner].map((text, i) => {
    const address = toGid(text);
    return { address, mac: macOf(vni, address), host: toGid(VTEPS[outer][HOMES[i]!]!) };
  });
  return { name: `t${vni}`, vni, endpoints, rules: [], underlay };
}

const macText = (mac: Uint8Array): string => [...mac].map((one) => one.toString(16).padStart(2, '0')).join(':');
/** What tells a packet from others of its connection, and what it carries. */
const isWrite = ({ opcode }: Description): boolean => opcode?.includes('RDMA_WRITE') ?? false;
const essence = ({ source, destination, opcode, destQp, psn, payloadBytes }: Description): string =>
  `${source} > ${destination} ${opcode} ${destQp} ${psn} ${payloadBytes}`;

t.test('captures', { skip: lacks('root'), timeout: 300_000 }, async (t) => {
  const [, ...hosts] = await hostsOnSwitch(t, 2);
  for (const [i, host] of hosts.entries()) await host.ip('addr', 'add', `${VTEPS.ipv6[i]}/64`, 'dev', 'eth0', 'nodad');
  let vni = 100;

  const pathTo = (i: number): string => `/var/run/netns/${(hosts[HOMES[i]!] as Namespace).name}`;

  /** A WRITE from endpoint `a` to `b`, captured at both. */
  async function watch(t: Test, tenant: Tenant, a: number, b: number, workers: number): Promise<void> {
    const supervisor = new Supervisor({ workers, spin: 20 });
    t.teardown(() => supervisor.stop());
    const hosting = { supervisor, ranges: new QpnRanges(), tenant };
    const ends = a === b ? [a] : [a, b];
    const apps = [];
    for (const i of ends) apps.push(await startEndpoint(t, hosting, i, pathTo(i), BYTES));
    const [from, to] = [apps[0]!, apps.at(-1)!];
    const reach = async (app: RcApp, peer: RcApp, far: number): Promise<unknown> =>
      t.match(await app.connect(tenant.endpoints[far]!.address, GID_INDEX, peer.qpNum, PATH_MTU), { ok: true });
    await reach(from, to, b);
    if (to !== from) await reach(to, from, a);
    const files = ends.map((i) => join(t.testdir(), `v${i}.pcapng`));
    for (const [n, i] of ends.entries()) await supervisor.capture(`v${i}`, { file: files[n]! });
    await writeAll(t, from, to, vni);
    for (const i of ends) await supervisor.capture(`v${i}`);
    const seen = files.map((file) => readCapture(readFileSync(file)).map(({ octets }) => describe(decode(octets))));
    for (const packets of seen) check(t, packets, tenant, a, b, from.qpNum, to.qpNum);
    const [sent, arrived = sent] = seen.map((packets) => [...new Set(packets.filter(isWrite).map(essence))].sort());
    t.strictSame(arrived, sent, 'both see the same');
    await writeAll(t, to, from, vni + 1);
    t.equal(readCapture(readFileSync(files[0]!)).length, seen[0]!.length, 'what comes behind the end is not in it');
  }

  function check(
    t: Test,
    packets: Description[],
    tenant: Tenant,
    a: number,
    b: number,
    fromQpn: number,
    toQpn: number,
  ) {
    const [source, destination] = [tenant.endpoints[a]!, tenant.endpoints[b]!];
    const there = {
      source: gidText(source.address),
      destination: gidText(destination.address),
      sourceMac: macText(source.mac),
      destinationMac: macText(destination.mac),
      destQp: toQpn,
    };
    const back = {
      source: there.destination,
      destination: there.source,
      sourceMac: there.destinationMac,
      destinationMac: there.sourceMac,
      destQp: fromQpn,
    };
    const writes = packets.filter(isWrite);
    // A wire may lose some, which are sent again.
    const once = [...new Map(writes.map((packet) => [packet.psn, packet])).values()];
    const answers = packets.filter(({ opcode }) => opcode?.includes('ACKNOWLEDGE'));
    t.equal(once.length, Math.ceil(BYTES / PATH_MTU_BYTES));
    t.equal(
      once.reduce((sum, { payloadBytes = 0 }) => sum + payloadBytes, 0),
      BYTES,
    );
    t.ok(answers.length > 0);
    t.equal(writes.length + answers.length, packets.length, 'nothing else');
    for (const packet of writes) if (!matches(packet, there)) t.match(packet, there);
    for (const packet of answers) if (!matches(packet, back)) t.match(packet, back);
    for (const packet of packets) if (packet.icrc !== 'ok' || packet.malformed) t.match(packet, { icrc: 'ok' });
  }

  for (const [name, underlay, a, b, workers] of [
    ['by memory', 'local', 0, 1, 1],
    ['by memory, to another worker', 'local', 0, 1, 2],
    ['to itself', 'local', 0, 0, 1],
    ['by VXLAN', 'vxlan', 0, 2, 2],
    ['by VXLAN within a host', 'vxlan', 0, 1, 1],
    ['by translation', 'translate', 0, 2, 2],
  ] as const)
    await t.test(name, (t) => watch(t, tenantOf(vni++, 'ipv4', 'ipv4', underlay), a, b, workers));
  for (const [inner, outer] of [
    ['ipv4', 'ipv6'],
    ['ipv6', 'ipv4'],
    ['ipv6', 'ipv6'],
  ] as const)
    await t.test(`by translation, ${inner} between hosts of ${outer}`, (t) =>
      watch(t, tenantOf(vni++, inner, outer, 'translate'), 0, 2, 2),
    );
});

const matches = (packet: Description, wanted: Partial<Description>): boolean =>
  Object.entries(wanted).every(([key, value]) => packet[key as keyof Description] === value);
