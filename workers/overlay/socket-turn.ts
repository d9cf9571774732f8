/**
 * Who of several members reads the socket that they share. Once it was found empty, only who found it so asks again: one system call a breath, not one for each
 * member; and others may pass over the socket until that one goes.
 */
import type { Micros } from '../../wire/types.ts';
import { clock } from '../clock.ts';

interface Reader {
  /** There is something to ask it for. */
  readonly stir: (() => void) | null;
  /** Time of its breath that went into frames of others. */
  errandMicros: Micros;
}

const NOT_TIMED: Micros = -1;

export class SocketTurn<M extends Reader> {
  /** Who polled last; null: who polls next reads from now on. */
  #reader: M | null = null;
  /** It read nothing. */
  #isEmpty = false;
  #begin: Micros = NOT_TIMED;
  readonly #clock: () => Micros;

  constructor(readClock: () => Micros = clock) {
    this.#clock = readClock;
  }

  /** @param isShared by several. What is read after a look in vain is not timed: such looks are many. */
  mayRead(member: M, isShared: boolean): boolean {
    if (this.#isEmpty && this.#reader !== member) return false;
    this.#begin = isShared && !this.#isEmpty ? this.#clock() : NOT_TIMED;
    return true;
  }

  hasRead(member: M, count: number): void {
    this.#reader = member;
    this.#isEmpty = count === 0;
  }

  /** Of so many frames so many were for others, who have them now. */
  hasHanded(member: M, count: number, read: number): void {
    if (count === 0 || this.#begin === NOT_TIMED) return;
    member.errandMicros += ((this.#clock() - this.#begin) * count) / read;
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
