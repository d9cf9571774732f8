/** What a memory region is backed by: octets that the engine may read and write, wherever they live. */

/**
 * `offset` and `length` are octets inside the backing, already checked against the region by the caller; a backing still never
 * goes outside itself. `false` means that the memory is no longer there (a dead process, an unmapped page): nothing is promised about
 * what was copied, and the caller answers with a protection error.
 */
export interface Memory {
  readonly byteLength: number;
  /** Copies memory[offset …) to target[at …). The message takes `ahead` octets behind these next: they may be as old as the QP's turn (turn.ts). */
  read(offset: number, target: Uint8Array, at: number, length: number, ahead?: number): boolean;
  /** As `read`, for payload of posted work requests: the octets may be as old as the last look at the program's send queues (posted.ts). */
  readPosted(offset: number, target: Uint8Array, at: number, length: number, ahead: number): boolean;
  /** Copies source[at …) to memory[offset …), at once or, when another packet follows (packet.ts, `isFollowed`), with what that brings: put-off.ts says what has become of it. */
  write(offset: number, source: Uint8Array, at: number, length: number, isFollowed?: boolean): boolean;
  /** 64-bit compare and swap at an aligned offset; the old value goes to `old` (old[0] low, old[1] high). Values are host integers. */
  compareSwap(
    offset: number,
    compareHi: number,
    compareLo: number,
    swapHi: number,
    swapLo: number,
    old: Uint32Array,
  ): boolean;
  /** 64-bit fetch and add at an aligned offset, modulo 2^64; the old value goes to `old`. */
  fetchAdd(offset: number, addHi: number, addLo: number, old: Uint32Array): boolean;
}
