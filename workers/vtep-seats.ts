/** Which worker has which endpoints of which tenant on which VTEP of this host. */
import { ownFor } from './linux/descriptors.ts';
import type { Member } from './overlay/elsewhere.ts';
import { VtepGroup } from './vtep-group.ts';

/** What a worker is here: itself, and where it writes its descriptors down. */
export interface Seated {
  readonly ledger: SharedArrayBuffer;
}

export class VtepSeats<W extends Seated> {
  /** By the VTEP's address. */
  readonly #groups = new Map<string, VtepGroup<W>>();
  /** By vRNIC or switch port. */
  readonly #seats = new Map<string, Member>();

  /** Those that have any of a tenant. */
  workersOf({ vtep, vni }: Pick<Member, 'vtep' | 'vni'>): ReadonlySet<W> {
    return this.#groups.get(vtep.join('.'))?.workersOf(vni) ?? new Set();
  }

  /** A descriptor of the worker's socket on this VTEP, the worker's from here on. @throws SystemError: the address is not ours, or another program has the port. */
  sit(name: string, member: Member, worker: W): number {
    const { vtep, vni, mac } = member;
    const key = vtep.join('.');
    const group = this.#groups.get(key) ?? new VtepGroup<W>(vtep);
    this.#groups.set(key, group);
    this.#seats.set(name, member);
    const descriptor = group.enter(vni, mac, worker);
    ownFor(worker.ledger, descriptor);
    return descriptor;
  }

  /** It has stopped, or did not start. */
  rise(name: string): void {
    const seat = this.#seats.get(name);
    if (!seat) return;
    this.#seats.delete(name);
    this.#groups.get(seat.vtep.join('.'))?.leave(seat.vni, seat.mac);
    this.#closeEmpty();
  }

  workerEnded(worker: W, names: Iterable<string>): void {
    for (const name of names) this.#seats.delete(name);
    for (const group of this.#groups.values()) group.workerEnded(worker);
    this.#closeEmpty();
  }

  #closeEmpty(): void {
    for (const [key, group] of this.#groups) {
      if (!group.isEmpty) continue;
      group.close();
      this.#groups.delete(key);
    }
  }
}
