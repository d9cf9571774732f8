/** When a burst leaves that a limit has kept back: behind what another vRNIC of the thread sends, where one does. The clock is the test's. */
import t, { type Test } from 'tap';
import { Access, Context, QpType, WrOpcode } from '../../verbs/index.ts';
import { macOf, type Tenant } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { clock } from '../../workers/clock.ts';
import { ENGINE_PARTS } from '../../workers/engine-parts.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Lull } from '../../workers/lull.ts';
import { PolledLink } from '../../workers/polled-link.ts';
import { openVrnic, type Vrnic } from '../../workers/vrnic.ts';
import { exclusive } from '../support/exclusive.ts';

const HERE = toGid('127.8.1.1');
const ADDRESSES = [toGid('10.0.0.1'), toGid('10.0.0.2')];
const BYTES = 4096;
const Q_KEY = 0x1111_1111;
const SENDS = 100;
/** Every two packets, more or less, a microsecond each 125 octets. */
const RATE = 1e9;
const BURST = 32_768;
/** A quantum of 8 KiB, and less than two. */
const QUANTUM_MICROS = 70;
/** As long as a burst waits for others. */
const PATIENCE = 64;

function tenantOf(name: string, vni: number, limit?: { rate: number; burst: number }): Tenant {
  const endpoints = ADDRESSES.map((address) => ({ address, mac: macOf(vni, address), host: HERE }));
  return { name, vni, endpoints, rules: [], underlay: 'local', ...(limit && { limit }) };
}

interface Sender {
  /** What it has sent by then. */
  breathe(now: number): number;
  post(count: number): void;
}

/** The first endpoint of a tenant, which sends datagrams to the second. */
async function open(t: Test, tenant: Tenant): Promise<Sender> {
  const seat = (i: number): Vrnic => {
    const { mac, address } = tenant.endpoints[i]!;
    const port = { kind: 'vxlan', netdev: 'lo', local: HERE, mtu: 4400 } as const;
    const vrnic = openVrnic(
      { name: `${tenant.name}${i}`, port, mac, gids: [Gid.linkLocalOf(mac), address], tenant },
      ENGINE_PARTS,
    );
    t.teardown(() => vrnic.close(clock()));
    return vrnic;
  };
  const vrnic = seat(0);
  seat(1);
  const link = new PolledLink(tenant.name, () => vrnic.breathe(clock()));
  link.begin(vrnic.attach(link)!.application, () => {});
  const context = new Context(link);
  const pd = await context.allocPd();
  const cq = await context.createCq(16);
  const mr = await pd.regMr(new SharedArrayBuffer(BYTES), Access.LOCAL_WRITE);
  const qp = await pd.createQp({ type: QpType.UD, sendCq: cq, recvCq: cq, cap: { maxSendWr: SENDS } });
  await qp.toInit({ qKey: Q_KEY });
  await qp.toRtr();
  await qp.toRts(1);
  const ah = await pd.createAh({ dgid: ADDRESSES[1]!, sgidIndex: 1 });
  const work = { opcode: WrOpcode.SEND, ah, remoteQpn: 99, remoteQKey: Q_KEY, sgList: [{ mr, length: BYTES }] };
  return {
    breathe: (now) => {
      vrnic.breathe(now);
      return vrnic.statistics().counters.sent_pkts!;
    },
    post: (count) => {
      for (let i = 0; i < count; i++) qp.postSend(work);
    },
  };
}

t.test('a burst of a limited vRNIC goes behind what others of its thread send', async (t) => {
  await exclusive(t, 'vxlan-port');
  const red = await open(t, tenantOf('red', 100, { rate: RATE, burst: BURST }));
  const blue = await open(t, tenantOf('blue', 200));
  let now = clock() + 1000;
  red.post(SENDS);
  const first = red.breathe(now);
  t.ok(first >= BURST / BYTES - 1 && first < SENDS, 'until its limit stops it');
  now += 2 * QUANTUM_MICROS; // it may have sent a packet more than it had
  const second = red.breathe(now);
  t.ok(second > first, 'others send nothing: nobody is waited for');

  blue.post(1);
  t.equal(blue.breathe(now), 1);
  now += 2 * QUANTUM_MICROS;
  t.equal(red.breathe(now), second, 'it might go on, but others send lately');
  blue.post(1);
  t.equal(blue.breathe(now + 1), 2);
  const third = red.breathe(now + 2);
  t.ok(third > second, 'another has just sent');

  blue.post(1);
  t.equal(blue.breathe(now + 3), 3);
  now += 2 * QUANTUM_MICROS;
  t.equal(red.breathe(now), third);
  t.equal(red.breathe(now + PATIENCE - 1), third, 'nobody sends');
  t.ok(red.breathe(now + PATIENCE) > third, 'it does not wait for ever');
});

t.test('a moment', async (t) => {
  const [one, other] = [new Lull(), new Lull()];
  one.hasSent();
  one.begin();
  t.notOk(one.isAwaited(10), 'what it sends itself is nothing to wait for');
  other.hasSent();
  t.notOk(one.isAwaited(11), 'nor does it wait once it need not');
  one.begin();
  t.notOk(one.isAwaited(20), 'none has sent since the last burst');
  one.begin();
  other.hasSent();
  t.ok(one.isAwaited(30));
  one.hasSent();
  t.ok(one.isAwaited(30 + PATIENCE - 1));
  t.notOk(one.isAwaited(30 + PATIENCE), 'it does not wait for ever');
  one.begin();
  other.hasSent();
  t.ok(one.isAwaited(200));
  other.hasSent();
  t.notOk(one.isAwaited(201), 'another has just sent');
});
