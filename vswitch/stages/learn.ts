/** Which host an unknown MAC was last seen behind. As many as there is room for; each is forgotten when it was silent for long. */
import type { Micros } from '../../wire/types.ts';

/** As bridges do: IEEE 802.1D, table 7-5. */
export const AGE_MICROS: Micros = 300_000_000;
export const LEARNED_COUNT_MAX = 1024;
export const NOBODY = -1;

interface Learned {
  host: number;
  until: Micros;
}

export class LearnedMacs {
  readonly #byMac = new Map<number, Learned>();
  /** When the table was last looked through for the silent. */
  #sweptAt: Micros = Number.NEGATIVE_INFINITY;

  get count(): number {
    return this.#byMac.size;
  }

  /** True when it was new. A full table learns nothing more until somebody in it has been silent for long enough. */
  learn(mac: number, host: number, now: Micros): boolean {
    const known = this.#byMac.get(mac);
    if (known !== undefined) {
      known.host = host;
      known.until = now + AGE_MICROS;
      return false;
    }
    if (this.#byMac.size >= LEARNED_COUNT_MAX && !this.#sweep(now)) return false;
    this.#byMac.set(mac, { host, until: now + AGE_MICROS });
    return true;
  }

  /** The host's number, or NOBODY. */
  hostOf(mac: number, now: Micros): number {
    const known = this.#byMac.get(mac);
    return known !== undefined && known.until > now ? known.host : NOBODY;
  }

  /** Those behind hosts that the tenant has no more. */
  forgetOthers(hosts: ReadonlySet<number>): void {
    for (const [mac, { host }] of this.#byMac) if (!hosts.has(host)) this.#byMac.delete(mac);
  }

  /** Once a second at most: a flood of new MACs costs no search each. True when there is room. */
  #sweep(now: Micros): boolean {
    if (now - this.#sweptAt < 1_000_000) return false;
    this.#sweptAt = now;
    for (const [mac, { until }] of this.#byMac) if (until <= now) this.#byMac.delete(mac);
    return this.#byMac.size < LEARNED_COUNT_MAX;
  }
}
