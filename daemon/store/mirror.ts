/** A local copy of a store's entries: listed once, then kept up by a watch that survives the store's restarts, its silences and its forgetting. */
import { type Batch, CompactedError, type ControlStore, type Edit, type Entry } from './control-store.ts';
import { type Sleep, sleep } from './sleep.ts';

const RETRY_MILLIS = 100;
const RETRY_MILLIS_MAX = 2000;

/** What has changed in the copy: by one commit, or by all those that a listing makes up for. */
export interface News extends Batch {
  readonly isListed: boolean;
}

export interface MirrorEvents {
  /** After the copy has changed: what did. Before the next change comes, this has resolved. */
  changed(news: News): Promise<void>;
  /** The store cannot be reached; it is tried again until it can. */
  failed(error: Error): void;
}

export class Mirror {
  readonly entries = new Map<string, Entry>();
  readonly #store: ControlStore;
  readonly #prefix: string;
  readonly #events: MirrorEvents;
  readonly #sleep: Sleep;
  readonly #abort = new AbortController();
  #revision = 0;
  #running: Promise<void> = Promise.resolve();
  /** Who waits for a revision. */
  readonly #waiting = new Set<{ revision: number; resolve: () => void }>();

  /** The first listing is in it. @throws Error of the store. */
  static async start(store: ControlStore, prefix: string, events: MirrorEvents, wait: Sleep = sleep): Promise<Mirror> {
    const mirror = new Mirror(store, prefix, events, wait);
    await mirror.#list();
    mirror.#running = mirror.#follow();
    return mirror;
  }

  private constructor(store: ControlStore, prefix: string, events: MirrorEvents, wait: Sleep) {
    this.#store = store;
    this.#prefix = prefix;
    this.#events = events;
    this.#sleep = wait;
  }

  /** All changes up to this are in the copy, and have been told. */
  get revision(): number {
    return this.#revision;
  }

  /** Resolves once `revision` is in the copy and was told; at once when the mirror is closed. */
  until(revision: number): Promise<void> {
    if (this.#revision >= revision || this.#abort.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add({ revision, resolve }));
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#running;
    this.#wake(Infinity);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#abort;
    for (let delay = RETRY_MILLIS; !signal.aborted; ) {
      try {
        for await (const batch of this.#store.watch(this.#prefix, this.#revision + 1, signal)) {
          await this.#take(batch);
          delay = RETRY_MILLIS;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof CompactedError && (await this.#relist())) continue;
        this.#events.failed(error as Error);
        await this.#sleep(delay, signal);
        delay = Math.min(delay * 2, RETRY_MILLIS_MAX);
      }
    }
  }

  async #relist(): Promise<boolean> {
    try {
      await this.#list();
      return true;
    } catch (error) {
      this.#events.failed(error as Error);
      return false;
    }
  }

  /** What differs from the copy is told as one batch. */
  async #list(): Promise<void> {
    const { revision, entries } = await this.#store.list(this.#prefix);
    const edits: Pick<Edit, 'key' | 'value'>[] = [];
    const listed = new Map(entries.map((entry) => [entry.key, entry]));
    for (const key of this.entries.keys()) if (!listed.has(key)) edits.push({ key });
    for (const { key, value } of entries) if (this.entries.get(key)?.value !== value) edits.push({ key, value });
    this.entries.clear();
    for (const [key, entry] of listed) this.entries.set(key, entry);
    await this.#tell({ revision, edits, isListed: true });
  }

  async #take(batch: Batch): Promise<void> {
    for (const { key, value } of batch.edits) {
      if (value === undefined) this.entries.delete(key);
      else this.entries.set(key, { key, value, revision: batch.revision });
    }
    await this.#tell({ ...batch, isListed: false });
  }

  async #tell(news: News): Promise<void> {
    if (news.edits.length > 0) await this.#events.changed(news);
    this.#revision = news.revision;
    this.#wake(news.revision);
  }

  #wake(revision: number): void {
    for (const one of this.#waiting) {
      if (one.revision > revision) continue;
      this.#waiting.delete(one);
      one.resolve();
    }
  }
}
