/** Which ids hold which ports of an address: RDMA's port spaces are its own, not TCP's nor UDP's. */
import * as Gid from '../../wire/gid.ts';
import type { CmId } from './cm-id.ts';
import type { PortSpace } from './commands.ts';

/** As Linux draws them by default (ip_local_port_range). */
const EPHEMERAL_FIRST = 32_768;
const EPHEMERAL_COUNT = 28_232;

export class PortTable {
  readonly #holders = new Map<number, Set<CmId>>();
  readonly #random32: () => number;

  constructor(random32: () => number) {
    this.#random32 = random32;
  }

  /** True when nobody else holds the port at this address, or all share it. */
  isFree(portSpace: PortSpace, address: Uint8Array, port: number, reuses: boolean): boolean {
    for (const holder of this.#holders.get(keyOf(portSpace, port)) ?? []) {
      const overlaps =
        Gid.isAny(address) || Gid.isAny(holder.local.address) || Gid.isSame(address, holder.local.address);
      if (overlaps && !(reuses && holder.reusesAddress)) return false;
    }
    return true;
  }

  /** A port that nobody holds; 0 when there is none left. */
  drawFree(portSpace: PortSpace): number {
    const first = this.#random32() % EPHEMERAL_COUNT;
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const port = EPHEMERAL_FIRST + ((first + i) % EPHEMERAL_COUNT);
      if (!this.#holders.has(keyOf(portSpace, port))) return port;
    }
    return 0;
  }

  hold(id: CmId): void {
    const key = keyOf(id.portSpace, id.local.port);
    const holders = this.#holders.get(key);
    if (holders) holders.add(id);
    else this.#holders.set(key, new Set([id]));
  }

  release(id: CmId): void {
    const key = keyOf(id.portSpace, id.local.port);
    const holders = this.#holders.get(key);
    holders?.delete(id);
    if (holders?.size === 0) this.#holders.delete(key);
  }

  holders(portSpace: PortSpace, port: number): Iterable<CmId> {
    return this.#holders.get(keyOf(portSpace, port)) ?? [];
  }
}

const keyOf = (portSpace: PortSpace, port: number): number => portSpace * 65_536 + port;
