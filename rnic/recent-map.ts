/** What was made lately, by what it says: thousands of connections to few peers then share it. Bounded: it forgets all when it is full. */

const MOST = 1024;

export class RecentMap<T> {
  readonly #values = new Map<string, T>();

  get(key: string): T | undefined {
    return this.#values.get(key);
  }

  set(key: string, value: T): void {
    if (this.#values.size >= MOST) this.#values.clear();
    this.#values.set(key, value);
  }
}
