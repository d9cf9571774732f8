/** The hosts that a VTEP's members have named, each with a number that frames go by. Who is in no tenant any more is forgotten. */
import { VTEP_COUNT_MAX } from '../ports/udp-vxlan.ts';

/** The port's part: datagrams go to, and are taken from, the VTEPs that it knows. */
export interface VtepSink {
  readonly udpPort: number;
  setVtep(index: number, address: Uint8Array | undefined, udpPort?: number): void;
}

interface Entry {
  readonly index: number;
  readonly address: Uint8Array;
  /** Members that name it. */
  users: number;
}

/** No VTEP has this index: what goes there is dropped and counted (txErrors). */
export const NOWHERE = -1;
const keyOf = (address: Uint8Array): string => String.fromCharCode(...address);

export class VtepTable {
  readonly #sink: VtepSink;
  readonly #byAddress = new Map<string, Entry>();
  readonly #byIndex: (Entry | undefined)[] = [];
  /** Given back, oldest first: a frame that still names one leaves long before another host gets it. */
  readonly #free: number[] = [];

  constructor(sink: VtepSink) {
    this.#sink = sink;
  }

  indexOf(address: Uint8Array): number {
    return this.#byAddress.get(keyOf(address))?.index ?? NOWHERE;
  }

  at(index: number): Uint8Array | undefined {
    return this.#byIndex[index]?.address;
  }

  /** A member names `wanted` instead of those in `before`. @throws RangeError: too many, or of the other address family. */
  replace(before: ReadonlyMap<string, number>, wanted: readonly Uint8Array[]): Map<string, number> {
    const after = new Map<string, number>();
    for (const address of wanted) {
      const key = keyOf(address);
      if (after.has(key)) continue;
      const entry = this.#byAddress.get(key) ?? this.#add(key, address);
      entry.users++;
      after.set(key, entry.index);
    }
    for (const key of before.keys()) this.#leave(key);
    return after;
  }

  #add(key: string, address: Uint8Array): Entry {
    const index = this.#byIndex.length < VTEP_COUNT_MAX ? this.#byIndex.length : this.#free.shift();
    if (index === undefined) throw new RangeError(`more than ${VTEP_COUNT_MAX} VTEPs`);
    this.#sink.setVtep(index, address, this.#sink.udpPort);
    const entry = { index, address: address.slice(), users: 0 };
    this.#byIndex[index] = entry;
    this.#byAddress.set(key, entry);
    return entry;
  }

  #leave(key: string): void {
    const entry = this.#byAddress.get(key)!;
    if (--entry.users > 0) return;
    this.#byAddress.delete(key);
    this.#byIndex[entry.index] = undefined;
    this.#free.push(entry.index);
    this.#sink.setVtep(entry.index, undefined);
  }
}
