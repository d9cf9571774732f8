/**
 * XRCETH: the shared receive queue that an XRC request is for. IBA Vol. 1, Annex A14.
 *
 *     +---------------+-----------------------------------------------+
 *   0 |     resv8     |                    XRCSRQ                     |
 *     +---------------+-----------------------------------------------+
 */
export const BYTES = 4;
const MASK_24 = 0xff_ffff;

export const fits = (end: number, at: number): boolean => end - at >= BYTES;
export const xrcSrq = (view: DataView, at: number): number => view.getUint32(at) & MASK_24;

export const write = (view: DataView, at: number, xrcSrq: number): void => view.setUint32(at, xrcSrq & MASK_24);

export interface Fields {
  readonly reserved8: number;
  readonly xrcSrq: number;
}

export const read = (view: DataView, at: number): Fields => ({
  reserved8: view.getUint8(at),
  xrcSrq: xrcSrq(view, at),
});

export function writeFields(view: DataView, at: number, f: Fields): void {
  write(view, at, f.xrcSrq);
  view.setUint8(at, f.reserved8);
}
