/** Which worker has which tenant on which VTEP of this host: endpoints of a tenant share a worker, since they talk by memory; tenants spread. */
import { ownFor } from './linux/descriptors.ts';
import { VtepGroup } from './vtep-group.ts';

/** What a worker is here: itself, and where it writes its descriptors down. */
export interface Seated {
  readonly ledger: SharedArrayBuffer;
}

export class VtepSeats<W extends Seated> {
  /** By the VTEP's address. */
  readonly #groups = new Map<string, VtepGroup<W>>();
  /** By vRNIC or switch port. */
  readonly #seats = new Map<string, { readonly key: string; readonly vni: number }>();

  /** Null: anyone. */
  workerOf(local: Uint8Array, vni: number): W | null {
    return this.#groups.get(local.join('.'))?.workerOf(vni) ?? null;
  }

  /** A descriptor of the worker's socket on this VTEP, the worker's from here on. @throws SystemError: the address is not ours, or another program has the port. */
  sit(name: string, local: Uint8Array, vni: number, worker: W): number {
    const key = local.join('.');
    const group = this.#groups.get(key) ?? new VtepGroup<W>(local);
    this.#groups.set(key, group);
    this.#seats.set(name, { key, vni });
    const descriptor = group.enter(vni, worker);
    ownFor(worker.ledger, descriptor);
    return descriptor;
  }

  /** It has stopped, or did not start. */
  rise(name: string): void {
    const seat = this.#seats.get(name);
    if (!seat) return;
    this.#seats.delete(name);
    this.#groups.get(seat.key)!.leave(seat.vni);
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
