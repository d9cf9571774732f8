/** Multicast groups: which UD QPs get a copy of what is sent to a multicast GID. IBA Vol. 1, §10.5; SPEC-CHECKLIST R-140. */
import * as Gid from '../wire/gid.ts';
import type { QueuePair } from './qp.ts';

class Group {
  /** As four words, for comparing with a packet's destination. */
  readonly words: Int32Array;
  readonly members: QueuePair[] = [];

  constructor(words: Int32Array) {
    this.words = words;
  }
}

/** ff00::/8, or an IPv4 multicast address mapped into IPv6. */
export function isMulticastGid(gid: unknown): gid is Uint8Array {
  return gid instanceof Uint8Array && gid.length === Gid.BYTES && Gid.isMulticast(gid);
}

function wordsOf(gid: Uint8Array): Int32Array {
  const view = new DataView(gid.buffer, gid.byteOffset, Gid.BYTES);
  return Int32Array.from({ length: 4 }, (_, i) => view.getInt32(4 * i));
}

export class MulticastGroups {
  /** By the last word of the GID, in which most of them differ. */
  readonly #groups = new Map<number, Group[]>();
  readonly #groupLimit: number;
  readonly #memberLimit: number;
  #size = 0;

  constructor(groupLimit: number, memberLimit: number) {
    this.#groupLimit = groupLimit;
    this.#memberLimit = memberLimit;
  }

  get size(): number {
    return this.#size;
  }

  /** False when a limit is reached. Attaching twice counts once. */
  attach(gid: Uint8Array, qp: QueuePair): boolean {
    const words = wordsOf(gid);
    const group = this.#find(words[0]!, words[1]!, words[2]!, words[3]!) ?? this.#add(words);
    if (group === undefined) return false;
    if (group.members.includes(qp)) return true;
    if (group.members.length >= this.#memberLimit) return false;
    group.members.push(qp);
    qp.groups++;
    return true;
  }

  /** False when it was not attached. */
  detach(gid: Uint8Array, qp: QueuePair): boolean {
    const words = wordsOf(gid);
    const group = this.#find(words[0]!, words[1]!, words[2]!, words[3]!);
    return group !== undefined && this.#leave(group, qp);
  }

  detachAll(qp: QueuePair): void {
    if (qp.groups === 0) return;
    for (const group of [...this.#groups.values()].flat()) this.#leave(group, qp);
  }

  /** The members of the group that a packet's destination address names; none: undefined. */
  membersFor(view: DataView, ipAt: number, isIpv6: boolean): readonly QueuePair[] | undefined {
    if (!isIpv6) return this.#find(0, 0, 0xffff, view.getInt32(ipAt + 16))?.members;
    const at = ipAt + 24;
    return this.#find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12))?.members;
  }

  #add(words: Int32Array): Group | undefined {
    if (this.#size >= this.#groupLimit || this.#memberLimit < 1) return undefined;
    const group = new Group(words);
    const alike = this.#groups.get(words[3]!);
    if (alike === undefined) this.#groups.set(words[3]!, [group]);
    else alike.push(group);
    this.#size++;
    return group;
  }

  #leave(group: Group, qp: QueuePair): boolean {
    const index = group.members.indexOf(qp);
    if (index === -1) return false;
    group.members.splice(index, 1);
    qp.groups--;
    if (group.members.length === 0) this.#remove(group);
    return true;
  }

  #remove(group: Group): void {
    const alike = this.#groups.get(group.words[3]!)!;
    alike.splice(alike.indexOf(group), 1);
    if (alike.length === 0) this.#groups.delete(group.words[3]!);
    this.#size--;
  }

  #find(a: number, b: number, c: number, d: number): Group | undefined {
    const alike = this.#groups.get(d);
    if (alike === undefined) return undefined;
    for (let i = 0; i < alike.length; i++) {
      const { words } = alike[i]!;
      if (words[2] === c && words[1] === b && words[0] === a) return alike[i];
    }
    return undefined;
  }
}
