/**
 * Who of several members reads the socket that they share. Once it was found empty, only who found it so asks again: one system call a breath, not one for each
 * member; and others may pass over the socket until that one goes.
 */

interface Reader {
  /** There is something to ask it for. */
  readonly stir: (() => void) | null;
}

export class SocketTurn<M extends Reader> {
  /** Who polled last; null: who polls next reads from now on. */
  #reader: M | null = null;
  /** It read nothing. */
  #isEmpty = false;

  mayRead(member: M): boolean {
    return !this.#isEmpty || this.#reader === member;
  }

  hasRead(member: M, count: number): void {
    this.#reader = member;
    this.#isEmpty = count === 0;
  }

  /** False: it may pass over the socket. */
  isReader(member: M): boolean {
    return this.#reader === null || this.#reader === member;
  }

  /** It reads no more: one of the others does. */
  leave(member: M, others: readonly M[]): void {
    if (this.#reader !== member) return;
    this.#reader = null;
    this.#isEmpty = false;
    for (const other of others) other.stir?.();
  }
}
