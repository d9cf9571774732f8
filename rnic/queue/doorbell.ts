/**
 * The doorbell page: how an application says, without a system call, which of its send queues have work. One page per context, in shared memory.
 *
 *     word 0            1 while the worker sleeps: only then must the application also wake it
 *     word 16 …         top: one bit per summary word
 *     then              summary: one bit per bitmap word
 *     then              bitmap: one bit per QP slot
 *
 * The application publishes its producer index, sets bitmap, summary and top (in this order), then looks at word 0. The worker clears from top to
 * bitmap, then reads the producer index: a ring between the two is seen again. Before it sleeps the worker sets word 0, then looks once more.
 *
 * Of a page that has a bit elsewhere (Summons) the worker looks at that bit only, and says there that it sleeps: it has many pages, of which few are rung.
 */
const SLEEPING = 0;
const TOP = 16;

const wordsFor = (bits: number): number => (bits + 31) >> 5;

/** Octets of a page for `slots` QPs. */
export function doorbellBytes(slots: number): number {
  const bitmap = wordsFor(slots);
  const summary = wordsFor(bitmap);
  return 4 * (TOP + wordsFor(summary) + summary + bitmap);
}

/** A bit that many pages' reader looks at, in shared memory; set after the page's own. */
export interface Summons {
  readonly words: Int32Array;
  /** The bit's word, and the bit. */
  readonly word: number;
  readonly mask: number;
  /** The word that is not 0 while the reader sleeps. */
  readonly sleeping: number;
}

export class DoorbellPage {
  readonly #summons: Summons | null;
  readonly words: Int32Array;
  readonly slots: number;
  readonly #topWords: number;
  readonly #summaryAt: number;
  readonly #bitmapAt: number;

  /** @param summons the application's side only. */
  constructor(words: Int32Array, slots: number, summons: Summons | null = null) {
    this.#summons = summons;
    const bitmap = wordsFor(slots);
    const summary = wordsFor(bitmap);
    this.words = words;
    this.slots = slots;
    this.#topWords = wordsFor(summary);
    this.#summaryAt = TOP + this.#topWords;
    this.#bitmapAt = this.#summaryAt + summary;
    if (words.length < this.#bitmapAt + bitmap) throw new RangeError('doorbell memory is too small');
  }

  /** Application side. True when the worker sleeps and must be woken. */
  ring(slot: number): boolean {
    const word = slot >> 5;
    const group = word >> 5;
    Atomics.or(this.words, this.#bitmapAt + word, 1 << (slot & 31));
    Atomics.or(this.words, this.#summaryAt + group, 1 << (word & 31));
    Atomics.or(this.words, TOP + (group >> 5), 1 << (group & 31));
    const summons = this.#summons;
    if (summons === null) return Atomics.load(this.words, SLEEPING) !== 0;
    Atomics.or(summons.words, summons.word, summons.mask);
    return Atomics.load(summons.words, summons.sleeping) !== 0;
  }

  /** Worker side: calls `visit(slot)` for each slot rung since last time. Slots beyond the page (a hostile application) are passed over. */
  take(visitor: { handleDoorbell(slot: number): void }): void {
    for (let top = 0; top < this.#topWords; top++) {
      if (this.words[TOP + top] === 0) continue;
      this.#takeGroups(top, Atomics.exchange(this.words, TOP + top, 0), visitor);
    }
  }

  #takeGroups(top: number, groups: number, visitor: { handleDoorbell(slot: number): void }): void {
    while (groups !== 0) {
      const group = (top << 5) + (31 - Math.clz32(groups & -groups));
      groups &= groups - 1;
      if (this.#summaryAt + group >= this.#bitmapAt) return;
      let words = Atomics.exchange(this.words, this.#summaryAt + group, 0);
      while (words !== 0) {
        const word = (group << 5) + (31 - Math.clz32(words & -words));
        words &= words - 1;
        if (word << 5 >= this.slots) break;
        this.#takeSlots(word, Atomics.exchange(this.words, this.#bitmapAt + word, 0), visitor);
      }
    }
  }

  #takeSlots(word: number, bits: number, visitor: { handleDoorbell(slot: number): void }): void {
    while (bits !== 0) {
      const slot = (word << 5) + (31 - Math.clz32(bits & -bits));
      bits &= bits - 1;
      if (slot < this.slots) visitor.handleDoorbell(slot);
    }
  }

  /** Worker side, in each breath: true when something was rung and not yet taken. What is rung just now the next look sees: it takes a tenth of what an atomic one does. */
  isRung(): boolean {
    for (let top = 0; top < this.#topWords; top++) if (this.words[TOP + top] !== 0) return true;
    return false;
  }

  /** Worker side, once it has said that it sleeps: the same, of all that was rung by somebody who did not see that. */
  pending(): boolean {
    for (let top = 0; top < this.#topWords; top++) if (Atomics.load(this.words, TOP + top) !== 0) return true;
    return false;
  }

  setSleeping(asleep: boolean): void {
    Atomics.store(this.words, SLEEPING, asleep ? 1 : 0);
  }
}
