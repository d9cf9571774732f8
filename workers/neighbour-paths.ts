/** Headers of paths that go by a neighbour (`Path.template`, the Ethernet header first), so that they follow it when its MAC changes. */
import { gidText } from './linux/netdev.ts';
import type { Neighbours } from './neighbours.ts';

export class NeighbourPaths {
  readonly #users = new Map<string, WeakRef<Uint8Array>[]>();

  constructor(neighbours: Neighbours) {
    neighbours.onMove = (gid, mac) => this.#follow(gid, mac);
  }

  remember(hop: Uint8Array, template: Uint8Array): void {
    const key = gidText(hop);
    const users = this.#users.get(key) ?? [];
    users.push(new WeakRef(template));
    // Doubling sizes only: each template pays for a sweep once.
    const isPowerOfTwo = (users.length & (users.length - 1)) === 0;
    this.#users.set(key, isPowerOfTwo ? users.filter((user) => user.deref() !== undefined) : users);
  }

  #follow(gid: Uint8Array, mac: Uint8Array): void {
    for (const user of this.#users.get(gidText(gid)) ?? []) user.deref()?.set(mac);
  }
}
