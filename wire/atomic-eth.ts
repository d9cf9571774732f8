/**
 * AtomicETH: what a CMP_SWAP or FETCH_ADD request asks for. IBA Vol. 1, ch. 9.
 *
 *     +---------------------------------------------------------------+
 *   0 |                    Virtual Address (63-32)                    |
 *   4 |                    Virtual Address (31-0)                     |
 *     +---------------------------------------------------------------+
 *   8 |                             R_Key                             |
 *     +---------------------------------------------------------------+
 *  12 |              Swap (or Add) Data (63-32)                       |
 *  16 |              Swap (or Add) Data (31-0)                        |
 *     +---------------------------------------------------------------+
 *  20 |                   Compare Data (63-32)                        |
 *  24 |                   Compare Data (31-0)                         |
 *     +---------------------------------------------------------------+
 */
import type { RKey } from './types.ts';

export const BYTES = 28;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const virtualAddressHi = (view: DataView, at: number): number => view.getUint32(at);
export const virtualAddressLo = (view: DataView, at: number): number => view.getUint32(at + 4);
export const rKey = (view: DataView, at: number): RKey => view.getUint32(at + 8) as RKey;
export const swapOrAddHi = (view: DataView, at: number): number => view.getUint32(at + 12);
export const swapOrAddLo = (view: DataView, at: number): number => view.getUint32(at + 16);
export const compareHi = (view: DataView, at: number): number => view.getUint32(at + 20);
export const compareLo = (view: DataView, at: number): number => view.getUint32(at + 24);

export function write(
  view: DataView,
  at: number,
  hi: number,
  lo: number,
  rKey: RKey,
  swapOrAddHi: number,
  swapOrAddLo: number,
  compareHi: number,
  compareLo: number,
): void {
  view.setUint32(at, hi);
  view.setUint32(at + 4, lo);
  view.setUint32(at + 8, rKey);
  view.setUint32(at + 12, swapOrAddHi);
  view.setUint32(at + 16, swapOrAddLo);
  view.setUint32(at + 20, compareHi);
  view.setUint32(at + 24, compareLo);
}

export interface Fields {
  readonly virtualAddressHi: number;
  readonly virtualAddressLo: number;
  readonly rKey: RKey;
  readonly swapOrAddHi: number;
  readonly swapOrAddLo: number;
  readonly compareHi: number;
  readonly compareLo: number;
}

export const read = (view: DataView, at: number): Fields => ({
  virtualAddressHi: virtualAddressHi(view, at),
  virtualAddressLo: virtualAddressLo(view, at),
  rKey: rKey(view, at),
  swapOrAddHi: swapOrAddHi(view, at),
  swapOrAddLo: swapOrAddLo(view, at),
  compareHi: compareHi(view, at),
  compareLo: compareLo(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  const { virtualAddressHi: hi, virtualAddressLo: lo } = f;
  write(view, at, hi, lo, f.rKey, f.swapOrAddHi, f.swapOrAddLo, f.compareHi, f.compareLo);
}
