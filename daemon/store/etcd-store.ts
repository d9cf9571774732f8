/** The control store of several hosts: etcd v3. */
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
import { type EtcdAccess, EtcdGateway, type EtcdHeader, EtcdRefusal } from './etcd-gateway.ts';
import { readEvents } from './etcd-watch.ts';

export interface EtcdOptions extends EtcdAccess {
  readonly urls: readonly string[];
  /** Before every key, with a slash at its end. */
  readonly prefix: string;
}

interface KeyValue {
  readonly key: string;
  readonly value?: string;
  readonly mod_revision: string;
}

const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (text: string): string => Buffer.from(text, 'base64').toString();

/** The first key after all those that begin so. */
function afterPrefix(prefix: string): string {
  const octets = Buffer.from(prefix);
  octets[octets.length - 1]! += 1; // a prefix ends with ASCII: no carry
  return octets.toString('base64');
}

export class EtcdStore implements ControlStore {
  readonly #gateway: EtcdGateway;
  readonly #prefix: string;
  readonly #leases = new Set<EtcdLease>();
  /** Of the cluster whose revisions we know. */
  #cluster: string | undefined;

  constructor({ urls, prefix, ...access }: EtcdOptions) {
    this.#gateway = new EtcdGateway(urls, access);
    this.#prefix = prefix;
  }

  async get(key: string): Promise<Entry | undefined> {
    const range = { key: encode(this.#prefix + key) };
    const { kvs = [] } = await this.#gateway.ask<{ kvs?: KeyValue[] }>('/v3/kv/range', range);
    return kvs.map((kv) => this.#entryOf(kv))[0];
  }

  async list(prefix: string): Promise<Snapshot> {
    const whole = this.#prefix + prefix;
    const answer = await this.#gateway.ask<{ header: EtcdHeader; kvs?: KeyValue[] }>('/v3/kv/range', {
      key: encode(whole),
      range_end: afterPrefix(whole),
    });
    this.#cluster = answer.header.cluster_id;
    return {
      revision: Number(answer.header.revision),
      entries: (answer.kvs ?? []).map((kv) => this.#entryOf(kv)),
    };
  }

  async commit(edits: readonly Edit[], conditions: readonly Condition[] = []): Promise<number | undefined> {
    const answer = await this.#gateway.ask<{ header: EtcdHeader; succeeded?: boolean }>('/v3/kv/txn', {
      compare: conditions.map(({ key, revision }) => ({
        key: encode(this.#prefix + key),
        target: 'MOD',
        result: 'EQUAL',
        mod_revision: String(revision),
      })),
      success: edits.map((edit) => this.#operation(edit)),
    });
    return answer.succeeded ? Number(answer.header.revision) : undefined;
  }

  async *watch(prefix: string, from: number, signal: AbortSignal): AsyncIterable<Batch> {
    const whole = this.#prefix + prefix;
    const request = {
      create_request: { key: encode(whole), range_end: afterPrefix(whole), start_revision: String(from) },
    };
    for await (const { header, compact_revision, canceled, events = [] } of readEvents(
      this.#gateway,
      request,
      signal,
    )) {
      if (this.#cluster !== undefined && header?.cluster_id !== this.#cluster)
        throw new CompactedError('this is another etcd cluster: its revisions are not those we know');
      if (compact_revision !== undefined)
        throw new CompactedError(`etcd has forgotten what was before ${compact_revision}`);
      if (canceled) throw new Error('etcd has ended the watch');
      yield* this.#batchesOf(events);
    }
  }

  async lease(seconds: number): Promise<Lease> {
    const lease = await EtcdLease.grant(this.#gateway, seconds, () => this.#leases.delete(lease));
    this.#leases.add(lease);
    return lease;
  }

  /** Leases that were not revoked end by themselves. */
  async close(): Promise<void> {
    for (const lease of this.#leases) lease.forget();
    this.#gateway.close();
  }

  #operation({ key: name, value, lease }: Edit): object {
    const key = encode(this.#prefix + name);
    if (value === undefined) return { request_delete_range: { key } };
    const under = lease === 'keep' ? { ignore_lease: true } : lease && { lease: lease.id };
    return { request_put: { key, value: encode(value), ...under } };
  }

  #entryOf({ key, value = '', mod_revision }: KeyValue): Entry {
    return { key: decode(key).slice(this.#prefix.length), value: decode(value), revision: Number(mod_revision) };
  }

  /** Events of one revision are one commit, and come together. */
  *#batchesOf(events: readonly { type?: 'PUT' | 'DELETE'; kv: KeyValue }[]): Iterable<Batch> {
    let edits: Pick<Edit, 'key' | 'value'>[] = [];
    for (const [i, { type, kv }] of events.entries()) {
      const { key, value, revision } = this.#entryOf(kv);
      edits.push(type === 'DELETE' ? { key } : { key, value });
      if (events[i + 1]?.kv.mod_revision === kv.mod_revision) continue;
      yield { revision, edits };
      edits = [];
    }
  }
}

/** Asked for again three times in its life. */
class EtcdLease implements Lease {
  readonly id: string;
  readonly ended: Promise<void>;
  readonly #gateway: EtcdGateway;
  readonly #timer: NodeJS.Timeout;
  readonly #onEnd: () => void;
  #end: () => void = () => {};

  static async grant(gateway: EtcdGateway, seconds: number, onEnd: () => void): Promise<EtcdLease> {
    const { ID } = await gateway.ask<{ ID: string }>('/v3/lease/grant', { TTL: String(seconds) });
    return new EtcdLease(gateway, ID, seconds, onEnd);
  }

  private constructor(gateway: EtcdGateway, id: string, seconds: number, onEnd: () => void) {
    this.id = id;
    this.#gateway = gateway;
    this.#onEnd = onEnd;
    this.#timer = setInterval(() => void this.#keepAlive(), (seconds * 1000) / 3).unref();
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  async revoke(): Promise<void> {
    this.forget();
    await this.#gateway.ask('/v3/lease/revoke', { ID: this.id });
  }

  /** No longer kept alive. */
  forget(): void {
    clearInterval(this.#timer);
    this.#end();
    this.#onEnd();
  }

  async #keepAlive(): Promise<void> {
    try {
      const { result } = await this.#gateway.ask<{ result?: { TTL?: string } }>('/v3/lease/keepalive', { ID: this.id });
      if (Number(result?.TTL ?? 0) <= 0) this.forget();
    } catch (error) {
      // Out of reach: whether it has ended only etcd can say.
      if (error instanceof EtcdRefusal) this.forget();
    }
  }
}
