/** Ports of a tenant's switch among those who share a worker: real frames on a veth pair, turns and limits by a clock that the test moves. */
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type Limit, macOf, type Tenant } from '../../vswitch/model.ts';
import { registerArena } from '../../wire/arena.ts';
import * as Gid from '../../wire/gid.ts';
import { connect } from '../../workers/client.ts';
import { clock } from '../../workers/clock.ts';
import { addressOf } from '../../workers/linux/arena.ts';
import { inNamespace } from '../../workers/linux/interfaces.ts';
import { toGid } from '../../workers/linux/netdev.ts';
import { openSwitchPort, type SwitchPort, type SwitchPortConfig } from '../../workers/overlay/switch-port.ts';
import { NetdevFrames, NetdevPort } from '../../workers/ports/netdev-port.ts';
import { Supervisor } from '../../workers/supervisor.ts';
import { type Breather, CROWD_FRAMES, Share, Turns } from '../../workers/turns.ts';
import { Fault } from '../workers/probe-engine.ts';
import { makeVeth, type VethEnd, whyNoNamespaces } from '../workers/veth.ts';

const VNI = 100;
const HERE = toGid('127.0.0.77');
const [MACHINE, PEER] = [toGid('10.0.0.1'), toGid('10.0.0.2')];
const EVERYBODY = new Uint8Array(6).fill(0xff);
const FRAME_BYTES = 1000;
/** Breaths in a row for which those without a guarantee wait. */
const HELD = 16;
const PATIENCE = 5000;

const tenantOf = (own: Limit, others: readonly Uint8Array[] = [], peer: Limit = {}): Tenant => ({
  name: 'blue',
  vni: VNI,
  endpoints: [
    { address: MACHINE, mac: macOf(VNI, MACHINE), host: HERE, kind: 'veth', limit: own },
    { address: PEER, mac: macOf(VNI, PEER), host: HERE, limit: peer },
    ...others.map((host, i) => {
      const address = toGid(`10.0.1.${i}`);
      return { address, mac: macOf(VNI, address), host };
    }),
  ],
  rules: [],
});

/** What is behind the port's interface: it sends UDP from the machine's address. */
class Machine {
  readonly #netdev: NetdevPort;
  readonly #bytes = new Uint8Array(new SharedArrayBuffer(FRAME_BYTES));

  constructor(t: Test, { path, netdev }: VethEnd) {
    this.#netdev = inNamespace(path, () => new NetdevPort(netdev));
    registerArena(this.#bytes);
    t.teardown(() => this.#netdev.close());
  }

  send(count: number, destination = macOf(VNI, PEER)): void {
    const to = [10, 0, 0, 2];
    this.#bytes.set([...destination, ...macOf(VNI, MACHINE), 0x08, 0]);
    this.#bytes.set([0x45, 0, (FRAME_BYTES - 14) >> 8, (FRAME_BYTES - 14) & 255, 0, 0, 0, 0, 64, 17, 0, 0], 14);
    this.#bytes.set([10, 0, 0, 1, ...to, 0x30, 0x39, 0x30, 0x39], 26);
    const frames = new NetdevFrames(1);
    frames.put(0, FRAME_BYTES);
    for (let i = 0; i < count; i++) this.#netdev.send(addressOf(this.#bytes), frames);
  }
}

/** Always has something to send; says when it may. */
class Sender implements Breather {
  readonly share = new Share();
  readonly errandMicros = 0;
  readonly hasRunOut = false;
  isOwedNow = false;
  mayTransmit = false;

  breathe(_now: number, mayTransmit: boolean): boolean {
    this.mayTransmit = mayTransmit;
    return true;
  }

  dozes(): boolean {
    return false;
  }

  isOwed(): boolean {
    return this.isOwedNow;
  }
}

const PORT = 'blue/v1';
const configOf = (tenant: Tenant, { path: namespace, netdev }: VethEnd): SwitchPortConfig => ({
  ...{ name: PORT, tenant, address: MACHINE, kind: 'veth', netdev, namespace, local: HERE, mtu: 1450 },
});
let made = 0;

/** `taken`: frames of the machine's until now, but for what the kernel of its namespace has to say. */
function open(t: Test, tenant: Tenant): { port: SwitchPort; machine: Machine; taken: () => number } {
  const veth = makeVeth(`turns${++made}`);
  t.teardown(() => veth.remove());
  const port = openSwitchPort(configOf(tenant, veth.left));
  t.teardown(() => port.close());
  const taken = (): number => {
    const { counters } = port.statistics();
    return counters['from_port']! - counters['drop_spoofed']!;
  };
  return { port, machine: new Machine(t, veth.right), taken };
}

/** A port beside a vRNIC that is guaranteed more than it will ever send, in a real worker. `wantAll`: it has something to send from then on. */
async function guaranteed(t: Test) {
  const veth = makeVeth(`turns${++made}`);
  t.teardown(() => veth.remove());
  const supervisor = new Supervisor({
    workerFile: fileURLToPath(new URL('../workers/probe-worker.js', import.meta.url)),
  });
  t.teardown(() => supervisor.stop());
  const tenant = tenantOf({}, [], { guarantee: 1e9 });
  const mac = macOf(VNI, PEER);
  const port = { kind: 'vxlan', local: HERE, mtu: 1450 } as const;
  await supervisor.startVrnic({ name: 'greedy', port, mac, gids: [Gid.linkLocalOf(mac), PEER], tenant });
  await supervisor.startPort(configOf(tenant, veth.left));
  const link = await connect(await supervisor.endpoint('greedy'));
  return { supervisor, wantAll: () => link.call({ op: 'deallocPd', pd: Fault.GREED }) };
}

/** A port beside a sender, in one worker whose time stands still unless somebody moves it. */
function worker(t: Test, own: Limit = {}) {
  const { port, machine, taken } = open(t, tenantOf(own));
  const sender = new Sender();
  const now = clock();
  const turns = new Turns(() => now);
  turns.hasGuarantees = true;
  /** One round. How many frames the port took. */
  const round = (): number => {
    const before = taken();
    turns.breathe([sender, port], now);
    return taken() - before;
  };
  return { port, machine, sender, round };
}

t.test('switch ports have turns', { skip: whyNoNamespaces() }, async (t) => {
  await t.test('a port lets a vRNIC send that is below its guarantee, but for every seventeenth breath', async (t) => {
    const { machine, sender, round } = worker(t);
    const frames = 3 * CROWD_FRAMES;
    machine.send(frames);
    sender.isOwedNow = true;
    const by: number[] = [];
    for (let i = 0, taken = 0; taken < frames && i < PATIENCE; i++) {
      const count = round();
      taken += count;
      if (count > 0) by.push(i % (HELD + 1));
    }
    t.ok(by.length > 0 && by.every((place) => place === HELD), String(by));
  });

  await t.test(
    'a port that is below its guarantee sends before others, for as long as its machine sends',
    async (t) => {
      const { machine, sender, round } = worker(t, { guarantee: 1e9 });
      round();
      t.ok(sender.mayTransmit, 'nobody is behind the port yet');
      const frames = 6 * CROWD_FRAMES;
      machine.send(frames);
      const behind: boolean[] = [];
      for (let i = 0, taken = 0, last = 0; taken < frames && i < PATIENCE; i++) {
        const count = round();
        if (last > 0) behind.push(sender.mayTransmit);
        taken += count;
        last = count;
      }
      t.ok(behind.length > 0 && !behind.includes(true), String(behind));
      round();
      const after = Array.from({ length: 2 * HELD }, () => {
        round();
        return sender.mayTransmit;
      });
      t.ok(after.filter(Boolean).length > HELD, 'its machine has sent all');
    },
  );

  await t.test('beside one that has something to do a port takes a few frames in a breath', async (t) => {
    const { machine, round } = worker(t);
    const frames = 12 * CROWD_FRAMES;
    machine.send(frames);
    const counts: number[] = [];
    for (let i = 0, taken = 0; taken < frames && i < PATIENCE; i++) {
      const count = round();
      taken += count;
      // That they are two is known from the first one on.
      if (taken > count) counts.push(count);
    }
    t.ok(counts.length > 0 && Math.max(...counts) <= CROWD_FRAMES, String(counts));
  });

  await t.test('each copy of what a port sends to everybody counts against its rate', async (t) => {
    const others = [78, 79, 80].map((last) => toGid(`127.0.0.${last}`));
    const burst = 16_384;
    const { port, machine, taken } = open(t, tenantOf({ rate: 10_000, burst }, others));
    const now = clock();
    machine.send(30, EVERYBODY);
    for (let i = 0; i < PATIENCE && taken() * FRAME_BYTES * others.length < burst; i++) port.breathe(now);
    for (let i = 0; i < 100; i++) port.breathe(now);
    t.equal(taken(), Math.ceil(burst / (FRAME_BYTES * others.length)), 'the last one is owed');
  });

  await t.test('a worker gives its ports turns as it does its vRNICs', async (t) => {
    const { supervisor, wantAll } = await guaranteed(t);
    /** How often the port has looked at its machine in so many breaths. */
    const looks = async (): Promise<{ machine: number; breaths: number }> => {
      const [machine, network] = Object.values((await supervisor.statistics(PORT)).ports);
      return { machine: machine!.rxCalls, breaths: network!.rxCalls };
    };
    const until = async (breaths: number): Promise<{ machine: number; breaths: number }> => {
      const first = await looks();
      for (let i = 0; i < PATIENCE; i++) {
        const last = await looks();
        if (last.breaths - first.breaths >= breaths)
          return { machine: last.machine - first.machine, breaths: last.breaths - first.breaths };
      }
      throw new Error('the worker does not breathe');
    };
    const quiet = await until(100);
    t.equal(quiet.machine, quiet.breaths, 'in each');
    await wantAll();
    const held = await until(1000);
    t.ok(held.machine > 0 && held.machine < held.breaths / 10, `${held.machine} times in ${held.breaths} breaths`);
  });
});
