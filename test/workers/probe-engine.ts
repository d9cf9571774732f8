/** The smallest engine that a worker can drive: it counts doorbells where the test can see them, and fails on request. What is tested is the worker, not RDMA. */
import type { Command, EngineEvent, Result } from '../../rnic/commands.ts';
import { Errno, EventKind } from '../../rnic/commands.ts';
import { Counters } from '../../rnic/counters.ts';
import type { DoorbellPage } from '../../rnic/queue/doorbell.ts';
import type { Engine, EngineParts } from '../../workers/engine.ts';

/** What `deallocPd` of these handles does. `GREED`: it has something to send from then on, always. */
export const Fault = {
  THROW: 0xdead_0001,
  EXIT: 0xdead_0002,
  FILL_HEAP: 0xdead_0003,
  HANG: 0xdead_0004,
  GREED: 0xdead_0005,
} as const;

class ProbeEngine implements Engine {
  resources(): [] {
    return [];
  }

  readonly counters = new Counters();
  readonly #pages = new Map<number, DoorbellPage>();
  readonly #events: number[] = [];
  #nextContext = 0;
  #fault = 0;
  #rung: Int32Array | null = null;

  openContext(doorbell: DoorbellPage): number {
    this.#pages.set(this.#nextContext, doorbell);
    return this.#nextContext++;
  }

  closeContext(context: number): void {
    this.#pages.delete(context);
  }

  execute(context: number, command: Command): Result {
    if (command.op === 'allocPd') return { ok: true, pd: context };
    if (command.op === 'deallocPd') {
      this.#fault = command.pd;
      return { ok: true };
    }
    if (command.op === 'createCq') {
      this.#events.push(context);
      const buffer = new SharedArrayBuffer(64);
      this.#rung = new Int32Array(buffer);
      return { ok: true, cq: 1, cqe: 1, queue: { buffer, byteOffset: 0, byteLength: 64, mapOffset: 0 } };
    }
    return { ok: false, errno: Errno.EOPNOTSUPP, reason: `the probe knows no ${command.op}` };
  }

  handlePacket(): void {}

  handleDoorbells(): void {
    for (const page of this.#pages.values()) page.take(this);
  }

  handleDoorbell(): void {
    if (this.#rung) Atomics.add(this.#rung, 0, 1);
  }

  handleTimeout(): void {}

  pollTransmit(): boolean {
    if (this.#fault === Fault.THROW) throw new Error('the probe was told to fail');
    if (this.#fault === Fault.EXIT) process.exit(3);
    while (this.#fault === Fault.HANG);
    const heap: object[] = [];
    while (this.#fault === Fault.FILL_HEAP) heap.push(new Array(1000).fill({}));
    return this.#fault === Fault.GREED;
  }

  pollCmEvent(): undefined {}

  isConnected(): boolean {
    return false;
  }

  revoke(): boolean {
    return false;
  }

  pollEvent(out: EngineEvent): boolean {
    const context = this.#events.pop();
    if (context === undefined) return false;
    Object.assign(out, { kind: EventKind.COMPLETION, context, channel: 5, handle: 1, cookie: 77n });
    return true;
  }

  pollTimeout(): number {
    return this.#fault === Fault.GREED ? 0 : Number.POSITIVE_INFINITY;
  }

  settle(): void {}

  setGids(): void {}

  setLink(): void {}

  setLimits(): void {}

  setMtu(): void {}
}

export const probeParts: EngineParts = {
  newEngine: () => new ProbeEngine(),
  newMemory: () => {
    throw new Error('the probe has no memory');
  },
};
