/** The control store that a configuration asks for. */
import { hostname } from 'node:os';
import type { Configuration } from './configuration.ts';
import type { ControlStore } from './store/control-store.ts';
import { EmbeddedStore } from './store/embedded-store.ts';
import { EtcdStore } from './store/etcd-store.ts';

export interface OpenStore {
  readonly store: ControlStore;
  /** What this host is called there. */
  readonly host: string;
  /** Of the lease; undefined where no other host looks into the store. */
  readonly ttl: number | undefined;
}

/** @throws Error in words: the file is damaged, another daemon's, not writable; etcd does not answer. */
export async function openStore(config: Configuration['store']): Promise<OpenStore> {
  if (config?.etcd === undefined)
    return { store: await EmbeddedStore.open(config?.file), host: 'this', ttl: undefined };
  const { etcd: urls, prefix, ttl, user, password } = config;
  const credentials = user !== undefined && password !== undefined ? { credentials: { name: user, password } } : {};
  return { store: new EtcdStore({ urls, prefix, ...credentials }), host: config.name ?? hostname(), ttl };
}
