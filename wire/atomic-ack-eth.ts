/**
 * AtomicAckETH: the value that was there before the atomic. IBA Vol. 1, ch. 9.
 *
 *     +---------------------------------------------------------------+
 *   0 |                 Original Remote Data (63-32)                  |
 *   4 |                 Original Remote Data (31-0)                   |
 *     +---------------------------------------------------------------+
 */
export const BYTES = 8;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const originalHi = (view: DataView, at: number): number => view.getUint32(at);
export const originalLo = (view: DataView, at: number): number => view.getUint32(at + 4);

export function write(view: DataView, at: number, hi: number, lo: number): void {
  view.setUint32(at, hi);
  view.setUint32(at + 4, lo);
}

export interface Fields {
  readonly originalHi: number;
  readonly originalLo: number;
}

export const read = (view: DataView, at: number): Fields => ({
  originalHi: originalHi(view, at),
  originalLo: originalLo(view, at),
});

export const writeFields = (view: DataView, at: number, f: Fields): void => write(view, at, f.originalHi, f.originalLo);
