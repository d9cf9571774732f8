/** Time that passes only when it is told to. Between two of its moments everything that can go on without waiting has gone on: what happens depends on nothing else. */

interface Timer {
  readonly at: number;
  act(): void;
}

/** Behind all promises that are settled by now, and all that these settle. */
const quiet = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class VirtualTime {
  /** Milliseconds. */
  now = 0;
  /** The next one last. Of one moment those that were set first come first. */
  readonly #timers: Timer[] = [];

  after(millis: number, act: () => void): void {
    const at = this.now + millis;
    let place = this.#timers.length;
    while (place > 0 && this.#timers[place - 1]!.at <= at) place--;
    this.#timers.splice(place, 0, { at, act });
  }

  /** As the daemon's own: resolves on the abort, too. */
  sleep(millis: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const over = (): void => {
        signal?.removeEventListener('abort', over);
        resolve();
      };
      this.after(millis, over);
      signal?.addEventListener('abort', over);
    });
  }

  async pass(millis: number): Promise<void> {
    const until = this.now + millis;
    await quiet();
    for (let next = this.#timers.at(-1); next !== undefined && next.at <= until; next = this.#timers.at(-1)) {
      this.#timers.pop();
      this.now = next.at;
      next.act();
      await quiet();
    }
    this.now = until;
  }
}
