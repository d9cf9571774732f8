/** What every port must do, whatever carries its frames. One list of tests, run for each kind. */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { ReceiveBurst } from '../../rnic/burst.ts';
import { Counters } from '../../rnic/counters.ts';
import type { ReceivedPacket } from '../../rnic/packet.ts';
import { Framing, type Path } from '../../rnic/path.ts';
import * as Bth from '../../wire/bth.ts';
import { crc32 } from '../../wire/crc32.ts';
import * as Icrc from '../../wire/icrc.ts';
import type { Port } from '../../workers/port.ts';
import { Receiver } from '../../workers/receive.ts';
import { FrameMaker, HEADER_AND_ICRC, payloadOf } from './test-frames.ts';

export interface PortPair {
  readonly a: Port;
  readonly b: Port;
  /** Headers from a to b, and back. */
  readonly there: Path;
  readonly back: Path;
}

export interface Conformance {
  readonly name: string;
  open(): PortPair;
}

interface Packet {
  readonly psn: number;
  readonly payload: Uint8Array;
  readonly icrcOk: boolean;
}

function icrcOk({ view, bytes, bthAt, end, ipAt, udpAt, isIpv6, ipId }: ReceivedPacket): boolean {
  const udpBytes = 8 + end - bthAt; // of this segment: a super-frame's headers stand once
  const header = Icrc.headerCrc(view, ipAt, isIpv6, udpAt, bthAt, ipId, udpBytes + (isIpv6 ? 0 : 20), udpBytes);
  return Icrc.read(view, end - Icrc.BYTES) === crc32(bytes, bthAt + Bth.BYTES, end - Icrc.BYTES, header);
}

const WAIT_MILLIS_MAX = 5000;

/** Collects what a port receives, as the worker would see it. */
class Collector {
  readonly packets: Packet[] = [];
  readonly counters = new Counters();
  /** Frames of one burst. */
  most = 0;
  readonly #port: Port;
  readonly #burst = new ReceiveBurst();
  readonly #receiver: Receiver;

  constructor(port: Port) {
    this.#port = port;
    this.#receiver = new Receiver(this, null, this.#burst, { admit: () => 0 });
  }

  handlePacket(packet: ReceivedPacket): void {
    const { view, bytes, bthAt, end } = packet;
    const pad = (view.getUint8(bthAt + 1) >> 4) & 3;
    const payload = bytes.slice(bthAt + Bth.BYTES, end - Icrc.BYTES - pad);
    this.packets.push({ psn: Bth.psn(view, bthAt), payload, icrcOk: icrcOk(packet) });
  }

  settle(): void {}

  limit(frames: number): void {
    this.#burst.limit = frames;
  }

  poll(): number {
    const count = this.#port.receive(this.#burst);
    this.most = Math.max(this.most, count);
    if (count > 0) this.#receiver.handleBurst(this.#burst, this.#port, 0, false, 0);
    return count;
  }

  async until(count: number, sender?: () => void): Promise<void> {
    for (const end = Date.now() + WAIT_MILLIS_MAX; this.packets.length < count && Date.now() < end; ) {
      sender?.();
      if (this.poll() === 0) await sleep(1);
    }
  }
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

/** Runs one test on a fresh pair and closes it whatever happens. */
async function withPair(kind: Conformance, body: (pair: PortPair) => Promise<void>): Promise<void> {
  const pair = kind.open();
  try {
    await body(pair);
  } finally {
    pair.a.close();
    pair.b.close();
  }
}

/** Sends all of `maker` by `port`, collecting at the other end whenever the port wants a pause. */
async function exchange(port: Port, maker: FrameMaker, to: Collector, count: number): Promise<void> {
  const send = (): void => {
    if (port.transmit(maker.burst)) maker.burst.reset();
  };
  send();
  await to.until(count, () => maker.burst.count > 0 && send());
}

function checkRun(t: Test, packets: readonly Packet[], firstPsn: number, sizes: readonly number[]): void {
  t.same(
    packets.map(({ psn }) => psn),
    sizes.map((_, i) => firstPsn + i),
    'every packet once, in order',
  );
  t.same(
    packets.map(({ payload }) => payload.length),
    sizes,
    'with its size',
  );
  t.ok(
    packets.every(({ psn, payload }) => Buffer.compare(payload, payloadOf(psn, payload.length)) === 0),
    'and octets',
  );
  t.ok(
    packets.every((packet) => packet.icrcOk),
    'and a right ICRC',
  );
}

/** Payloads up to what the port's MTU holds. */
const sizesUpTo = (path: Path, mtu: number): number[] => {
  const most = mtu - (path.template.length - path.ipAt) - HEADER_AND_ICRC;
  return [0, 1, 2, 3, 4, 18, 64, 255, 256, 1000, 1024, 4096, 8192, most & ~3].filter((size) => size <= most);
};

export function portConformance(t: Test, kind: Conformance): void {
  t.test(`${kind.name}: packets of every size pass both ways, in order`, (t) =>
    withPair(kind, async ({ a, b, there, back }) => {
      for (const [from, to, path] of [
        [a, b, there],
        [b, a, back],
      ] as const) {
        const [maker, collector] = [new FrameMaker(), new Collector(to)];
        const sizes = sizesUpTo(path, from.mtu);
        for (const [i, size] of sizes.entries()) maker.put(path, 100 + i, size);
        await exchange(from, maker, collector, sizes.length);
        checkRun(t, collector.packets, 100, sizes);
      }
    }),
  );

  t.test(`${kind.name}: a run of equal packets and a shorter last one arrives as the same packets`, (t) =>
    withPair(kind, async ({ a, b, there }) => {
      const [maker, collector] = [new FrameMaker(), new Collector(b)];
      const sizes = [...new Array<number>(30).fill(1024), 500];
      maker.putRun(there, 7, 30, 1024);
      maker.putRun(there, 37, 1, 500);
      if (a.framing !== Framing.SINGLE) t.ok(maker.burst.count < 31, 'some of them in super-frames');
      await exchange(a, maker, collector, sizes.length);
      checkRun(t, collector.packets, 7, sizes);
      t.equal(a.counters.txFrames, 31, 'counts packets, not calls');
    }),
  );

  t.test(`${kind.name}: a port that is full says so, and takes the rest later`, (t) =>
    withPair(kind, async ({ a, b, there }) => {
      const [maker, collector] = [new FrameMaker(), new Collector(b)];
      const rounds = 12;
      for (let round = 0; round < rounds; round++) {
        maker.putRun(there, round * 200, 200, 1024);
        await exchange(a, maker, collector, (round + 1) * 200);
      }
      checkRun(t, collector.packets, 0, new Array<number>(rounds * 200).fill(1024));
    }),
  );

  t.test(`${kind.name}: of large frames nobody gets more than wanted at once, and all in the end`, (t) =>
    withPair(kind, async ({ a, b, there }) => {
      const [maker, collector] = [new FrameMaker(), new Collector(b)];
      collector.limit(2);
      const sizes = [1000, 1004, 1008, 1012, 1016, 1020]; // each is too large for the frame before it
      for (const [psn, size] of sizes.entries()) maker.put(there, psn, size);
      await exchange(a, maker, collector, sizes.length);
      checkRun(t, collector.packets, 0, sizes);
      t.ok(collector.most <= 2, `${collector.most} at once`);
    }),
  );

  t.test(`${kind.name}: counters count what passed`, (t) =>
    withPair(kind, async ({ a, b, there }) => {
      const [maker, collector] = [new FrameMaker(), new Collector(b)];
      for (let psn = 0; psn < 5; psn++) maker.put(there, psn, 256);
      await exchange(a, maker, collector, 5);
      t.match(a.counters, { txFrames: 5, txErrors: 0, rxFrames: 0 });
      t.match(b.counters, { rxFrames: 5, rxDropped: 0, txFrames: 0 });
      t.ok(a.counters.txBytes >= 5 * 256 && b.counters.rxBytes >= 5 * 256, 'octets too');
    }),
  );

  t.test(`${kind.name}: close gives every descriptor back, also when called twice`, async (t) => {
    await withPair(kind, async () => {}); // what is loaded once stays open
    await sleep(20);
    const before = openDescriptors();
    for (let round = 0; round < 5; round++) {
      const { a, b } = kind.open();
      for (const port of [a, b, a, b]) port.close();
    }
    await sleep(20);
    t.equal(openDescriptors(), before);
  });

  t.test(`${kind.name}: an empty port gives nothing and does not wait`, (t) =>
    withPair(kind, async ({ b }) => {
      t.equal(b.receive(new ReceiveBurst()), 0);
    }),
  );
}
