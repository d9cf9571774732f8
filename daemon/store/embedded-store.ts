/** The control store inside the daemon: for one host; in a file, or in memory only. */
import {
  type Batch,
  CompactedError,
  type Condition,
  type ControlStore,
  type Edit,
  type Entry,
  type Lease,
  type Snapshot,
} from './control-store.ts';
import { lockFile } from './lock-file.ts';
import { readStoreFile, settleStoreFile, writeStoreFile } from './store-file.ts';

/** Commits that a watch may look back on. */
const HISTORY_MAX = 4096;
const KEY_BYTES_MAX = 1024;
const VALUE_BYTES_MAX = 1 << 20;

interface Held extends Entry {
  readonly lease?: Lease;
}

interface Request {
  readonly edits: readonly Edit[];
  readonly conditions: readonly Condition[];
  readonly resolve: (revision: number | undefined) => void;
  readonly reject: (error: Error) => void;
}

export class EmbeddedStore implements ControlStore {
  readonly #file: string | undefined;
  readonly #unlock: () => void;
  /** Replaced as a whole once what it holds is in the file. */
  #entries: ReadonlyMap<string, Held>;
  #revision: number;
  readonly #history: Batch[] = [];
  /** The first commit that the history knows. */
  #historyFrom: number;
  #waiting: Request[] = [];
  #writing: Promise<void> | null = null;
  readonly #watchers = new Set<() => void>();
  #leases = 0;

  /** @throws Error in words: the file is damaged, not writable, or another daemon's. */
  static async open(file?: string): Promise<EmbeddedStore> {
    const unlock = file === undefined ? () => {} : lockFile(`${file}.lock`);
    try {
      return new EmbeddedStore(
        file,
        file === undefined ? { revision: 0, entries: [] } : await readStoreFile(file),
        unlock,
      );
    } catch (error) {
      unlock();
      throw error;
    }
  }

  private constructor(file: string | undefined, { revision, entries }: Snapshot, unlock: () => void) {
    this.#file = file;
    this.#unlock = unlock;
    this.#revision = revision;
    this.#historyFrom = revision + 1;
    this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
  }

  async get(key: string): Promise<Entry | undefined> {
    return this.#entries.get(key);
  }

  async list(prefix: string): Promise<Snapshot> {
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix));
    return { revision: this.#revision, entries };
  }

  commit(edits: readonly Edit[], conditions: readonly Condition[] = []): Promise<number | undefined> {
    for (const { key, value = '' } of edits) {
      if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw new Error(`a key has at most ${KEY_BYTES_MAX} octets`);
      if (Buffer.byteLength(value) > VALUE_BYTES_MAX)
        throw new Error(`${key}: a value has at most ${VALUE_BYTES_MAX} octets`);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ edits, conditions, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
  }

  async *watch(prefix: string, from: number, signal: AbortSignal): AsyncIterable<Batch> {
    for (let next = from; !signal.aborted; ) {
      if (next < this.#historyFrom) throw new CompactedError(`commits before ${this.#historyFrom} are forgotten`);
      const batch = this.#history[next - this.#historyFrom];
      if (!batch) {
        await this.#change(signal);
        continue;
      }
      next++;
      const edits = batch.edits.filter(({ key }) => key.startsWith(prefix));
      if (edits.length > 0) yield { revision: batch.revision, edits };
    }
  }

  /** It lasts as long as this process: the store is part of it. */
  async lease(): Promise<Lease> {
    let end: () => void;
    const lease: Lease = {
      id: String(++this.#leases),
      ended: new Promise((resolve) => {
        end = resolve;
      }),
      revoke: async () => {
        const held = [...this.#entries.values()].filter((entry) => entry.lease === lease);
        if (held.length > 0) await this.commit(held.map(({ key }) => ({ key })));
        end();
      },
    };
    return lease;
  }

  async close(): Promise<void> {
    await this.#writing;
    this.#unlock();
  }

  /** Everything that waits goes to the disk at once; what comes meanwhile is next. */
  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const requests = this.#waiting;
      this.#waiting = [];
      await this.#write(requests);
    }
    this.#writing = null;
  }

  async #write(requests: readonly Request[]): Promise<void> {
    const staged = new Map(this.#entries);
    const batches: Batch[] = [];
    const answers = requests.map(({ edits, conditions }) => {
      if (conditions.some(({ key, revision }) => (staged.get(key)?.revision ?? 0) !== revision)) return undefined;
      const revision = this.#revision + batches.length + 1;
      for (const edit of edits) stage(staged, edit, revision);
      batches.push({ revision, edits });
      return revision;
    });
    const file = batches.length > 0 ? this.#file : undefined;
    try {
      if (file !== undefined) await writeStoreFile(file, batches.at(-1)!.revision, lasting(staged));
    } catch (error) {
      for (const { reject } of requests) reject(error as Error);
      return;
    }
    const fault = file === undefined ? undefined : await settleStoreFile(file);
    // Whatever that says, the file is the new one now: what we know agrees with it.
    this.#entries = staged;
    this.#publish(batches);
    for (const [i, { resolve, reject }] of requests.entries()) {
      if (fault && answers[i] !== undefined) reject(fault);
      else resolve(answers[i]);
    }
  }

  #publish(batches: readonly Batch[]): void {
    this.#revision += batches.length;
    this.#history.push(...batches);
    const forgotten = Math.max(0, this.#history.length - HISTORY_MAX);
    this.#history.splice(0, forgotten);
    this.#historyFrom += forgotten;
    for (const tell of [...this.#watchers]) tell();
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const tell = (): void => {
        this.#watchers.delete(tell);
        signal.removeEventListener('abort', tell);
        resolve();
      };
      this.#watchers.add(tell);
      signal.addEventListener('abort', tell);
    });
  }
}

function stage(entries: Map<string, Held>, { key, value, lease }: Edit, revision: number): void {
  const under = lease === 'keep' ? entries.get(key)?.lease : lease;
  if (value === undefined) entries.delete(key);
  else entries.set(key, { key, value, revision, ...(under && { lease: under }) });
}

/** Leases end with the process, and what is under one with it. */
function* lasting(entries: ReadonlyMap<string, Held>): Iterable<Entry> {
  for (const entry of entries.values()) if (!entry.lease) yield entry;
}
