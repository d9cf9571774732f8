/**
 * Which QPNs each vRNIC of a host may give out: a QPN that arrives names its vRNIC, so no two on one interface have one in common.
 *
 *     0        2^17 … 2^22                   2^24
 *     | plain 0 | plain 1 | … 31 | of tenants 0 … 1023 |      131,072 and 12,288 QPNs each
 */

export interface QpnRange {
  readonly qpnBase: number;
  readonly qpnCount: number;
}

const PLAIN = { from: 0, each: 131_072, slots: 32, kind: 'plain vRNICs' };
const TENANTS = { from: 2 ** 22, each: 12_288, slots: 1024, kind: 'vRNICs of tenants' };

export class QpnRanges {
  /** vRNICs by interface and kind; a vRNIC's place is its slot. */
  readonly #slots = new Map<string, (string | undefined)[]>();

  /** @throws Error when the interface has no range left. */
  allot(vrnic: string, netdev: string, isOfTenant: boolean): QpnRange {
    const { from, each, slots, kind } = isOfTenant ? TENANTS : PLAIN;
    const key = `${kind} ${netdev}`;
    const taken = this.#slots.get(key) ?? [];
    const free = taken.indexOf(undefined);
    const slot = free < 0 ? taken.length : free;
    if (slot === slots) throw new Error(`vRNIC ${vrnic}: ${netdev} has ${slots} ${kind} already: that is the most`);
    taken[slot] = vrnic;
    this.#slots.set(key, taken);
    return { qpnBase: from + slot * each, qpnCount: each };
  }

  /** The vRNIC is no more. */
  release(vrnic: string): void {
    for (const taken of this.#slots.values()) {
      const slot = taken.indexOf(vrnic);
      if (slot >= 0) taken[slot] = undefined;
    }
  }
}
