/**
 * The transmit bursts of a thread, one kind for each sort of port. One burst serves all vRNICs in turn: a port nearly always takes everything at once, and where the
 * next one lays out its packets is still in the cache. Who has frames left keeps its burst, and the next has another.
 */
import type { TransmitBurst } from '../rnic/burst.ts';

export class TransmitBursts {
  /** Empty between two breaths. */
  current: TransmitBurst;
  readonly #spare: TransmitBurst[] = [];
  readonly #make: () => TransmitBurst;

  constructor(make: () => TransmitBurst) {
    this.#make = make;
    this.current = make();
  }

  /** The current one has frames left, which are the borrower's to send: from now on it is the borrower's. */
  keep(): TransmitBurst {
    const kept = this.current;
    this.current = this.#spare.pop() ?? this.#make();
    return kept;
  }

  /** What was kept, and is of no more use there. */
  giveBack(burst: TransmitBurst): void {
    burst.reset();
    this.#spare.push(burst);
  }
}
