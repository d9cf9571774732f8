/** What a vRNIC sends: the engine's packets, laid out in bursts by port, as much as its limits leave it. What a port does not take is kept until it does. */
import { BURST_BYTES, BURST_FRAMES, FRAME_HEADROOM, TransmitBurst } from '../rnic/burst.ts';
import { Counter } from '../rnic/counters.ts';
import { PacketWriter, TURN_BYTES } from '../rnic/packet-writer.ts';
import type { Micros } from '../wire/types.ts';
import type { Engine } from './engine.ts';
import { Lull } from './lull.ts';
import type { Pace } from './pace.ts';
import { LOOPBACK_PORT } from './path-resolver.ts';
import type { Port } from './port.ts';
import { TransmitBursts } from './transmit-bursts.ts';

/** By memory: as much as the longest turn, and both caches of a core have room for it. */
const MEMORY_BURST_BYTES = 1 << 19;
/**
 * Beside a few other vRNICs a breath is one super-frame, for they wait meanwhile, and as much longer as there are more of them: what a vRNIC needs has gone from the caches
 * when it is its turn again, and each turn fetches it anew.
 */
const TURN_CROWD = 8;
const SHORTEST_TURN = 0.5;
const LONGEST_TURN = 4;
/** Bursts that leave before a command ends a QP: more, and what is received waits too long. */
const LAST_BURSTS = 16;

const wireBursts = new TransmitBursts(() => new TransmitBurst(BURST_BYTES, BURST_FRAMES, FRAME_HEADROOM));
const memoryBursts = new TransmitBursts(() => new TransmitBurst(MEMORY_BURST_BYTES));
const loopbackBursts = new TransmitBursts(() => new TransmitBurst(MEMORY_BURST_BYTES));
const hostBursts = new TransmitBursts(() => new TransmitBurst(BURST_BYTES, BURST_FRAMES, FRAME_HEADROOM));
/** By port of a vRNIC, and for all vRNICs of a thread. */
const BURSTS: readonly TransmitBursts[] = [wireBursts, loopbackBursts, memoryBursts, hostBursts];

/** @param crowd vRNICs of this worker that had something to do lately. */
const turnBytes = (crowd: number): number =>
  crowd > 1 ? TURN_BYTES * Math.max(SHORTEST_TURN, Math.min(crowd / TURN_CROWD, LONGEST_TURN)) : TURN_BYTES;

export class Transmitter {
  readonly #engine: Engine;
  readonly #ports: readonly Port[];
  /** Null outside of tenants' networks. */
  readonly #pace: Pace | null;
  readonly #lull = new Lull();
  readonly #writer: PacketWriter;
  /** By port: frames that it has not taken yet. */
  readonly #kept: (TransmitBurst | null)[];
  #keptCount = 0;
  #hasMore = false;

  /** @param identification of the first IPv4 packet. */
  constructor(engine: Engine, ports: readonly Port[], pace: Pace | null, identification: number) {
    this.#engine = engine;
    this.#ports = ports;
    this.#pace = pace;
    this.#kept = ports.map(() => null);
    const bursts = ports.map((_, i) => BURSTS[i]!.current);
    this.#writer = new PacketWriter(bursts, identification, LOOPBACK_PORT);
  }

  /** The engine had more than one burst takes, and its limits would let that go. */
  get hasMore(): boolean {
    return this.#hasMore;
  }

  /** The port has not taken all that it was given. */
  isBlocked(port: number): boolean {
    return this.#kept[port] !== null;
  }

  /** One burst for each port: receiving gets its turn in between. True when there was something. @param crowd vRNICs of this worker that had something to do lately. */
  transmit(now: Micros, crowd = 1): boolean {
    this.#writer.turnBytes = turnBytes(crowd);
    this.#writer.pollBytes = crowd > 1 ? this.#writer.turnBytes : Number.POSITIVE_INFINITY;
    if (!this.#flushKept(now)) return true;
    for (let i = 0; i < this.#ports.length; i++) this.#writer.lend(i, BURSTS[i]!.current);
    this.#poll(now);
    return this.#flush(now);
  }

  /** An acknowledgement leaves after its completion was seen: a program that ends its QP at once must not take it along. */
  sendOwed(now: Micros): void {
    for (let bursts = 0; bursts < LAST_BURSTS && this.#engine.pollTimeout() === 0; bursts++)
      if (!this.transmit(now)) return;
  }

  /** Others go first. True when there is something to send. */
  holdBack(now: Micros): boolean {
    return !this.#pace?.isWaiting && this.#engine.pollTimeout() <= now;
  }

  /** The moment at which the engine has something to do that its limits let it do. */
  pollTimeout(now: Micros): Micros {
    const pace = this.#pace;
    if (!pace?.isWaiting) return this.#engine.pollTimeout();
    return Math.min(pace.readyAt(now), this.#engine.pollTimeout(false));
  }

  /** What is kept is lost. */
  close(): void {
    for (const [i, burst] of this.#kept.entries()) if (burst !== null) this.#giveBack(i, burst);
  }

  /** What its limits leave it. */
  #poll(now: Micros): void {
    const writer = this.#writer;
    const pace = this.#pace;
    writer.isPaced = false;
    if (pace === null) {
      this.#hasMore = this.#engine.pollTransmit(writer, now);
      return;
    }
    writer.meteredBytes = 0;
    const allowance = pace.allowance(now);
    writer.allowance = pace.isWaiting && allowance > 0 && this.#lull.isAwaited(now) ? 0 : allowance;
    const hasMore = this.#engine.pollTransmit(writer, now);
    const waited = pace.settle(writer.meteredBytes, writer.isPaced, now);
    if (waited > 0) this.#engine.counters.add(Counter.limited_micros, waited);
    if (writer.isPaced && writer.meteredBytes > 0) this.#lull.begin();
    this.#hasMore = hasMore && (!writer.isPaced || writer.isFull);
  }

  #flush(now: Micros): boolean {
    let isBusy = false;
    for (let i = 0; i < this.#ports.length; i++) {
      const burst = BURSTS[i]!.current;
      if (burst.count === 0) continue;
      isBusy = true;
      if (this.#ports[i]!.transmit(burst, now)) burst.reset();
      else {
        this.#kept[i] = BURSTS[i]!.keep();
        this.#keptCount++;
      }
    }
    if (isBusy) this.#lull.hasSent();
    return isBusy;
  }

  /** True when every port has taken what it would not before. */
  #flushKept(now: Micros): boolean {
    for (let i = 0; i < this.#kept.length && this.#keptCount > 0; i++) {
      const burst = this.#kept[i]!;
      if (burst !== null && this.#ports[i]!.transmit(burst, now)) this.#giveBack(i, burst);
    }
    return this.#keptCount === 0;
  }

  #giveBack(port: number, burst: TransmitBurst): void {
    BURSTS[port]!.giveBack(burst);
    this.#kept[port] = null;
    this.#keptCount--;
  }
}
