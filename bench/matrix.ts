/**
 * Attackers and victims: two tenants' vRNICs in one thread, which breathe in turns as those of a worker do. What the victim moves beside each attack, of the half that is its
 * share, and its latency beside it: docs/spec/threats.md, T-42. Only the thread's time counts: the programs, which run here between its rounds, have cores of their own.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { QpType, SendFlag, WrOpcode } from '../verbs/index.ts';
import type { Micros } from '../wire/types.ts';
import type { FaultOptions } from '../workers/ports/faulty.ts';
import { ATTACKS, type Attack, SPOILT } from './attacks.ts';
import { connected, openPair, type Pair, Thread } from './seat.ts';

const MICROS: Micros = 200_000;
/** V8 compiles anew what an attack and its victim run. */
const WARM_MICROS: Micros = 800_000;
const LARGE_BYTES = 65_536;
const PING_BYTES = 64;
const FAIR = 0.5;
/** Of the fair share, and of the latency alone: T-42. */
const GOALS = { share: 0.8, p99: 3 };
const SPOILING: FaultOptions = { seed: 1, corruption: 0.9 };

interface Victim {
  /** What its program does between two rounds. */
  step(now: Micros): void;
  /** Messages so far. */
  count(): number;
  /** One way, microseconds; of a victim that measures it. */
  readonly times: number[];
}

async function flow(pair: Pair, bytes: number, depth: number): Promise<Victim> {
  const [a, b] = pair;
  const [qp] = await connected(pair);
  const remote = { remoteAddr: b.mr.addr, rKey: b.mr.rKey };
  const wr = {
    opcode: WrOpcode.RDMA_WRITE,
    sendFlags: SendFlag.SIGNALED,
    ...remote,
    sgList: [{ mr: a.mr, length: bytes }],
  };
  let posted = 0;
  const step = (): void => {
    for (; posted < a.done + depth; posted++) qp.postSend(wr);
  };
  return { step, count: () => a.done, times: [] };
}

/** 64 octets there and back. */
async function ping(pair: Pair): Promise<Victim> {
  const qps = await connected(pair, QpType.RC);
  const words = pair.map(({ mr }) => new Int32Array(mr.bytes.buffer, 0, 1));
  const wrs = pair.map(({ mr }, i) => {
    const { mr: to } = pair[1 - i]!;
    const piece = { mr, offset: PING_BYTES, length: PING_BYTES };
    return { opcode: WrOpcode.RDMA_WRITE, remoteAddr: to.addr, rKey: to.rKey, sgList: [piece] };
  });
  const out = pair.map(({ mr }) => new Int32Array(mr.bytes.buffer, PING_BYTES, 1));
  const times: number[] = [];
  let count = 0;
  let begin = 0;
  const post = (i: number): void => {
    out[i]![0] = count;
    qps[i]!.postSend(wrs[i]!);
  };
  let isAnswered = true;
  const step = (now: Micros): void => {
    if (isAnswered) {
      if (count++ > 0) times.push((now - begin) / 2);
      begin = now;
      isAnswered = false;
      post(0);
    }
    if (words[1]![0] === count) {
      words[1]![0] = 0;
      post(1);
    }
    if (words[0]![0] === count) {
      words[0]![0] = 0;
      isAnswered = true;
    }
  };
  return { step, count: () => count, times };
}

const VICTIMS: Readonly<Record<string, (pair: Pair) => Promise<Victim>>> = {
  'WRITEs of 64 KiB': (pair) => flow(pair, LARGE_BYTES, 8),
  'WRITEs of 64 B': (pair) => flow(pair, PING_BYTES, 64),
  latency: ping,
};

/** Messages a second, or the 99th percentile of the latency. */
async function measure(victimOf: (pair: Pair) => Promise<Victim>, attack?: Attack): Promise<number> {
  const thread = new Thread();
  try {
    const victims = await openPair(thread, 'victim');
    const victim = await victimOf(victims);
    const attackers = attack && (await openPair(thread, 'attacker', attack === SPOILT ? SPOILING : undefined));
    const step = attackers && (await attack!(attackers));
    const seats = [...victims, ...(attackers ?? [])];
    let isAttacking = false;
    const attackOnce = async (): Promise<void> => {
      isAttacking = true;
      await step?.();
      isAttacking = false;
    };
    const rounds = async (micros: Micros): Promise<number> => {
      const before = victim.count();
      const start = thread.micros;
      while (thread.micros < start + micros) {
        victim.step(thread.micros);
        if (!isAttacking) attackOnce();
        await null;
        thread.breathe();
        for (const seat of seats) seat.poll();
      }
      return ((victim.count() - before) * 1e6) / (thread.micros - start);
    };
    await rounds(WARM_MICROS);
    victim.times.length = 0;
    const rate = await rounds(MICROS);
    for (; isAttacking; await nextTurn()) thread.breathe();
    const sorted = victim.times.sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? rate;
  } finally {
    thread.close();
  }
}

/** Prints what it finds. */
export async function matrix(): Promise<void> {
  const names = Object.keys(VICTIMS);
  console.log(
    `Of the fair share (at least ${GOALS.share}), and the latency's p99 of that alone (at most ${GOALS.p99}):\n`,
  );
  console.log(`| attack | ${names.join(' | ')} |\n|---|${names.map(() => '---|').join('')}`);
  // The first round is V8's: it compiles.
  for (const name of names) await measure(VICTIMS[name]!);
  const alone: number[] = [];
  for (const name of names) alone.push(await measure(VICTIMS[name]!));
  const [bandwidth, rate, latency] = alone as [number, number, number];
  const gigabits = ((bandwidth * LARGE_BYTES * 8) / 1e9).toFixed(1);
  console.log(`| none | ${gigabits} Gb/s | ${(rate / 1e6).toFixed(2)} M/s | p99 ${latency.toFixed(1)} µs |`);
  for (const [attack, steps] of [...Object.entries(ATTACKS), ['packets that are spoilt', SPOILT] as const]) {
    const cells: string[] = [];
    for (const name of names) {
      // Anew each time: other machines have a part in what this one can do.
      const alone = await measure(VICTIMS[name]!);
      const ratio = (await measure(VICTIMS[name]!, steps)) / alone;
      cells.push((name === 'latency' ? ratio : ratio / FAIR).toFixed(2));
    }
    console.log(`| ${attack} | ${cells.join(' | ')} |`);
  }
}
