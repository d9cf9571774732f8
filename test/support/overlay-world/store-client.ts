/** A host's way to the store: what goes by it takes time, is lost on either way, is cut. A host that was killed hears nothing any more, but what it has asked for may be done. */
import type {
  Batch,
  Condition,
  ControlStore,
  Edit,
  Entry,
  Lease,
  Snapshot,
} from '../../../daemon/store/control-store.ts';
import type { Random } from '../sim/random.ts';
import type { StoreServer } from './store-server.ts';
import type { VirtualTime } from './virtual-time.ts';

const WAY_MILLIS = 15;
/** How long it takes to find out that nobody answers. */
const PATIENCE_MILLIS = 300;
const LOSS = 0.01;

/** Of one watch: what has arrived, in order. */
class Stream {
  readonly batches: Batch[] = [];
  close: () => void = () => {};
  error: Error | undefined;
  /** Ended without a word, as a watch that was silent for long. */
  isOver = false;
  wake: () => void = () => {};
  /** When what was sent last arrives. */
  lastAt = 0;
}

export class StoreClient implements ControlStore {
  readonly #server: StoreServer;
  readonly #time: VirtualTime;
  readonly #random: Random;
  /** The host has this revision now. */
  readonly #seen: (revision: number) => void;
  readonly #streams = new Set<Stream>();
  /** What came while the way was cut. */
  #stalled: (() => void)[] = [];
  #isCut = false;
  #isDead = false;
  /** Answers that were lost: what was asked for is done. */
  ambiguous = 0;

  constructor(server: StoreServer, time: VirtualTime, random: Random, seen: (revision: number) => void) {
    this.#server = server;
    this.#time = time;
    this.#random = random;
    this.#seen = seen;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  /** It is noticed later, or not at all where it does not last. */
  cut(): void {
    this.#isCut = true;
    for (const stream of this.#streams)
      this.#time.after(100 + this.#random.fraction() * PATIENCE_MILLIS, () => {
        if (this.#isCut) this.#fail(stream);
      });
  }

  heal(): void {
    this.#isCut = false;
    const stalled = this.#stalled;
    this.#stalled = [];
    for (const arrive of stalled) arrive();
  }

  kill(): void {
    this.#isDead = true;
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }

  /** Watches end: with an error, or without a word. */
  breakWatches(isSilent = false): void {
    for (const stream of this.#streams) {
      if (isSilent) stream.isOver = true;
      this.#fail(stream);
    }
  }

  get(key: string): Promise<Entry | undefined> {
    return this.#ask(() => this.#server.entries.get(key));
  }

  async list(): Promise<Snapshot> {
    const snapshot = await this.#ask(() => this.#server.list());
    this.#seen(snapshot.revision);
    return snapshot;
  }

  commit(edits: readonly Edit[], conditions: readonly Condition[] = []): Promise<number | undefined> {
    const named = edits.map(({ lease, ...edit }) => ({ ...edit, lease: typeof lease === 'object' ? lease.id : lease }));
    return this.#ask(() => this.#server.commit(named, conditions));
  }

  async *watch(_prefix: string, from: number, signal: AbortSignal): AsyncIterable<Batch> {
    const stream = await this.#ask(() => this.#open(from));
    const stop = (): void => {
      stream.isOver = true;
      stream.wake();
    };
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    try {
      for (;;) {
        const batch = stream.batches.shift();
        if (batch !== undefined) {
          this.#seen(batch.revision);
          yield batch;
        } else if (stream.isOver) return;
        else if (stream.error) throw stream.error;
        else
          await new Promise<void>((resolve) => {
            stream.wake = resolve;
          });
      }
    } finally {
      signal.removeEventListener('abort', stop);
      stream.close();
      this.#streams.delete(stream);
    }
  }

  async lease(seconds: number): Promise<Lease> {
    const id = await this.#ask(() => this.#server.grant(seconds));
    let end = (): void => {};
    let isOver = false;
    const ended = new Promise<void>((resolve) => {
      end = () => {
        isOver = true;
        resolve();
      };
    });
    const keepAlive = (): void => {
      if (isOver || this.#isDead) return;
      const isKept = this.#ask(() => this.#server.keepAlive(id));
      // Out of reach: whether it has ended only the store can say.
      isKept.then(
        (isAlive) => isAlive || end(),
        () => {},
      );
      this.#time.after((seconds * 1000) / 3, keepAlive);
    };
    this.#time.after((seconds * 1000) / 3, keepAlive);
    const revoke = (): Promise<void> => {
      end();
      return this.#ask(() => this.#server.endLease(id));
    };
    return { id, ended, revoke };
  }

  async close(): Promise<void> {}

  get #isReachable(): boolean {
    return !this.#isCut && !this.#server.isDown && !this.#random.chance(LOSS);
  }

  #way(): number {
    return this.#random.fraction() * WAY_MILLIS;
  }

  /** There and back; either way may be the one that fails. */
  #ask<T>(serve: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        if (!this.#isDead) act();
      };
      const giveUp = (): void => {
        const millis = this.#random.fraction() * PATIENCE_MILLIS;
        this.#time.after(millis, () => settle(() => reject(new Error('the store does not answer'))));
      };
      const answer = (act: () => void): void =>
        this.#time.after(this.#way(), () => {
          if (this.#isReachable) return settle(act);
          this.ambiguous++;
          giveUp();
        });
      if (this.#isCut || this.#isDead) return giveUp();
      this.#time.after(this.#way(), () => {
        if (!this.#isReachable) return giveUp();
        try {
          const served = serve();
          answer(() => resolve(served));
        } catch (error) {
          answer(() => reject(error));
        }
      });
    });
  }

  #open(from: number): Stream {
    const stream = new Stream();
    stream.close = this.#server.watch(from, (batch) => this.#send(stream, batch));
    this.#streams.add(stream);
    if (this.#isDead) stream.close();
    return stream;
  }

  #send(stream: Stream, batch: Batch): void {
    stream.lastAt = Math.max(stream.lastAt, this.#time.now + this.#way());
    const arrive = (): void => {
      if (this.#isCut) this.#stalled.push(arrive);
      else if (this.#streams.has(stream) && !stream.error && !stream.isOver) {
        stream.batches.push(batch);
        stream.wake();
      }
    };
    this.#time.after(stream.lastAt - this.#time.now, arrive);
  }

  /** What has arrived is still read. */
  #fail(stream: Stream): void {
    stream.error ??= new Error('the store does not answer');
    stream.close();
    stream.wake();
  }
}
