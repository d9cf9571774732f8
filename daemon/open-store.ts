/** The control store that a configuration asks for. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Configuration } from './configuration.ts';
import type { StoreSettings } from './describe-store.ts';
import type { ControlStore } from './store/control-store.ts';
import { EmbeddedStore } from './store/embedded-store.ts';
import type { EtcdTls } from './store/etcd-gateway.ts';
import { EtcdStore } from './store/etcd-store.ts';

export interface OpenStore {
  readonly store: ControlStore;
  readonly settings: StoreSettings;
  /** What this host is called there. */
  readonly host: string;
  /** Of the lease; undefined where no other host looks into the store. */
  readonly ttl: number | undefined;
}

/** @throws Error in words: there is no such file. */
function pem(name: 'ca' | 'cert' | 'key', path: string | undefined): EtcdTls {
  if (path === undefined) return {};
  try {
    return { [name]: readFileSync(path, 'utf8') };
  } catch (error) {
    throw new Error(`store.${name}: ${(error as Error).message}`);
  }
}

/** @throws Error in words: the file is damaged, another daemon's, not writable; etcd does not answer. */
export async function openStore(config: Configuration['store']): Promise<OpenStore> {
  if (config?.etcd === undefined) {
    const file = config?.file;
    const settings = file === undefined ? ({ kind: 'memory' } as const) : ({ kind: 'file', file } as const);
    return { store: await EmbeddedStore.open(file), settings, host: 'this', ttl: undefined };
  }
  const { etcd: urls, prefix, ttl, user, password, ca, cert, key } = config;
  const credentials = user !== undefined && password !== undefined ? { credentials: { name: user, password } } : {};
  const tls = { ...pem('ca', ca), ...pem('cert', cert), ...pem('key', key) };
  const name = config.name ?? hostname();
  const settings = { kind: 'etcd', urls, prefix, ttl, name } as const;
  return { store: new EtcdStore({ urls, prefix, tls, ...credentials }), settings, host: name, ttl };
}
