/**
 * Payload that waits to be placed together with that of packets that follow at once (packet.ts, `isFollowed`). Its octets are numbered as they are put off; from one on
 * they may be lost: where they should go is no longer there. Nobody hears of a message of which an octet waits or is lost. Per worker thread.
 */

/** A memory that says with its next write that something was lost. */
export interface Loser {
  lost(): void;
  /** Somebody was told. */
  forgetLoss(): void;
}

let end = 0;
let firstLost = Number.POSITIVE_INFINITY;
const losers: Loser[] = [];

/** Octets put off since the last `settlePutOff`. */
export const putOffBytes = (): number => end;

export function addPutOff(bytes: number): void {
  end += bytes;
}

/** Octets from this one on could not be placed. */
export function losePutOff(from: number, loser: Loser): void {
  firstLost = Math.min(firstLost, from);
  loser.lost();
  losers.push(loser);
}

/** Of octets before this one some are lost. */
export const isLostBefore = (to: number): boolean => firstLost < to;

/** Nothing waits any more. @param isTold whose octets were lost knows it. */
export function settlePutOff(isTold: boolean): void {
  end = 0;
  if (firstLost === Number.POSITIVE_INFINITY) return;
  firstLost = Number.POSITIVE_INFINITY;
  for (const loser of losers.splice(0)) if (isTold) loser.forgetLoss();
}
