/**
 * Which workers of a host have members of one VTEP, so that each knows whom the others have, and two of them have a link. In the supervisor's thread.
 *
 * Where somebody is, a worker hears before whoever asked for it is answered; what is sent to who has gone is lost, as on any wire.
 */
import { duplicateDescriptor } from './bell.ts';
import { ownFor } from './linux/descriptors.ts';
import type { ControlMessage, WithoutId } from './messages.ts';
import type { Member } from './overlay/elsewhere.ts';
import { LINK_BYTES, type LinkEnd } from './overlay/worker-link.ts';
import { newFrameRingMemory } from './ports/frame-ring.ts';

/** A worker as the mesh sees it. */
export interface Linkable {
  readonly number: number;
  readonly ledger: SharedArrayBuffer;
  readonly bell: { readonly fileDescriptor: number };
  call(message: WithoutId<ControlMessage>): Promise<unknown>;
}

const keyOf = (vtep: Uint8Array): string => vtep.join('.');

export class WorkerMesh<W extends Linkable> {
  /** By vRNIC or switch port. */
  readonly #members = new Map<string, { readonly worker: W; readonly member: Member }>();
  /** Whom each worker has a link to. */
  readonly #met = new Map<W, Set<W>>();

  /** It runs in this worker now: those that share its VTEP know. */
  async came(name: string, worker: W, member: Member): Promise<void> {
    const others = this.#othersOn(member.vtep, worker);
    this.#members.set(name, { worker, member });
    const told = [...others].map((other) =>
      this.#met.get(worker)?.has(other)
        ? other.call({ kind: 'came', worker: worker.number, member })
        : this.#introduce(worker, other),
    );
    // A worker that ends meanwhile needs to know nothing.
    await Promise.allSettled(told);
  }

  went(name: string): void {
    const gone = this.#members.get(name);
    if (!gone) return;
    this.#members.delete(name);
    const { worker, member } = gone;
    for (const other of this.#met.get(worker) ?? [])
      other.call({ kind: 'went', worker: worker.number, member }).catch(() => {}); // it has ended, too
  }

  workerEnded(worker: W): void {
    for (const [name, one] of this.#members) if (one.worker === worker) this.#members.delete(name);
    for (const other of this.#met.get(worker) ?? []) {
      this.#met.get(other)?.delete(worker);
      other.call({ kind: 'part', worker: worker.number }).catch(() => {}); // it has ended, too
    }
    this.#met.delete(worker);
  }

  #othersOn(vtep: Uint8Array, worker: W): Set<W> {
    const key = keyOf(vtep);
    const all = [...this.#members.values()].filter((one) => one.worker !== worker && keyOf(one.member.vtep) === key);
    return new Set(all.map((one) => one.worker));
  }

  async #introduce(one: W, other: W): Promise<void> {
    const [there, back] = [newFrameRingMemory(LINK_BYTES), newFrameRingMemory(LINK_BYTES)];
    for (const [from, to] of [
      [one, other],
      [other, one],
    ] as const)
      this.#met.set(from, (this.#met.get(from) ?? new Set()).add(to));
    await Promise.all([
      this.#meet(one, other, { outgoing: there, incoming: back }),
      this.#meet(other, one, { outgoing: back, incoming: there }),
    ]);
  }

  #meet(who: W, whom: W, rings: Pick<LinkEnd, 'outgoing' | 'incoming'>): Promise<unknown> {
    const wakeFd = duplicateDescriptor(whom.bell.fileDescriptor);
    ownFor(who.ledger, wakeFd);
    const members = [...this.#members.values()].filter(({ worker }) => worker === whom).map(({ member }) => member);
    return who.call({ kind: 'meet', link: { worker: whom.number, ...rings, wakeFd }, members });
  }
}
