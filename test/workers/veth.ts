/** Two network namespaces joined by a veth pair, for tests that run as root. */
import { execFileSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { enterNetworkNamespace } from '../../workers/linux/namespace.ts';
import { toGid } from '../../workers/linux/netdev.ts';

export interface VethEnd {
  readonly namespace: string;
  readonly path: string;
  readonly netdev: string;
  readonly ipv4: Uint8Array;
  readonly ipv6: Uint8Array;
}

export interface Veth {
  readonly left: VethEnd;
  readonly right: VethEnd;
  remove(): void;
}

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
};

/** Why these tests cannot run here; '' when they can. */
export const whyNoNamespaces = (): string => (process.getuid?.() === 0 ? '' : 'needs root for network namespaces');

function endOf(name: string, index: number): VethEnd {
  const namespace = `wrk-${process.pid}-${name}-${index}`;
  const [ipv4, ipv6] = [toGid(`10.99.0.${index}`), toGid(`fd99::${index}`)];
  return { namespace, path: `/var/run/netns/${namespace}`, netdev: `v${index}`, ipv4, ipv6 };
}

function configure({ namespace, netdev }: VethEnd, index: number): void {
  ip('-n', namespace, 'addr', 'add', `10.99.0.${index}/24`, 'dev', netdev);
  ip('-n', namespace, 'addr', 'add', `fd99::${index}/64`, 'dev', netdev, 'nodad');
  ip('-n', namespace, 'link', 'set', netdev, 'up');
  ip('-n', namespace, 'link', 'set', 'lo', 'up');
}

export function makeVeth(name: string, mtu = 9000): Veth {
  const [left, right] = [endOf(name, 1), endOf(name, 2)];
  const remove = (): void => {
    for (const { namespace } of [left, right]) {
      try {
        ip('netns', 'delete', namespace);
      } catch {
        // it was never made
      }
    }
  };
  try {
    ip('netns', 'add', left.namespace);
    ip('netns', 'add', right.namespace);
    const peer = ['peer', 'name', right.netdev, 'netns', right.namespace, 'mtu', String(mtu)];
    ip('link', 'add', left.netdev, 'netns', left.namespace, 'mtu', String(mtu), 'type', 'veth', ...peer);
    configure(left, 1);
    configure(right, 2);
  } catch (error) {
    remove();
    throw error;
  }
  return { left, right, remove };
}

/** The namespace that this process was born in. */
const home = openSync('/proc/thread-self/ns/net', 'r');

/** Runs `open` in a namespace and comes back: what it opened stays there. */
export function within<T>(end: Pick<VethEnd, 'path'>, open: () => T): T {
  enterNetworkNamespace(end.path);
  try {
    return open();
  } finally {
    enterNetworkNamespace(`/proc/self/fd/${home}`);
  }
}
