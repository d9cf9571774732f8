/** Ports in memory: two ends joined by two frame rings, in one thread or in two; or one end joined to itself (loopback). Super-frames pass whole. */
import type { ReceiveBurst, TransmitBurst } from '../../rnic/burst.ts';
import { Framing } from '../../rnic/path.ts';
import { Bell, duplicateDescriptor, newBellMemory, newWakeDescriptor } from '../bell.ts';
import { addressOf } from '../linux/arena.ts';
import type { Port } from '../port.ts';
import { FrameRing, newFrameRingMemory } from './frame-ring.ts';
import { newPortCounters } from './port-counters.ts';
import { segmentCount } from './super-frame.ts';

/** One end, as plain values: may be posted to the thread that will own it. The descriptors belong to the port made of it. */
export interface MemoryEnd {
  readonly name: string;
  readonly mtu: number;
  readonly link: Port['link'];
  /** SINGLE where the other end cannot take super-frames. */
  readonly framing: Framing;
  readonly outgoing: SharedArrayBuffer;
  readonly incoming: SharedArrayBuffer;
  /** eventfd that this end sleeps on, and its own duplicate of the other end's. */
  readonly sleepFd: number;
  readonly peerFd: number;
}

export interface MemoryOptions extends Partial<Pick<MemoryEnd, 'mtu' | 'link' | 'framing'>> {
  /** Octets in flight each way, a power of two; 1 MiB by default. */
  readonly ringBytes?: number;
}

const MTU = 9000;

/** @throws SystemError when descriptors run out. */
export function newMemoryPair(name: string, options: MemoryOptions = {}): [MemoryEnd, MemoryEnd] {
  const { ringBytes, mtu = MTU, link = 'ethernet', framing = Framing.HEADER_ONCE } = options;
  const [there, back] = [newFrameRingMemory(ringBytes), newFrameRingMemory(ringBytes)];
  const [left, right] = [newWakeDescriptor(), newWakeDescriptor()];
  return [
    {
      name: `${name}:0`,
      mtu,
      link,
      framing,
      outgoing: there,
      incoming: back,
      sleepFd: left,
      peerFd: duplicateDescriptor(right),
    },
    {
      name: `${name}:1`,
      mtu,
      link,
      framing,
      outgoing: back,
      incoming: there,
      sleepFd: right,
      peerFd: duplicateDescriptor(left),
    },
  ];
}

/** What is sent comes back. */
export function newLoopback(mtu: number, ringBytes?: number): MemoryEnd {
  const ring = newFrameRingMemory(ringBytes);
  const fd = newWakeDescriptor();
  return {
    name: 'loopback',
    mtu,
    link: 'ethernet',
    framing: Framing.HEADER_ONCE,
    outgoing: ring,
    incoming: ring,
    sleepFd: fd,
    peerFd: duplicateDescriptor(fd),
  };
}

export class MemoryPort implements Port {
  readonly name: string;
  readonly link: Port['link'];
  readonly mtu: number;
  readonly framing: Framing;
  readonly counters = newPortCounters();
  readonly #outgoing: FrameRing;
  readonly #incoming: FrameRing;
  readonly #own: Bell;
  readonly #peer: Bell;
  #isOpen = true;
  #receiving: ReceiveBurst | null = null;
  #receivingAddress = 0;
  #sending: TransmitBurst | null = null;
  #sendingAddress = 0;

  constructor(end: MemoryEnd) {
    this.name = `memory:${end.name}`;
    this.mtu = end.mtu;
    this.link = end.link;
    this.framing = end.framing;
    this.#outgoing = new FrameRing(end.outgoing, 'writer');
    this.#incoming = new FrameRing(end.incoming, 'reader');
    this.#own = new Bell(newBellMemory(), end.sleepFd);
    this.#peer = new Bell(newBellMemory(), end.peerFd);
  }

  get fileDescriptor(): number {
    return this.#own.fileDescriptor;
  }

  receive(burst: ReceiveBurst): number {
    burst.count = 0;
    if (!this.#isOpen) return 0;
    if (burst !== this.#receiving) {
      this.#receiving = burst;
      this.#receivingAddress = addressOf(burst.bytes);
    }
    this.counters.rxCalls++;
    let end = 0;
    for (let bytes = this.#incoming.peek(); bytes >= 0; bytes = this.#incoming.peek()) {
      if (burst.count === burst.limit || end + bytes > burst.bytes.length) break;
      this.#take(burst, end, bytes);
      end += (bytes + 15) & ~15;
    }
    if (burst.count > 0) this.#incoming.releaseTaken();
    return burst.count;
  }

  transmit(burst: TransmitBurst): boolean {
    if (!this.#isOpen) return true;
    if (burst !== this.#sending) {
      this.#sending = burst;
      this.#sendingAddress = addressOf(burst.bytes);
    }
    const before = burst.sent;
    while (burst.sent < burst.count && this.#put(burst, burst.sent)) burst.sent++;
    if (burst.sent > before) {
      this.counters.txCalls++;
      if (this.#outgoing.publish()) this.#peer.wake();
    }
    if (burst.sent === burst.count) return true;
    this.counters.txBusy++;
    return false;
  }

  onReadable(): void {}

  setSleeping(asleep: boolean): boolean {
    if (!asleep) this.#own.drain();
    return this.#incoming.setSleeping(asleep);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#own.close();
    this.#peer.close();
  }

  #take(burst: ReceiveBurst, at: number, bytes: number): void {
    const i = burst.count++;
    const segment = this.#incoming.segmentBytes();
    this.counters.rxFrames += segmentCount(bytes, segment, this.#incoming.headerBytes());
    this.counters.rxBytes += bytes;
    burst.at[i] = at;
    burst.frameBytes[i] = bytes;
    burst.segmentBytes[i] = segment;
    burst.source[i] = 0;
    this.#incoming.take(this.#receivingAddress + at, bytes);
  }

  #put(burst: TransmitBurst, i: number): boolean {
    const bytes = burst.frameBytes[i]!;
    const segment = burst.segmentBytes[i]!;
    const header = burst.headerBytes[i]!;
    if (!this.#outgoing.push(this.#sendingAddress + burst.at[i]!, bytes, segment, header)) return false;
    this.counters.txBytes += bytes;
    this.counters.txFrames += segmentCount(bytes, segment, header);
    return true;
  }
}
