/** Paths that go by a neighbour, so that they follow it when its MAC changes. */
import type { Path } from '../rnic/path.ts';
import { gidText } from './linux/netdev.ts';
import type { Neighbours } from './neighbours.ts';
import { redirect } from './path-builder.ts';

export class NeighbourPaths {
  readonly #users = new Map<string, WeakRef<Path>[]>();

  constructor(neighbours: Neighbours) {
    neighbours.onMove = (gid, mac) => this.#follow(gid, mac);
  }

  remember(hop: Uint8Array, path: Path): void {
    const key = gidText(hop);
    const users = this.#users.get(key) ?? [];
    users.push(new WeakRef(path));
    // Doubling sizes only: each path pays for a sweep once.
    const isPowerOfTwo = (users.length & (users.length - 1)) === 0;
    this.#users.set(key, isPowerOfTwo ? users.filter((user) => user.deref() !== undefined) : users);
  }

  #follow(gid: Uint8Array, mac: Uint8Array): void {
    for (const user of this.#users.get(gidText(gid)) ?? []) {
      const path = user.deref();
      if (path) redirect(path, mac);
    }
  }
}
