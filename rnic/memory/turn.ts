/**
 * Turns of QPs (schedule.ts). Payload of one message may come from one read of its memory, if that is no older than the turn in which its packets leave: a READ that is
 * asked for later must find what was in memory then. Per worker thread.
 */
let turn = 0;

/** Another QP sends from now on, or the same one anew. */
export const beginTurn = (): void => {
  turn = (turn + 1) | 0;
};

export const thisTurn = (): number => turn;
