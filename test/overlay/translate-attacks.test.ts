/**
 * Translated connections are plain RoCEv2 between hosts: whoever is on their network may send to them. A third host that knows the QPN, PSN, address and R_Key gets nothing, nor
 * does a packet that was spoilt on its way; the last packet, in which nothing is wrong, shows that the others would have done harm. T-07, R-006.
 */
import t from 'tap';
import { QpnRanges } from '../../daemon/qpn-ranges.ts';
import { TransmitBurst } from '../../rnic/burst.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import * as Bth from '../../wire/bth.ts';
import * as Ethernet from '../../wire/ethernet.ts';
import * as Icrc from '../../wire/icrc.ts';
import * as Ipv4 from '../../wire/ipv4.ts';
import * as Opcode from '../../wire/opcode.ts';
import * as Reth from '../../wire/reth.ts';
import type { PKey, Psn, Qpn, RKey } from '../../wire/types.ts';
import * as Udp from '../../wire/udp.ts';
import { readNetdev, toGid } from '../../workers/linux/netdev.ts';
import { AfPacketPort } from '../../workers/ports/af-packet.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { eventually } from '../support/eventually.ts';
import { hostsOnSwitch, type Namespace } from '../support/netns.ts';
import { lacks } from '../support/skip.ts';
import { IOVA, type RcApp, writeAll } from '../workers/rc-app.ts';
import { within } from '../workers/veth.ts';
import { startEndpoint } from './rc-endpoint.ts';

const VNI = 100;
const BYTES = 4096;
const [A, B, STRANGER] = [0, 1, 2];
const HARM = 64;
const HARM_OCTET = 0xee;
/** What both ends begin with. */
const FIRST_PSN = 7;
const HEAD_BYTES = Ethernet.BYTES + Ipv4.BYTES + Udp.BYTES;

const hostText = (i: number): string => `192.0.2.${i + 1}`;
const addresses = ['10.0.0.1', '10.0.0.2'].map(toGid);
const tenant: Tenant = {
  name: 'blue',
  vni: VNI,
  endpoints: addresses.map((address, i) => ({ address, mac: macOf(VNI, address), host: toGid(hostText(i)) })),
  rules: [],
  underlay: 'translate',
};
const pathOf = (host: Namespace): { path: string } => ({ path: `/var/run/netns/${host.name}` });
const wordOf = (text: string): number => Buffer.from(text.split('.').map(Number)).readUInt32BE();

interface Wanted {
  readonly source: string;
  readonly psn: number;
  readonly isSpoilt?: boolean;
}

/** An RDMA WRITE of some octets into the victim's memory. */
function forge(victim: RcApp, macs: readonly [Uint8Array, Uint8Array], { source, psn, isSpoilt = false }: Wanted) {
  const burst = new TransmitBurst(1024);
  const { bytes, view } = burst;
  const bthBytes = Bth.BYTES + Reth.BYTES + HARM + Icrc.BYTES;
  bytes.set(macs[1], 0);
  bytes.set(macs[0], Ethernet.MAC_BYTES);
  view.setUint16(Ethernet.BYTES - 2, Ethernet.ETHER_TYPE_IPV4);
  const [from, to] = [wordOf(source), wordOf(hostText(A))];
  const length = Ipv4.BYTES + Udp.BYTES + bthBytes;
  Ipv4.write(view, Ethernet.BYTES, 0, length, 1, 64, Ipv4.PROTOCOL_UDP, from, to);
  Udp.write(view, Ethernet.BYTES + Ipv4.BYTES, 50_000, Udp.PORT_ROCE, Udp.BYTES + bthBytes);
  Bth.write(view, HEAD_BYTES, Opcode.RC_RDMA_WRITE_ONLY, 0, 0xffff as PKey, victim.qpNum as Qpn, true, psn as Psn);
  Reth.write(view, HEAD_BYTES + Bth.BYTES, 0, Number(IOVA), victim.rKey as RKey, HARM);
  bytes.fill(HARM_OCTET, HEAD_BYTES + Bth.BYTES + Reth.BYTES, HEAD_BYTES + bthBytes - Icrc.BYTES);
  const icrcAt = HEAD_BYTES + bthBytes - Icrc.BYTES;
  Icrc.write(view, icrcAt, Icrc.compute(view, bytes, Ethernet.BYTES, icrcAt) ^ (isSpoilt ? 1 : 0));
  burst.frameBytes[0] = HEAD_BYTES + bthBytes;
  burst.count = 1;
  return burst;
}

t.test('a translated connection and a third host', { skip: lacks('root'), timeout: 120_000 }, async (t) => {
  const [, ...hosts] = await hostsOnSwitch(t, 3);
  const supervisor = new Supervisor({ workers: 2, spin: 20 });
  t.teardown(() => supervisor.stop());
  const hosting = { supervisor, ranges: new QpnRanges(), tenant };
  const start = (i: number): Promise<RcApp> => startEndpoint(t, hosting, i, pathOf(hosts[i]!).path, BYTES);
  const [victim, peer] = [await start(A), await start(B)];
  t.match(await victim.connect(addresses[B]!, 1, peer.qpNum), { ok: true });
  t.match(await peer.connect(addresses[A]!, 1, victim.qpNum), { ok: true });
  const stranger = within(pathOf(hosts[STRANGER]!), () => new AfPacketPort({ netdev: 'eth0', addresses: [] }));
  t.teardown(() => stranger.close());
  const macAt = (i: number): Uint8Array => within(pathOf(hosts[i]!), () => readNetdev('eth0').mac);
  const macs = [macAt(STRANGER), macAt(A)] as const;
  const counters = async () => (await supervisor.statistics('v0')).counters;
  /** Sends it until the counter says that it has come. */
  const attack = async (wanted: Wanted, counter: string): Promise<void> => {
    const before = (await counters())[counter]!;
    t.ok(stranger.transmit(forge(victim, macs, wanted)));
    t.ok(await eventually(async () => (await counters())[counter]! > before), counter);
  };
  const isHarmed = (): boolean => victim.memory.subarray(0, HARM).some((octet) => octet === HARM_OCTET);

  for (const psn of [FIRST_PSN, FIRST_PSN + 1]) {
    await attack({ source: hostText(STRANGER), psn }, 'drop_address');
    await attack({ source: hostText(B), psn, isSpoilt: true }, 'rx_icrc_encapsulated');
  }
  t.notOk(isHarmed());
  await writeAll(t, peer, victim, 1);
  t.notOk(isHarmed(), 'and the connection goes on');
  await attack({ source: hostText(B), psn: FIRST_PSN + Math.ceil(BYTES / 1024) }, 'rcvd_pkts');
  t.ok(await eventually(isHarmed), 'from the peer’s host, and whole: nothing tells it from the peer’s');
});
