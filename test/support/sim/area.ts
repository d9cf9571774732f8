/**
 * Where the octets of a simulated connection lie in each host's memory.
 *
 *     source │ target of the peer's WRITEs │ words │ slots of keys │ receive buffers │ where READs go │ atomics' results
 *              ╰────── what the peer writes ───────╯
 */

/** What SENDs and WRITEs are taken from, and READs read: it never changes. */
export const SOURCE_BYTES = 320 * 1024;
export const TARGET_AT = SOURCE_BYTES;
export const TARGET_BYTES = SOURCE_BYTES;
/** A word to compare and swap, and one for ATOMIC_WRITE. */
export const SWAP_WORD = TARGET_AT + TARGET_BYTES;
export const WRITE_WORD = SWAP_WORD + 8;
/** Octets that are reached through windows and fast registrations only, one slot for each key. */
export const SLOTS_AT = SWAP_WORD + 64;
export const SLOT_BYTES = 16_384;
export const SLOTS = 5;
export const WRITTEN_END = SLOTS_AT + SLOTS * SLOT_BYTES;

export const RECEIVE_AT = WRITTEN_END;
export const RECEIVE_BYTES = 65_536;
export const RECEIVE_BUFFERS = 4;
export const READ_AT = RECEIVE_AT + RECEIVE_BUFFERS * RECEIVE_BYTES;
export const READ_BUFFERS = 3;
export const RESULTS_AT = READ_AT + READ_BUFFERS * SOURCE_BYTES;
export const RESULTS = 16;
export const AREA_BYTES = 2 ** 21;
