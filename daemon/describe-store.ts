/** What `urnic store show` tells: which store it is, whether it answers, what is known of it here, and which hosts live in it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlStore, Entry } from './store/control-store.ts';
import { hostOfKey, hostTextOf } from './tenant-entries.ts';

/** How the configuration names it. */
export interface StoreSettings {
  readonly kind: 'memory' | 'file' | 'etcd';
  readonly file?: string;
  /** Of etcd's members. */
  readonly urls?: readonly string[];
  readonly prefix?: string;
  /** Seconds. */
  readonly ttl?: number;
  /** This host's name there. */
  readonly name?: string;
}

export interface StoreView extends StoreSettings {
  readonly answers: boolean;
  /** Why it does not. */
  readonly reason?: string;
  /** Up to which this daemon knows its changes. */
  readonly revision: number;
  readonly hosts: readonly { readonly name: string; readonly vteps: readonly string[] }[];
  readonly entries: readonly Entry[];
}

/** A store that takes longer does not answer. */
const PATIENCE_MILLIS = 3000;

export async function describeStore(
  store: ControlStore,
  settings: StoreSettings,
  known: { readonly revision: number; readonly entries: ReadonlyMap<string, Entry> },
): Promise<StoreView> {
  const late = sleep(PATIENCE_MILLIS, `no answer in ${PATIENCE_MILLIS / 1000} s`, { ref: false });
  const asked = store.get('hosts/').then(
    () => undefined,
    (error: Error) => error.message,
  );
  const reason = await Promise.race([asked, late]);
  const entries = [...known.entries.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  const hosts = entries.flatMap(({ key, value }) => {
    const name = hostOfKey(key);
    return name === undefined ? [] : [{ name, vteps: hostTextOf(key, value)?.vteps ?? [] }];
  });
  const answers = reason === undefined;
  return { ...settings, answers, ...(!answers && { reason }), revision: known.revision, hosts, entries };
}
