/** Limits that vRNICs of one host share, over memory: nobody's packets see a wire, all count. */
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WcStatus } from '../../rnic/constants.ts';
import { burstOf } from '../../vswitch/bucket.ts';
import { type Limit, macOf, type Tenant } from '../../vswitch/model.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { RcApp } from '../workers/rc-app.ts';

const VNI = 100;
const HOST = toGid('127.0.0.1');
const [PEER, MODEST, GREEDY] = [toGid('fd00::1'), toGid('fd00::2'), toGid('fd00::3')];
const BYTES = 65_536;
/** WRITEs under way of one sender. */
const DEPTH = 32;
const RATE = 200e6;
const LEAST_BYTES = 20 << 20;
/** Of packets, where nothing is lost: a thread that is kept from its core may repeat some. */
const REPEATED_MAX = 0.05;
const PATIENCE_MILLIS = 60_000;

const endpoint = (address: Uint8Array, limit?: Limit) => ({
  address,
  mac: macOf(VNI, address),
  host: HOST,
  ...(limit && { limit }),
});

class Sender {
  readonly #app: RcApp;
  readonly #rKey: number;
  #posted = 0;
  done = 0;

  constructor(app: RcApp, rKey: number) {
    this.#app = app;
    this.#rKey = rKey;
  }

  /** Keeps as much under way as may be. @throws Error: a WRITE failed. */
  push(): void {
    for (; this.#posted - this.done < DEPTH; this.#posted++) this.#app.write(0, BYTES, this.#rKey, 0);
    for (let status = this.#app.pollCq(); status >= 0; status = this.#app.pollCq()) {
      if (status !== WcStatus.SUCCESS) throw new Error(`status ${status}`);
      this.done++;
    }
  }
}

/** Two vRNICs of a tenant that write to a third. */
async function senders(t: Test, tenant: Tenant): Promise<{ modest: Sender; greedy: Sender; supervisor: Supervisor }> {
  const supervisor = new Supervisor();
  t.teardown(() => supervisor.stop());
  const open = async (name: string): Promise<RcApp> =>
    RcApp.open(await connect(await supervisor.endpoint(name)), BYTES);
  const port = { kind: 'vxlan', local: HOST, mtu: 1450, udpPort: 0 } as const;
  for (const [name, address] of [
    ['peer', PEER],
    ['modest', MODEST],
    ['greedy', GREEDY],
  ] as const) {
    const mac = macOf(VNI, address);
    await supervisor.startVrnic({ name, port, mac, gids: [Gid.linkLocalOf(mac), address], tenant });
  }
  const sender = async (name: string, address: Uint8Array): Promise<Sender> => {
    const [here, there] = [await open(name), await open('peer')];
    t.match(await there.connect(address, 1, here.qpNum), { ok: true });
    t.match(await here.connect(PEER, 1, there.qpNum), { ok: true });
    return new Sender(here, there.rKey);
  };
  return { modest: await sender('modest', MODEST), greedy: await sender('greedy', GREEDY), supervisor };
}

t.test('a tenant’s limit holds its vRNICs together, and a guarantee one of them its share', async (t) => {
  const tenant: Tenant = {
    name: 'blue',
    vni: VNI,
    endpoints: [endpoint(PEER), endpoint(MODEST, { guarantee: RATE * 0.9 }), endpoint(GREEDY)],
    rules: [],
    limit: { rate: RATE },
  };
  const { modest, greedy, supervisor } = await senders(t, tenant);
  const begin = performance.now();
  while ((modest.done + greedy.done) * BYTES < LEAST_BYTES && performance.now() - begin < PATIENCE_MILLIS) {
    modest.push();
    greedy.push();
    await turn();
  }
  const millis = performance.now() - begin;
  const sent = (modest.done + greedy.done) * BYTES;
  t.ok(sent >= LEAST_BYTES, `${sent} octets`);
  // The guarantee's burst is owed, and no more than that.
  const most = (RATE * millis) / 8000 + 2 * burstOf(RATE);
  t.ok(sent <= most, `${sent} octets in ${millis} ms, at most ${most}`);
  t.ok(modest.done >= 0.6 * (modest.done + greedy.done), `${modest.done} and ${greedy.done}`);
  t.ok(greedy.done > 0, 'what is not guaranteed is for all');
  for (const name of ['modest', 'greedy']) {
    const { counters } = await supervisor.statistics(name);
    t.ok(counters['limited_micros']! > 0);
    t.ok(counters['retransmitted_pkts']! <= REPEATED_MAX * counters['sent_pkts']!, 'who waits repeats nothing');
  }
});

t.test('those who share a limit without guarantees both have some of it', async (t) => {
  const endpoints = [PEER, MODEST, GREEDY].map((address) => endpoint(address));
  const { modest, greedy } = await senders(t, {
    name: 'blue',
    vni: VNI,
    endpoints,
    rules: [],
    limit: { rate: RATE },
  });
  const begin = performance.now();
  while ((modest.done + greedy.done) * BYTES < LEAST_BYTES && performance.now() - begin < PATIENCE_MILLIS) {
    modest.push();
    greedy.push();
    await turn();
  }
  const share = modest.done / (modest.done + greedy.done);
  t.ok(share > 0.2 && share < 0.8, `${share}`);
});
