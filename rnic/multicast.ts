/** Multicast groups: which UD QPs get a copy of what is sent to a multicast GID. IBA Vol. 1, §10.5; SPEC-CHECKLIST R-140. */
import type { QueuePair } from './qp.ts';

const GID_BYTES = 16;

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
  if (!(gid instanceof Uint8Array) || gid.length !== GID_BYTES) return false;
  if (gid[0] === 0xff) return true;
  const isMapped = gid.subarray(0, 10).every((octet) => octet === 0) && gid[10] === 0xff && gid[11] === 0xff;
  return isMapped && (gid[12]! & 0xf0) === 0xe0;
}

function wordsOf(gid: Uint8Array): Int32Array {
  const view = new DataView(gid.buffer, gid.byteOffset, GID_BYTES);
  return Int32Array.from({ length: 4 }, (_, i) => view.getInt32(4 * i));
}

export class MulticastGroups {
  readonly #groups: Group[] = [];
  readonly #groupLimit: number;
  readonly #memberLimit: number;

  constructor(groupLimit: number, memberLimit: number) {
    this.#groupLimit = groupLimit;
    this.#memberLimit = memberLimit;
  }

  get size(): number {
    return this.#groups.length;
  }

  /** False when a limit is reached. Attaching twice counts once. */
  attach(gid: Uint8Array, qp: QueuePair): boolean {
    const words = wordsOf(gid);
    let group = this.#find(words[0]!, words[1]!, words[2]!, words[3]!);
    if (group === undefined) {
      if (this.#groups.length >= this.#groupLimit) return false;
      group = new Group(words);
      this.#groups.push(group);
    }
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
    for (const group of [...this.#groups]) this.#leave(group, qp);
  }

  /** The members of the group that a packet's destination address names; none: undefined. */
  membersFor(view: DataView, ipAt: number, isIpv6: boolean): readonly QueuePair[] | undefined {
    if (!isIpv6) return this.#find(0, 0, 0xffff, view.getInt32(ipAt + 16))?.members;
    const at = ipAt + 24;
    return this.#find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12))?.members;
  }

  #leave(group: Group, qp: QueuePair): boolean {
    const index = group.members.indexOf(qp);
    if (index === -1) return false;
    group.members.splice(index, 1);
    qp.groups--;
    if (group.members.length === 0) this.#groups.splice(this.#groups.indexOf(group), 1);
    return true;
  }

  #find(a: number, b: number, c: number, d: number): Group | undefined {
    for (let i = 0; i < this.#groups.length; i++) {
      const { words } = this.#groups[i]!;
      if (words[3] === d && words[2] === c && words[1] === b && words[0] === a) return this.#groups[i];
    }
    return undefined;
  }
}
