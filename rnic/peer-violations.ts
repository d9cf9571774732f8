/** Wrong keys that each peer has presented lately over all its connections, those that are gone too: connecting anew buys no new guesses. SPEC-CHECKLIST T-06. */
import type { Micros } from '../wire/types.ts';

/** So many are remembered; of more those that were quiet for longest are forgotten. */
const PEERS_MAX = 1024;
/** After so long one violation is forgiven. */
const FORGIVEN_MICROS: Micros = 1e6;

export class PeerViolations {
  /** When all that a peer did will be forgiven: by address, those that were quiet for longest first. */
  readonly #forgivenAt = new Map<string, Micros>();

  /**
   * One more. Its key is a string that is made for it: who presents many does not stay connected.
   * @param peer 16 octets. @param most what it may have unforgiven. True: it had that before.
   */
  exceeds(peer: Uint8Array, most: number, now: Micros): boolean {
    const key = peer.join('.');
    const forgivenAt = Math.max(this.#forgivenAt.get(key) ?? 0, now);
    const isSpent = forgivenAt - now > (most - 1) * FORGIVEN_MICROS;
    this.#forgivenAt.delete(key);
    this.#forgivenAt.set(key, isSpent ? forgivenAt : forgivenAt + FORGIVEN_MICROS);
    if (this.#forgivenAt.size > PEERS_MAX) this.#forgetOldest();
    return isSpent;
  }

  #forgetOldest(): void {
    const [oldest] = this.#forgivenAt.keys();
    this.#forgivenAt.delete(oldest!);
  }
}
